"""The planned values of a training: patch, batch, sampling and normalisation."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cytoloop.training.prepare.plan.choice import (
    BATCH,
    FOREGROUND,
    LOWER,
    OBJECT_VOXELS,
    PATCH,
    UPPER,
    Choice,
    product_text,
)
from cytoloop.training.prepare.plan.cost import Cost
from cytoloop.training.prepare.plan.fingerprint import Fingerprint
from cytoloop.training.prepare.plan.machine import Machine
from cytoloop.training.prepare.plan.network import MIN_IMAGES
from cytoloop.training.prepare.plan.rules import choose_patch

log = logging.getLogger(__name__)

_MIN_BATCH = {2: 8, 3: 2}
"""A plane holds less than a stack; gradients of one patch alone are noisy (nnU-Net). The batch is
smaller only where memory has no room."""
_MAX_BATCH = 32
_FILL = {"cuda": 1.0}
"""Fraction of a step's work up to which the batch grows: a GPU is fast when it is full; elsewhere
(0.5) more and shorter steps learn more."""
_UPPER = 99.5
_SPARSE = 0.2
"""Below this fraction of object voxels the median is background."""


@dataclass(frozen=True)
class _Room:
    """What a step may cost on a machine."""

    cost: Cost
    machine: Machine

    def in_memory(self, patch: Sequence[int], batch: int) -> bool:
        return self.kept(patch, batch) <= self.machine.memory

    def fits(self, patch: Sequence[int], batch: int, fill: float = 1.0) -> bool:
        within = self.cost.work(patch, batch) <= fill * self.machine.macs
        return within and self.in_memory(patch, batch)

    def kept(self, patch: Sequence[int], batch: int) -> float:
        """Return the bytes that a step keeps for its backward pass."""
        return self.cost.kept(patch, batch, self.machine.precision)


def plan_values(
    found: Fingerprint,
    smallest: Sequence[int],
    fixed: Mapping[str, Any],
    machine: Machine,
    cost: Cost,
    multiples: Sequence[int],
) -> tuple[list[int], list[Choice]]:
    """Return the patch, and the choices of patch, batch, sampling and normalisation.

    Parameters
    ----------
    found, smallest, fixed, machine
        See `cytoloop.training.prepare.plan.network.plan_network`.
    cost : Cost
        Of the network.
    multiples : sequence of int
        Each side of a patch must be a multiple of its number.
    """
    room = _Room(cost, machine)
    batch = fixed.get(BATCH, _MIN_BATCH[found.dims])
    extents = found.diameter[2] if found.diameter else ()

    def largest_patch(typed: Sequence[int | None], count: int) -> list[int]:
        return choose_patch(
            found.spacing, smallest, extents, multiples, typed, lambda p: room.fits(p, count)
        )

    patch = largest_patch(fixed[PATCH], batch)
    choices = [Choice(PATCH, patch, _why_patch(found, patch, multiples))]
    if BATCH not in fixed:
        batch = _batch_size(room, patch, batch)
        choices.append(Choice(BATCH, batch, _why_batch(room, patch, batch)))
    if not room.in_memory(patch, batch):
        _warn_of_memory(room, patch, batch, largest_patch([None] * found.dims, batch))
    lower = _lower(found)
    choices += [_foreground(found, patch), lower, _upper(found, fixed.get(LOWER, lower.value))]
    reason = "mean of the training objects; prediction drops objects below 5 % of it"
    choices.append(Choice(OBJECT_VOXELS, round(found.object_voxels, 1), reason))
    return patch, [one for one in choices if one.key == PATCH or one.key not in fixed]


def _batch_size(room: _Room, patch: Sequence[int], smallest: int) -> int:
    """Return the largest batch that fits, or fewer than `smallest` if memory has no room."""
    batch, fill = smallest, _FILL.get(room.machine.kind, 0.5)
    while batch < _MAX_BATCH and room.fits(patch, batch + 1, fill):
        batch += 1
    while batch > 1 and not room.in_memory(patch, batch):
        batch -= 1
    return batch


def _why_batch(room: _Room, patch: Sequence[int], batch: int) -> str:
    giga, limit = room.cost.work(patch, batch) / 1e9, room.machine.macs / 1e9
    kept = room.kept(patch, batch) / 2**20
    return f"{giga:.0f} of {limit:.0f} billion multiplications a step, {kept:.0f} MB of memory"


def _warn_of_memory(room: _Room, patch: Sequence[int], batch: int, smaller: Sequence[int]) -> None:
    """Warn of a step that needs more memory than there is, with a way out."""
    log.warning(
        "memory: patches of %s, %d at a time, need about %.0f MB, %.0f MB are free; %s",
        product_text(patch),
        batch,
        room.kept(patch, batch) / 2**20,
        room.machine.memory / 2**20,
        f"{PATCH}={str(list(smaller)).replace(' ', '')} fits"
        if room.in_memory(smaller, batch)
        else "take a smaller network (model/size=small) or a machine with more memory",
    )


def _why_patch(found: Fingerprint, patch: Sequence[int], multiples: Sequence[int]) -> str:
    reason = f"the largest that a step has room for, of images of {product_text(found.shape[1])}"
    if found.spacing_um:
        sides = [round(n * s) for n, s in zip(patch, found.spacing, strict=True)]
        reason += f" ({product_text(sides)} um)"
    if found.diameter:
        large = product_text(round(extent) for extent in found.diameter[2])
        reason += f"; large objects are {large}"
    return f"{reason}; multiples of {product_text(multiples)}"


def _foreground(found: Fingerprint, patch: Sequence[int]) -> Choice:
    """Return the fraction of patches around objects: nnU-Net's third, or two thirds.

    It is two thirds where a random patch holds less than one object, objects taken to lie
    anywhere.
    """
    fraction = 1.0
    for size, whole in zip(patch, found.shape[1], strict=True):
        fraction *= min(size / whole, 1.0)
    objects = found.objects_per_image[1] * fraction
    reason = f"a random patch holds about {objects:.1f} objects"
    return Choice(FOREGROUND, 0.33 if objects >= 1 else 0.67, reason)


def _lower(found: Fingerprint) -> Choice:
    """Return the lower percentile: the median if it is background, as noise does not move it."""
    sparse = found.foreground < _SPARSE
    reason = f"objects are {found.foreground:.2%} of the voxels: "
    reason += "the median is background" if sparse else "the darkest voxels are background"
    return Choice(LOWER, 50.0 if sparse else 1.0, reason)


def _upper(found: Fingerprint, lower: float) -> Choice:
    """Return the upper percentile: the one that brings outlines to one level in all images.

    With few images, or an unusual lower percentile, it is the percentile above which at most a
    tenth of the object voxels lie.
    """
    known = [one for one in found.outlines if one.lower == lower]
    if known and found.outlined >= MIN_IMAGES:
        best = min(known, key=lambda one: one.spread)
        reason = (
            f"in {found.outlined} images, outlines lie at {best.level:.0%} of it, "
            f"+- {best.spread:.0%}: the smallest spread of all percentiles"
        )
        return Choice(UPPER, best.upper, reason)
    upper = round(min(max(_UPPER, 100 - 10 * found.foreground), 99.99), 2)
    reason = f"objects are {found.foreground:.2%} of the voxels; this percentile is among them"
    return Choice(UPPER, upper, reason)
