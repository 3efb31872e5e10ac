"""The preflight: what is in a data set, and whether a patch size fits it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cytoloop.curation import check_dataset
from cytoloop.data.replay import replay_rows
from cytoloop.errors import ConfigError, ManifestError
from cytoloop.io.read import read_header
from cytoloop.io.voxel_size import Spacing
from cytoloop.manifest import Manifest, Row, read_dataset


@dataclass(frozen=True)
class DatasetFacts:
    """What all images of a data set share, and how large each is.

    Attributes
    ----------
    channels : tuple of str
        Names of the input channels.
    shapes : dict of str to tuple of int
        Split and row id to ([Z,] Y, X).
    spacing_um : tuple of float or None
        (Z, Y, X): the medians of those that the images state.
    """

    channels: tuple[str, ...]
    shapes: dict[str, tuple[int, ...]]
    spacing_um: Spacing | None

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return len(next(iter(self.shapes.values())))


def preflight(
    path: str | Path, fold: int | None = None, replayed: str | Path | None = None
) -> tuple[dict[str, Manifest], DatasetFacts]:
    """Check everything that training needs of a data set, before anything is trained.

    Parameters
    ----------
    path : str or Path
        See `cytoloop.manifest.read_dataset`.
    fold : int, optional
        Of cross-validation, for validation.
    replayed : str or Path, optional
        An earlier data set, see `replay_rows`.

    Returns
    -------
    dataset : dict of str to Manifest
    facts : DatasetFacts
        Of all rows that train or validate.

    Raises
    ------
    ManifestError
        Every problem of every row.
    """
    dataset = read_dataset(path, fold)
    if not len(dataset["valid"]):
        raise ManifestError(
            str(dataset["valid"].path),
            "no validation image: the best checkpoint could not be chosen",
            "Curate with at least 2 images (or groups), or with a larger share `valid=`.",
        )
    earlier = None if replayed is None else replay_rows(replayed, dataset)
    # the test rows are `evaluate`'s: a plugin data set, whose test is its validation set, trains
    splits = {split: manifest for split, manifest in dataset.items() if split != "test"}
    checked = check_dataset(splits, progress=True, replayed=earlier)
    used = [(split, one) for split, facts in checked.items() for one in facts]
    facts = DatasetFacts(
        channels=_channel_names(dataset["train"].rows[0]),
        shapes={f"{split}: {one.id}": one.shape for split, one in used if one.shape},
        spacing_um=_median([one.spacing_um for _, one in used if one.spacing_um]),
    )
    return dataset, facts


def check_axes(patch_size: Sequence[Any], facts: DatasetFacts) -> None:
    """Refuse a patch of other axes than the images have.

    Raises
    ------
    ConfigError
        2D or 3D where the images are not.
    """
    dims = facts.spatial_dims
    axes = "ZYX"[-dims:]
    if len(patch_size) != dims:
        raise ConfigError(
            "data.patch_size",
            f"{list(patch_size)} has {len(patch_size)} numbers but the images are {dims}D",
            f"Give one number an axis: [{', '.join(axes)}].",
        )


def check_patch_size(
    patch_size: Sequence[int], multiples: Sequence[int], facts: DatasetFacts
) -> None:
    """Refuse a patch that the images or the network's strides do not allow.

    Parameters
    ----------
    patch_size : sequence of int
        [Z,] Y, X.
    multiples : sequence of int
        What the network needs each side to be a multiple of.
    facts : DatasetFacts

    Raises
    ------
    ConfigError
        Every fault, each with sizes that would do.
    """
    check_axes(patch_size, facts)
    dims = facts.spatial_dims
    axes = "ZYX"[-dims:]
    smallest = [min(shape[i] for shape in facts.shapes.values()) for i in range(dims)]
    problems = []
    for i, (axis, size, step) in enumerate(zip(axes, patch_size, multiples, strict=True)):
        fits = smallest[i] // step * step
        if size % step or size < 1:
            below, above = size // step * step, (size // step + 1) * step
            valid = [str(n) for n in (below, above) if 0 < n <= fits] or [str(fits)]
            problems.append(
                f"{axis} = {size} is not divisible by {step}, which the network's strides need; "
                f"nearest: {' or '.join(valid)}"
            )
        elif size > smallest[i]:
            name = next(n for n, shape in facts.shapes.items() if shape[i] == smallest[i])
            problems.append(
                f"{axis} = {size} is larger than the smallest image ({name}: {smallest[i]}); "
                f"largest that fits: {fits}"
            )
    if problems:
        raise ConfigError("data.patch_size", problems, "Set data.patch_size=[...] accordingly.")


def _channel_names(row: Row) -> tuple[str, ...]:
    """Return the names of the raw channels that a row uses."""
    names = read_header(row.file("raw") or "", row["scene"] or None).channels
    if not row["channel"]:
        return names
    if row["channel"].isdigit() and row["channel"] not in names:
        return (names[int(row["channel"])],)
    return (row["channel"],)


def _median(sizes: Sequence[Spacing]) -> Spacing | None:
    if not sizes:
        return None
    z, y, x = (statistics.median(axis) for axis in zip(*sizes, strict=True))
    return (z, y, x)
