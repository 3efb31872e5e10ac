"""The data set of a training: its rows, checked, and what its images have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cytoloop.bounds import AUTO
from cytoloop.curation import validate_dataset
from cytoloop.curation.checks.empty_planes import report_empty_planes
from cytoloop.curation.checks.result import CheckResult
from cytoloop.curation.checks.voxel_sizes import median_spacing, warn_of_different_sizes
from cytoloop.data.replay import replay_rows
from cytoloop.data.settings import MEDIAN, full_spacing
from cytoloop.errors import ConfigError, ManifestError
from cytoloop.intensity.resample import resampled_shape
from cytoloop.io.read import read_header
from cytoloop.io.voxel_size import Spacing
from cytoloop.manifest import SPLIT_FILES, Manifest, Row, read_dataset, stated_axes
from cytoloop.training.prepare.working_size import coarser_spacing
from cytoloop.workers.engine import Engine


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
        (Z, Y, X): the size that images are resampled to, else the medians of their sizes.
    least_foreground : float
        Smallest fraction of foreground among the training images, outside excluded regions.
    planes : bool
        The training images are planes of stacks.
    resampled : bool
        Images are resampled to `spacing_um`.
    """

    channels: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    spacing_um: Spacing | None
    least_foreground: float = 0.0
    planes: bool = False
    resampled: bool = False

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return len(next(iter(self.shapes.values())))

    @property
    def smallest(self) -> list[int]:
        """Smallest size of all images along each axis, [Z,] Y, X."""
        return [min(sides) for sides in zip(*self.shapes.values(), strict=True)]


def read_checked_dataset(
    path: str | Path,
    fold: int | None = None,
    replayed: str | Path | None = None,
    resample: str | Sequence[float] | None = None,
    planes: bool | str | None = None,
    engine: Engine | None = None,
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
    resample : str or sequence of float, optional
        Voxel size ([Z,] Y, X) in um that training resamples to, or ``median``; ``auto``: see
        `cytoloop.training.prepare.working_size`.
    planes : bool, str or None
        Which planes of stacks are pictures, see `cytoloop.manifest.read_dataset`.
    engine : Engine, optional
        Which processes check the images; default: this one.

    Returns
    -------
    dataset : dict of str to Manifest
    facts : DatasetFacts
        Of the rows that train or validate.

    Raises
    ------
    ManifestError
        All problems of all rows, and images without a voxel size if they are resampled.
    ConfigError
        `resample` states no Z for stacks.
    """
    dataset = read_dataset(path, fold, planes)
    if not len(dataset["valid"]):
        raise _no_validation_error(dataset)
    earlier = None if replayed is None else replay_rows(replayed, dataset, planes)
    # Segmenter ML writes the same rows for validation and test: test rows are not checked here
    splits = {split: manifest for split, manifest in dataset.items() if split != "test"}
    checked = validate_dataset(splits, progress=True, replayed=earlier, engine=engine)
    used = [(split, one) for split, rows in checked.items() for one in rows]
    if resample == AUTO:
        resample = coarser_spacing([one for _, one in used])
    spacing = median_spacing([one.spacing_um for _, one in used if one.spacing_um])
    if resample is None:
        warn_of_different_sizes([one for _, one in used], str(path))
    else:
        _refuse_unknown_sizes([one for _, one in used], str(path))
        _refuse_size_without_z(resample, [one for _, one in used], spacing)
        spacing = spacing if resample == MEDIAN else full_spacing([float(s) for s in resample])
    if planes:  # curate has reported those that the data set names
        rows = [row for split in ("train", "valid") for row in dataset[split]]
        found = {one.id: one for _, one in used}
        report_empty_planes(rows, found, "data.planes=annotated")
    facts = DatasetFacts(
        channels=_channel_names(dataset["train"].rows[0]),
        shapes={
            f"{split}: {one.id}": _trained_shape(one, None if resample is None else spacing)
            for split, one in used
            if one.shape
        },
        spacing_um=spacing,
        least_foreground=min(one.foreground for one in checked["train"]),
        planes=any(row["plane"] for row in dataset["train"]),
        resampled=resample is not None,
    )
    return dataset, facts


def _no_validation_error(dataset: Mapping[str, Manifest]) -> ManifestError:
    """Return the error of a data set without validation images, with the repair that fits it."""
    path, table = dataset["valid"].path, dataset["train"].path
    curate = f"`cytoloop curate raw={table} output=dataset`"
    if path == table and any((table.parent / name).is_file() for name in SPLIT_FILES["valid"]):
        repair = f"Its folder holds a table for each split: data.path={table.parent}"
    elif any(row["split"] for row in dataset["train"]):
        repair = (
            "Write valid in the column split of some rows. Or remove the column, let "
            f"{curate} split the images, and train with data.path=dataset."
        )
    else:
        repair = (
            f"{curate} splits the images of a table; it cuts a single one into parts. Train with "
            "data.path=dataset."
        )
    return ManifestError(
        str(path), "holds no validation image, so that no best checkpoint can be chosen", repair
    )


def _channel_names(row: Row) -> tuple[str, ...]:
    """Return the names of the raw channels that a row uses."""
    names = read_header(row.file("raw") or "", row["scene"] or None, stated_axes(row)).channels
    if not row["channel"]:
        return names
    if row["channel"].isdigit() and row["channel"] not in names:
        return (names[int(row["channel"])],)
    return (row["channel"],)


def _trained_shape(one: CheckResult, spacing_um: Spacing | None) -> tuple[int, ...]:
    """Return the shape of an image in training: resampled where a voxel size is given."""
    shape = one.shape or ()
    if spacing_um is None or one.spacing_um is None:
        return shape
    return resampled_shape(shape, one.spacing_um, spacing_um)


def _refuse_size_without_z(
    resample: str | Sequence[float], images: Sequence[CheckResult], usual: Spacing | None
) -> None:
    """Refuse a voxel size for pictures if the images are stacks.

    Raises
    ------
    ConfigError
    """
    if isinstance(resample, str) or len(resample) == 3 or len(images[0].shape or ()) != 3:
        return
    z = f"{usual[0]:g}" if usual else "Z"
    sizes = ",".join(f"{float(size):g}" for size in resample)
    raise ConfigError(
        f"data.resample=[{sizes}]",
        "is a voxel size along Y and X, but the images are stacks: expected [z,y,x]",
        f"Give that along Z, too: data.resample='[{z},{sizes}]'.",
    )


def _refuse_unknown_sizes(images: Sequence[CheckResult], where: str) -> None:
    """Refuse images that cannot be resampled.

    Raises
    ------
    ManifestError
        All images without a voxel size.
    """
    if unknown := [f"{one.id}: its voxel size is unknown" for one in images if not one.spacing_um]:
        raise ManifestError(
            where,
            unknown,
            "data.resample needs the voxel size of every image: fill the column spacing_um, or "
            "curate with spacing_um=[z,y,x].",
        )
