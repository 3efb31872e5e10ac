"""Shapes of objects as functions of space: below 1 inside, 1 at the border, above 1 outside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Shape = Callable[[np.ndarray], np.ndarray]
"""From points (N, D), in radii from the centre, to N levels."""

REACH = {"ellipsoid": 1.6, "lobed": 1.9, "crescent": 1.6, "elongated": 2.9, "mitotic": 1.9}
"""Distance of the farthest point of each shape from its centre, in radii."""

_BUMPS = 4


def draw_shape(kind: str, dims: int, rng: np.random.Generator) -> Shape:
    """Return a random shape of a kind, whose size is about that of a ball of radius 1.

    Parameters
    ----------
    kind : str
        Of `cytoloop.synthesis.settings.SHAPES`.
    dims : int
        2 or 3.
    rng : numpy.random.Generator
    """
    turn = random_rotation(dims, rng).astype(np.float32)
    body = _BODIES[kind](dims, rng)
    rough = _roughness(dims, rng, 0.25 if kind == "mitotic" else 0.12)
    reach = np.float32(REACH[kind])

    def level(points: np.ndarray) -> np.ndarray:
        levels = _length(points) + 1  # outside, where the shape need not be known
        near = np.flatnonzero(levels < reach + 1)
        turned = points[near] @ turn
        levels[near] = body(turned) / rough(turned)
        return levels

    return level


def random_rotation(dims: int, rng: np.random.Generator) -> np.ndarray:
    """Return a random rotation matrix, (D, D)."""
    q, r = np.linalg.qr(rng.normal(size=(dims, dims)))
    return np.asarray(q * np.sign(np.diag(r)))


def _length(points: np.ndarray) -> np.ndarray:
    """Return the lengths (N,) of vectors (N, D); faster than `numpy.linalg.norm`."""
    return np.asarray(np.sqrt(np.einsum("nd,nd->n", points, points)))


def _roughness(dims: int, rng: np.random.Generator, most: float) -> Shape:
    """Return a smooth function of the direction around 1: bumps and dents of the surface."""
    waves = (rng.normal(size=(dims, _BUMPS)) * 2.2).astype(np.float32)
    phases = rng.uniform(0, 2 * np.pi, _BUMPS).astype(np.float32)
    height = np.float32(rng.uniform(0, most) * 1.6 / _BUMPS)
    all_waves = np.ones(_BUMPS, np.float32)

    def bumps(points: np.ndarray) -> np.ndarray:
        directions = points / (_length(points) + np.float32(0.3))[:, None]
        return 1 + height * (np.cos(directions @ waves + phases) @ all_waves)

    return bumps


def _stretched(axes: np.ndarray) -> Shape:
    """Return the ellipsoid of these semi-axes (D,)."""
    inverse = (1 / axes).astype(np.float32)
    return lambda points: _length(points * inverse)


def _ellipsoid(dims: int, rng: np.random.Generator) -> Shape:
    axes = np.exp(rng.normal(0, 0.16, dims))
    axes = np.clip(axes / axes.prod() ** (1 / dims), 0.65, 1.5)
    return _stretched(axes)


def _elongated(dims: int, rng: np.random.Generator) -> Shape:
    aspect, bend = rng.uniform(1.6, 3.6), rng.uniform(-0.25, 0.25)
    axes = np.ones(dims)
    axes[0] = aspect
    ellipsoid = _stretched(axes / axes.prod() ** (1 / dims))

    def level(points: np.ndarray) -> np.ndarray:
        bent = points.copy()
        bent[:, 1] -= bend * (points[:, 0] ** 2 - 1)
        return ellipsoid(bent)

    return level


def _lobed(dims: int, rng: np.random.Generator) -> Shape:
    count = int(rng.integers(2, 5))
    centres = rng.normal(size=(count, dims)).astype(np.float32)
    centres *= 0.55 / np.linalg.norm(centres, axis=1, keepdims=True)
    sizes = rng.uniform(0.65, 0.9, count)

    def level(points: np.ndarray) -> np.ndarray:
        lobes = zip(centres, sizes, strict=True)
        near = [(_length(points - c) / np.float32(s) + np.float32(1e-2)) ** -6 for c, s in lobes]
        return np.asarray(sum(near) ** (-1 / 6))  # a smooth minimum: no seam between lobes

    return level


def _crescent(dims: int, rng: np.random.Generator) -> Shape:
    body = _ellipsoid(dims, rng)
    bite = np.zeros(dims, np.float32)
    bite[0] = rng.uniform(0.9, 1.2)
    size = rng.uniform(0.55, 0.8)

    def level(points: np.ndarray) -> np.ndarray:
        cut = 1 + (size - _length(points - bite))
        return np.maximum(body(points * 0.88), cut)

    return level


def _mitotic(dims: int, rng: np.random.Generator) -> Shape:
    """Return a plate of condensed chromosomes, half the volume of a nucleus."""
    axes = np.full(dims, rng.uniform(0.85, 1.15))
    axes[0] = rng.uniform(0.3, 0.5)
    return _stretched(axes)


_BODIES: dict[str, Callable[[int, np.random.Generator], Shape]] = {
    "ellipsoid": _ellipsoid,
    "lobed": _lobed,
    "crescent": _crescent,
    "elongated": _elongated,
    "mitotic": _mitotic,
}
