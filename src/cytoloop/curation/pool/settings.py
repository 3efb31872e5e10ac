"""Settings of the ranking of unlabelled images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cytoloop.curation.pool.orders import MIXED, ORDERS
from cytoloop.errors import ConfigError


@dataclass(frozen=True)
class RankSettings:
    """How to rank the images of a pool.

    Attributes
    ----------
    predictions : tuple of str
        The ``predictions.csv`` of each model.
    labelled : str or None
        Data set that has labels: its images are left out, and the others shall differ from them.
    order : str
        One of `ORDERS`.
    count : int
        Number of images in ``next.csv``.
    seed : int
        Of the order ``random``.

    Raises
    ------
    ConfigError
        All wrong values at once.
    """

    predictions: tuple[str, ...] = ()
    labelled: str | None = None
    order: str = MIXED
    count: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if self.order not in ORDERS:
            problems.append(f"order={self.order}: expected one of {', '.join(ORDERS)}")
        problems += [
            f"{key}={value}: expected a whole number from {low}"
            for key, value, low in (("count", self.count, 1), ("seed", self.seed, 0))
            if isinstance(value, bool) or not isinstance(value, int) or value < low
        ]
        if problems:
            raise ConfigError("cytoloop rank", problems, "See `cytoloop rank --help`.")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> RankSettings:
        """Return the settings in the config of `cytoloop rank`.

        Raises
        ------
        ConfigError
            Wrong values, and keys that are missing or exclude each other.
        """
        given = config["predictions"]
        is_list = isinstance(given, Sequence) and not isinstance(given, str)
        tables = tuple(map(str, given)) if is_list else () if given is None else (str(given),)
        own = {name: config[name] for name in ("labelled", "order", "count", "seed")}
        problems = _source_problems(bool(tables), config)
        try:
            settings = cls(tables, **own)
        except ConfigError as error:
            problems += error.problems
        if problems:
            raise ConfigError("cytoloop rank", problems, "See `cytoloop rank --help`.")
        return settings


def _source_problems(has_tables: bool, config: Mapping[str, Any]) -> list[str]:
    """Return the keys of the predictions that are missing or exclude each other."""
    study, pool = config["models_of"], config["input"]
    if study is None and config["output"] is None:
        return [*_source_problems(has_tables, {**config, "output": ""}), "output=... is missing"]
    if has_tables:
        return [
            f"predictions=... and {name}=... exclude each other"
            for name, value in (("models_of", study), ("input", pool))
            if value is not None
        ]
    if study is None:
        return ["predictions=... is missing, or models_of=... with input=..."]
    return [] if pool is not None else ["input=... is missing: the images that the study predicts"]
