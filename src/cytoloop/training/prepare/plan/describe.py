"""A plan for the terminal: lines about images and machine, a table of values and reasons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from cytoloop.training.prepare.plan.choice import Choice
from cytoloop.training.prepare.plan.fingerprint import PERCENTILES, Fingerprint
from cytoloop.training.prepare.plan.machine import Machine


def describe(found: Fingerprint, machine: Machine) -> Iterator[str]:
    """Yield lines that describe the images and the machine."""
    smallest, median, largest = (_by(shape) for shape in found.shape)
    span = "" if smallest == largest else f" ({smallest} to {largest})"
    yield f"{found.images} training images of {median}{span}, {found.channels} channel(s)"
    if found.spacing_um:
        voxel, ratio = _by(found.spacing_um), found.anisotropy
        yield f"voxel {voxel} um, longest side {ratio:.2g} times the shortest"
    else:
        yield "voxel size unknown, cubes assumed"
    fewest, usual, most = found.objects_per_image
    yield (
        f"{found.objects} objects, {usual:g} per image ({fewest:g} to {most:g}), "
        f"{found.touching:.0%} touch another, they fill {found.foreground:.1%} of the voxels"
    )
    if found.diameter:
        pairs = zip(PERCENTILES, found.diameter, strict=True)
        sizes = ", ".join(f"{_by(extents)} ({which} %)" for which, extents in pairs)
        yield f"object extents in voxels: {sizes}"
        if found.spacing_um:
            sides = [e * s for e, s in zip(found.diameter[1], found.spacing, strict=True)]
            yield f"median extent in um: {_by(sides)}"
    for number, levels in enumerate(found.levels):
        low, middle, high = levels
        text = f"{low:g} (0.5 %), {middle:g} (50 %), {high:g} (99.5 %)"
        yield f"grey levels of channel {number}: {text}"
    yield (
        f"{machine.kind} in {machine.precision}: {machine.macs / 1e9:.0f} billion multiply-adds "
        f"per step at most"
    )


def plan_table(choices: Sequence[Choice]) -> Table:
    """Return the values of a plan and their reasons, for the terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("planned", no_wrap=True)
    table.add_column("value")
    table.add_column("reason")
    for one in choices:
        table.add_row(one.key, str(one.value).replace("'", ""), one.reason)
    return table


def _by(numbers: Sequence[float]) -> str:
    return " x ".join(f"{number:.3g}" for number in numbers)
