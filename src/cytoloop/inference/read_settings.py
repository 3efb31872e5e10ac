"""The settings of a prediction from the config of the verb, or from the options of Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from cytoloop.errors import ConfigError
from cytoloop.inference.postprocess.settings import PostprocessSettings
from cytoloop.inference.settings import (
    OutputSettings,
    PredictionSettings,
    ReadingSettings,
    WindowSettings,
)
from cytoloop.manifest import series_cells
from cytoloop.workers.engine import Engine


def read_settings(
    values: Mapping[str, Any], problems: Sequence[str] = ()
) -> tuple[PredictionSettings, Engine]:
    """Return the settings in the config of `cytoloop predict`.

    Parameters
    ----------
    values : mapping
        The composed config as plain values.
    problems : sequence of str
        Problems found before, reported with those of the settings.

    Raises
    ------
    ConfigError
        All problems at once.
    """
    save, spacing = values["save"], values["spacing_um"]
    values = {
        **values,
        "save": tuple(save) if isinstance(save, list) else (str(save),),
        "spacing_um": tuple(spacing) if isinstance(spacing, list) else spacing,
        "precision": str(values["precision"]),
    }
    made = _build(
        {
            "reading": lambda: ReadingSettings(**_own(ReadingSettings, values)),
            "windows": lambda: WindowSettings(**_own(WindowSettings, values)),
            "postprocess": lambda: PostprocessSettings.from_config(
                {**values["postprocess"], "join_planes": values["join_planes"]}
            ),
            "output": lambda: OutputSettings(**_own(OutputSettings, values)),
            "engine": lambda: Engine.from_config(values),
        },
        problems,
    )
    return PredictionSettings(**{k: v for k, v in made.items() if k != "engine"}), made["engine"]


def series_choices(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the cells that the keys ``scene``, ``time`` and ``axes`` fill.

    Raises
    ------
    ConfigError
        ``time`` is no time point.
    """
    return series_cells("cytoloop predict", {n: values[n] for n in ("scene", "time", "axes")})


def array_settings(
    spacing_um: Sequence[float] | None, options: Mapping[str, Any]
) -> PredictionSettings:
    """Return the settings of `cytoloop.predict`.

    Parameters
    ----------
    spacing_um : sequence of float, optional
        Voxel size (Z, Y, X), or (Y, X).
    options : mapping
        ``resample``, ``planes``, ``object_diameter_um``, and names of `WindowSettings` and
        `PostprocessSettings`.

    Raises
    ------
    ConfigError
        Unknown options and values that are out of range; all of them at once.
    """
    known = {
        "reading": {"resample", "planes", "object_diameter_um"},
        "windows": {one.name for one in fields(WindowSettings)},
        "postprocess": {one.name for one in fields(PostprocessSettings)},
    }
    options = {name: str(v) if name == "precision" else v for name, v in options.items()}
    names = sorted(set().union(*known.values()))
    unknown = [
        f"{n}: unknown option, expected {', '.join(names)}" for n in options if n not in names
    ]
    given = {
        stage: {name: value for name, value in options.items() if name in own}
        for stage, own in known.items()
    }
    spacing: Any = None if spacing_um is None else tuple(float(side) for side in spacing_um)
    spacing = (1.0, *spacing) if spacing is not None and len(spacing) == 2 else spacing
    made = _build(
        {
            "reading": lambda: ReadingSettings(spacing_um=spacing, **given["reading"]),
            "windows": lambda: WindowSettings(**given["windows"]),
            "postprocess": lambda: PostprocessSettings(**given["postprocess"]),
        },
        unknown,
    )
    return PredictionSettings(**made)


def _build(makers: Mapping[str, Callable[[], Any]], problems: Sequence[str]) -> dict[str, Any]:
    """Return what the makers return; raise the problems of all of them at once."""
    made, found = {}, list(problems)
    for name, make in makers.items():
        try:
            made[name] = make()
        except ConfigError as error:
            found += error.problems
    if found:
        raise ConfigError("cytoloop predict", found, "See `cytoloop predict --help`.")
    return made


def _own(settings: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a class of settings."""
    return {one.name: values[one.name] for one in fields(settings)}
