"""Where the objects of an image lie, how large they are, and of which shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cytoloop.synthesis.settings import SynthesisSettings

_TRIES = 12
"""Candidates per wanted object: crowded fields refuse most of them."""
_MOST_OBJECTS = 5000


@dataclass(frozen=True)
class Body:
    """An object before it is drawn.

    Attributes
    ----------
    centre : numpy.ndarray
        (D,) in um from the field's corner.
    radius : float
        Of a ball of its size, in um.
    shape : str
    """

    centre: np.ndarray
    radius: float
    shape: str


def draw(bounds: tuple[float, float], rng: np.random.Generator) -> float:
    """Return a random number of a range."""
    return float(rng.uniform(*bounds))


def draw_log(bounds: tuple[float, float], rng: np.random.Generator) -> float:
    """Return a random number of a range above 0, evenly on a logarithmic scale."""
    return float(np.exp(rng.uniform(*np.log(bounds))))


def choose(weights: tuple[tuple[str, float], ...], rng: np.random.Generator, count: int) -> list:
    """Return `count` random names, as often as their weights say."""
    frequency = np.array([weight for _, weight in weights])
    names = [name for name, _ in weights]
    return [names[i] for i in rng.choice(len(names), count, p=frequency / frequency.sum())]


def lay_out(
    settings: SynthesisSettings, radius: float, size_um: np.ndarray, rng: np.random.Generator
) -> list[Body]:
    """Return the objects of an image, some of them across its border.

    Parameters
    ----------
    settings : SynthesisSettings
    radius : float
        Of a typical object, in um.
    size_um : numpy.ndarray
        Size (D,) of the field.
    rng : numpy.random.Generator
    """
    dims = len(size_um)
    contact = draw(settings.contact, rng)
    layout = choose(settings.layouts, rng, 1)[0]
    body = (4 / 3 * np.pi * radius**3) if dims == 3 else np.pi * radius**2
    low, high = settings.crowding
    fraction = draw_log((max(low, 1e-4), max(high, 1e-4)), rng)
    room = float(np.prod(size_um + radius))
    wanted = min(max(round(fraction * room / body), 1), _MOST_OBJECTS)
    points = _candidates(layout, wanted * _TRIES, size_um, radius, rng)
    radii = radius * np.exp(rng.normal(0, draw(settings.size_spread, rng), len(points)))
    bodies: list[Body] = []
    for i in _accept(points, radii, contact, wanted):
        shape = choose(settings.shapes, rng, 1)[0]
        bodies.append(Body(points[i], float(radii[i]), shape))
    return bodies


def _candidates(
    layout: str, count: int, size_um: np.ndarray, radius: float, rng: np.random.Generator
) -> np.ndarray:
    """Return points (N, D) of a layout, in the field and up to half a radius outside."""
    dims = len(size_um)
    low, high = -0.5 * radius, size_um + 0.5 * radius
    even = rng.uniform(low, high, (count, dims))
    if layout == "clusters":
        centres = rng.uniform(0, size_um, (int(rng.integers(1, 6)), dims))
        spread = radius * rng.uniform(1.5, 4)
        points = centres[rng.integers(0, len(centres), count)] + rng.normal(0, spread, even.shape)
    elif layout == "ball":
        direction = rng.normal(size=even.shape)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        inner = rng.choice([0.0, 0.6])
        distance = rng.uniform(inner**dims, 1, (count, 1)) ** (1 / dims)
        axes = size_um * rng.uniform(0.35, 0.5)
        points = rng.uniform(0.4, 0.6, dims) * size_um + direction * distance * axes
    elif layout == "sheet":
        points = even
        tilt = rng.normal(0, 0.15, dims - 1)
        middle = size_um[0] * rng.uniform(0.3, 0.7)
        points[:, 0] = middle + (points[:, 1:] - size_um[1:] / 2) @ tilt
        points[:, 0] += rng.normal(0, 0.35 * radius, count)
    else:
        return even
    return points[((points > low) & (points < high)).all(1)]


def _accept(points: np.ndarray, radii: np.ndarray, contact: float, wanted: int) -> list[int]:
    """Return the candidates that keep their distance from those accepted before them."""
    taken: list[int] = []
    kept, kept_radii = np.empty_like(points), np.empty_like(radii)
    for i in range(len(points)):
        n = len(taken)
        if n >= wanted:
            break
        away = kept[:n] - points[i]
        least = contact * (kept_radii[:n] + radii[i])
        if (np.einsum("nd,nd->n", away, away) >= least**2).all():
            kept[n], kept_radii[n] = points[i], radii[i]
            taken.append(i)
    return taken
