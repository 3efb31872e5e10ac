"""The preflight: what is in a data set, and whether a patch size fits it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cytoloop.curation import check_rows
from cytoloop.errors import ConfigError, ManifestError
from cytoloop.images.read import read_header
from cytoloop.manifest import Manifest, Row, read_dataset


@dataclass(frozen=True)
class Facts:
    """What all images of a data set share.

    Attributes
    ----------
    spatial_dims : int
        2 or 3.
    channels : tuple of str
        Names of the input channels.
    shapes : dict of str to tuple of int
        Row id to ([Z,] Y, X).
    spacing_um : tuple of float or None
        (Z, Y, X) of the first row that states it.
    """

    spatial_dims: int
    channels: tuple[str, ...]
    shapes: dict[str, tuple[int, ...]]
    spacing_um: tuple[float, float, float] | None


def inspect_dataset(dataset: dict[str, Manifest]) -> Facts:
    """Return the facts of the training and validation rows, from the files' headers.

    Raises
    ------
    ManifestError
        No validation image, or images that cannot be in one data set (2D with 3D, different
        numbers of channels).
    """
    rows = [*dataset["train"], *dataset["valid"]]
    where = str(dataset["train"].path)
    if not len(dataset["valid"]):
        raise ManifestError(
            str(dataset["valid"].path),
            "no validation image: the best checkpoint could not be chosen",
            "Curate with at least 2 images (or groups), or with a larger share `valid=`.",
        )
    headers = {row.id: read_header(row.file("raw") or "", row["scene"] or None) for row in rows}
    shapes = {name: header.spatial for name, header in headers.items()}
    dims = {name: len(shape) for name, shape in shapes.items()}
    channels = {row.id: _channels(row, headers[row.id].channels) for row in rows}
    problems = _odd_ones("is {}D", dims) + _odd_ones(
        "has {} input channels", {name: len(names) for name, names in channels.items()}
    )
    if problems:
        raise ManifestError(where, problems, "Train on images of one kind.")
    spacings = [row.spacing_um or headers[row.id].spacing_um for row in rows]
    return Facts(
        spatial_dims=next(iter(dims.values())),
        channels=channels[rows[0].id],
        shapes=shapes,
        spacing_um=next((s for s in spacings if s is not None), None),
    )


def check_patch_size(
    patch_size: Sequence[int], strides: Sequence[int | Sequence[int]], facts: Facts
) -> None:
    """Refuse a patch that the images or the network's strides do not allow.

    Parameters
    ----------
    patch_size : sequence of int
        [Z,] Y, X.
    strides : sequence
        Of the network, one a level; a number for all axes or one an axis.
    facts : Facts

    Raises
    ------
    ConfigError
        Every fault, each with sizes that would do.
    """
    dims = facts.spatial_dims
    axes = "ZYX"[-dims:]
    if len(patch_size) != dims:
        raise ConfigError(
            "data.patch_size",
            f"{list(patch_size)} has {len(patch_size)} numbers but the images are {dims}D",
            f"Give one number an axis: [{', '.join(axes)}].",
        )
    smallest = [min(shape[i] for shape in facts.shapes.values()) for i in range(dims)]
    problems = []
    for i, (axis, size) in enumerate(zip(axes, patch_size, strict=True)):
        step = 1
        for stride in strides:
            step *= stride if isinstance(stride, int) else list(stride)[i]
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


def _channels(row: Row, names: tuple[str, ...]) -> tuple[str, ...]:
    if not row["channel"]:
        return names
    if row["channel"].isdigit() and int(row["channel"]) < len(names):
        return (names[int(row["channel"])],)
    return (row["channel"],)


def _odd_ones(text: str, values: dict[str, int]) -> list[str]:
    """Return a line for each row whose value is not that of most rows."""
    counts = list(values.values())
    usual = max(set(counts), key=counts.count)
    return [
        f"{name} {text.format(value)}, most are {usual}"
        for name, value in values.items()
        if value != usual
    ]


def preflight(
    path: str | Path, patch_size: Sequence[int], strides: Sequence[int | Sequence[int]]
) -> tuple[dict[str, Manifest], Facts]:
    """Check everything that training needs of a data set, before anything is trained.

    Returns
    -------
    dataset : dict of str to Manifest
    facts : Facts

    Raises
    ------
    ManifestError, ConfigError
        Every problem of every row; then every problem of the patch size.
    """
    dataset = read_dataset(path)
    check_rows([row for manifest in dataset.values() for row in manifest])
    facts = inspect_dataset(dataset)
    check_patch_size(patch_size, strides, facts)
    return dataset, facts
