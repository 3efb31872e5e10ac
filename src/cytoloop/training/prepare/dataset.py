"""The data set of a training: its rows, checked, and what its images have in common."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cytoloop.curation import validate_dataset
from cytoloop.data.replay import replay_rows
from cytoloop.errors import ManifestError
from cytoloop.io.read import read_header
from cytoloop.io.voxel_size import Spacing
from cytoloop.manifest import Manifest, Row, read_dataset, stated_axes


@dataclass(frozen=True)
class DatasetFacts:
    """What the images of a data set have in common, and the size of each.

    Attributes
    ----------
    channels : tuple of str
        Names of the input channels.
    shapes : dict of str to tuple of int
        Split and row id to ([Z,] Y, X).
    spacing_um : tuple of float or None
        (Z, Y, X): the medians of the sizes that the images state.
    least_foreground : float
        Smallest fraction of foreground among the training images, outside excluded regions.
    """

    channels: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    spacing_um: Spacing | None
    least_foreground: float = 0.0

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return len(next(iter(self.shapes.values())))

    @property
    def smallest(self) -> list[int]:
        """Smallest size of all images along each axis, [Z,] Y, X."""
        return [min(sides) for sides in zip(*self.shapes.values(), strict=True)]


def read_checked_dataset(
    path: str | Path, fold: int | None = None, replayed: str | Path | None = None
) -> tuple[dict[str, Manifest], DatasetFacts]:
    """Read a data set and check everything that training needs of it.

    Parameters
    ----------
    path : str or Path
        See `cytoloop.manifest.read_dataset`.
    fold : int, optional
        Fold of cross-validation that validates.
    replayed : str or Path, optional
        An earlier data set, see `cytoloop.data.replay.earlier_rows`.

    Returns
    -------
    dataset : dict of str to Manifest
    facts : DatasetFacts
        Of the rows that train or validate.

    Raises
    ------
    ManifestError
        All problems of all rows.
    """
    dataset = read_dataset(path, fold)
    if not len(dataset["valid"]):
        raise ManifestError(
            str(dataset["valid"].path),
            "holds no validation image, so that no best checkpoint can be chosen",
            "Curate with at least 2 images (or groups), or with a larger fraction `valid=`.",
        )
    earlier = None if replayed is None else replay_rows(replayed, dataset)
    # Segmenter ML writes the same rows for validation and test: test rows are not checked here
    splits = {split: manifest for split, manifest in dataset.items() if split != "test"}
    checked = validate_dataset(splits, progress=True, replayed=earlier)
    used = [(split, one) for split, rows in checked.items() for one in rows]
    facts = DatasetFacts(
        channels=_channel_names(dataset["train"].rows[0]),
        shapes={f"{split}: {one.id}": one.shape for split, one in used if one.shape},
        spacing_um=_median([one.spacing_um for _, one in used if one.spacing_um]),
        least_foreground=min(one.foreground for one in checked["train"]),
    )
    return dataset, facts


def _channel_names(row: Row) -> tuple[str, ...]:
    """Return the names of the raw channels that a row uses."""
    names = read_header(row.file("raw") or "", row["scene"] or None, stated_axes(row)).channels
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
