"""One synthetic image with its labels."""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np

from cytoloop.io.voxel_size import Spacing
from cytoloop.synthesis.bodies import Look, blurred, coverage, interior, shape_box
from cytoloop.synthesis.camera import add_debris, add_fibre, illuminate, photograph
from cytoloop.synthesis.layout import Body, draw, draw_log, lay_out
from cytoloop.synthesis.settings import SynthesisSettings

_DIM, _BRIGHT = 0.12, 6.0
"""Bounds of an object's brightness: a dimmer one no annotator would see."""
_HIGHEST_OUTLINE = 0.6
"""Of a dim object seen at the contrast of bright ones."""
_TRIES = 10
_FEWEST_VOXELS = 4
_FEWEST_PLANES = 3
"""Planes through a typical object: nobody records fewer to segment it in 3D."""
_LEAST_SEEN = 0.3
"""Fraction of an object's voxels that others leave to it; an annotator would not draw less."""


@dataclass(frozen=True)
class _Own:
    """What each object would show alone; row 0 is background.

    Attributes
    ----------
    voxels : numpy.ndarray
        (N,) voxels within its outline.
    brightness : numpy.ndarray
        (N,) mean brightness of these voxels.
    """

    voxels: np.ndarray
    brightness: np.ndarray


@dataclass(frozen=True)
class SyntheticImage:
    """An image and its truth.

    Attributes
    ----------
    raw : numpy.ndarray
        ([Z,] Y, X) uint16.
    labels : numpy.ndarray
        ([Z,] Y, X) uint16, 0 = background, objects numbered from 1.
    spacing_um : tuple of float
        Voxel size (Z, Y, X).
    """

    raw: np.ndarray
    labels: np.ndarray
    spacing_um: Spacing


def draw_image(settings: SynthesisSettings, seed: int, number: int = 0) -> SyntheticImage:
    """Return an image of a series: the same settings, seed and number give the same pixels.

    An image in which no object can be seen is drawn anew, a few times.
    """
    rng = np.random.default_rng([seed, number])
    for _ in range(_TRIES):
        image = _draw_once(settings, rng)
        if image.labels.any():
            break
    return image


def _draw_once(settings: SynthesisSettings, rng: np.random.Generator) -> SyntheticImage:
    dims = len(settings.shape)
    spacing = np.array(settings.spacing_um[-dims:], float)
    radius = draw_log(settings.object_diameter_um, rng) / 2
    if dims == 3 and settings.anisotropy is not None:
        low, high = settings.anisotropy
        most = 2 * radius / (_FEWEST_PLANES * spacing[1])
        spacing[0] = spacing[1] * draw((low, min(max(most, low), high)), rng)
    bodies = lay_out(settings, radius, np.array(settings.shape) * spacing, rng)
    light, labels, own = _draw_bodies(bodies, radius, spacing, settings, rng)
    add_debris(light, rng.poisson(draw(settings.debris, rng) * len(bodies)), radius, spacing, rng)
    if rng.random() < 0.15 * (settings.debris[1] > 0):
        add_fibre(light, radius, spacing, rng)
    scene = illuminate(light, radius, spacing, settings, rng)
    raw = photograph(scene, settings, rng)
    seen = scene.is_seen(labels, own.brightness)
    labels = _renumbered(np.where(seen[labels], labels, 0), own.voxels)
    z = spacing[0] if dims == 3 else spacing[-1]
    return SyntheticImage(raw, labels, (float(z), float(spacing[-2]), float(spacing[-1])))


def _draw_bodies(
    bodies: list[Body],
    radius: float,
    spacing: np.ndarray,
    settings: SynthesisSettings,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, _Own]:
    """Return the light of all objects after the optics, float32, and their labels, uint16."""
    shape = settings.shape
    lateral = draw(settings.blur, rng) * radius
    sigma = lateral / spacing
    if len(shape) == 3:
        sigma[0] *= draw(settings.axial_blur, rng)
    look = Look(
        draw(settings.texture, rng), draw(settings.spots, rng) * (rng.random() < 0.6),
        draw(settings.rim, rng), rng.uniform(0.05, 0.3),
    )  # fmt: skip
    spread, outline = draw(settings.brightness_spread, rng), draw(settings.outline, rng)
    by_plane = draw(settings.by_plane, rng) if len(shape) == 3 else 0.0
    one_contrast = draw(settings.one_contrast, rng) if settings.one_contrast[1] else 0.0
    boxes = [shape_box(body, spacing, sigma, rng) for body in bodies]
    nearest = np.full(shape, np.inf, np.float32)
    for box in boxes:  # where two bodies overlap, a voxel belongs to the one it lies deeper in
        field, own = box.overlap(shape)
        np.minimum(nearest[field], box.level[own], out=nearest[field])
    light, best = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    labels = np.zeros(shape, np.uint16)
    voxels, brightness = [0], [0.0]
    for body, box in zip(bodies, boxes, strict=True):
        field, own = box.overlap(shape)
        solid = coverage(box, body.radius, spacing)
        solid[own] *= box.level[own] <= nearest[field]
        bright = float(np.clip(np.exp(rng.normal(0, spread)), _DIM, _BRIGHT))
        bright *= rng.uniform(1, 2.5) if body.shape == "mitotic" else 1
        inside = interior(box, body.radius, spacing, look, rng)
        shining = np.float32(bright) * blurred(solid * inside, sigma)[own]
        light[field] += shining
        seen = blurred(solid, sigma)
        top = float(seen.max())
        part = seen[own] / max(top, 1e-6)
        of_plane = seen.max(axis=(-2, -1), keepdims=True)[own[:-2]] / max(top, 1e-6)
        level = min(outline * bright**-one_contrast, _HIGHEST_OUTLINE)
        visible = part > level * of_plane**by_plane
        if top < 0.05 or not visible.any():
            continue
        labels[field][visible & (part > best[field])] = len(voxels)
        best[field][visible] = np.maximum(best[field], part)[visible]
        voxels.append(int(visible.sum()))
        brightness.append(float(shining[visible].mean()))
    return light, labels, _Own(np.array(voxels), np.array(brightness))


def _renumbered(labels: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return labels of one piece each, numbered from 1; objects that others cover are left out.

    Parameters
    ----------
    labels : numpy.ndarray
        ([Z,] Y, X) uint16, numbered from 1.
    wanted : numpy.ndarray
        (N,) voxels of each object, if no other covered it; row 0 is background.
    """
    pieces = cc3d.connected_components(labels, connectivity=6 if labels.ndim == 3 else 4)
    sizes = np.bincount(pieces.ravel())
    label_of = np.zeros(len(sizes), np.int64)
    label_of[pieces.ravel()] = labels.ravel()
    label_of[0] = 0
    numbers = np.zeros(len(sizes), np.uint16)
    done: set[int] = set()
    number = 0
    for piece in np.argsort(-sizes, kind="stable"):  # the largest piece of an object is kept
        label = int(label_of[piece])
        if label == 0 or label in done:
            continue
        done.add(label)
        if sizes[piece] >= max(_FEWEST_VOXELS, _LEAST_SEEN * wanted[label]):
            number += 1
            numbers[piece] = number
    return numbers[pieces]
