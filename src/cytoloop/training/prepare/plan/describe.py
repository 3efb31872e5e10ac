"""A plan in words: lines about the images and the machine, a table of values with reasons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from cytoloop.training.prepare.plan.choices import Choice
from cytoloop.training.prepare.plan.fingerprint import PERCENTILES, Fingerprint
from cytoloop.training.prepare.plan.machine import Hardware


def describe(found: Fingerprint, machine: Hardware) -> Iterator[str]:
    """Yield a fingerprint and the machine as lines for people."""
    smallest, median, largest = (_by(shape) for shape in found.shape)
    span = "" if smallest == largest else f" ({smallest} to {largest})"
    yield f"{found.images} training images of {median}{span}, {found.channels} channel(s)"
    if found.spacing_um:
        yield f"voxel {_by(found.spacing_um)} um, sides up to {found.anisotropy:.2g} to 1"
    else:
        yield "voxel size unknown, taken as cubes"
    fewest, usual, most = found.objects_per_image
    yield (
        f"{found.objects} objects, {usual:g} in an image ({fewest:g} to {most:g}), "
        f"{found.touching:.0%} touch another, {found.foreground:.1%} of the voxels"
    )
    if found.diameter:
        pairs = zip(PERCENTILES, found.diameter, strict=True)
        sizes = ", ".join(f"{_by(extents)} ({which} %)" for which, extents in pairs)
        yield f"their extents in voxels: {sizes}"
        if found.spacing_um:
            sides = [e * s for e, s in zip(found.diameter[1], found.spacing, strict=True)]
            yield f"median in um: {_by(sides)}"
    for number, levels in enumerate(found.levels):
        low, middle, high = levels
        text = f"{low:g} (0.5 %), {middle:g} (50 %), {high:g} (99.5 %)"
        yield f"grey levels of channel {number}: {text}"
    yield (
        f"{machine.kind} in {machine.precision}: {machine.macs / 1e9:.0f} billion multiplications "
        f"a step at most"
    )


def plan_table(choices: Sequence[Choice]) -> Table:
    """Return the values of a plan and their reasons, for the terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("planned", no_wrap=True)
    table.add_column("value")
    table.add_column("because")
    for one in choices:
        table.add_row(one.key, str(one.value).replace("'", ""), one.reason)
    return table


def _by(numbers: Sequence[float]) -> str:
    return " x ".join(f"{number:.3g}" for number in numbers)
