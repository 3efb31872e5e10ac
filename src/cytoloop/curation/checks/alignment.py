"""The shift of a segmentation that fits its image best."""

from __future__ import annotations

import numpy as np

from cytoloop.curation.checks.image_parts import central_part, sample_voxels

_PLANES = 16
"""Number of planes of a stack in which the shift in Y and X is measured."""


def best_shift(channel: np.ndarray, labels: np.ndarray) -> tuple[tuple[int, ...], float, float]:
    """Return the shift of a segmentation that fits its image best, and two correlations.

    Parameters
    ----------
    channel : ndarray
        ([Z,] Y, X).
    labels : ndarray of unsigned integers
        Same shape.

    Returns
    -------
    shift : tuple of int
        ([Z,] Y, X), in voxels. In a stack, it is along Z or in Y and X.
    unshifted, shifted : float
        Correlation of image and segmentation without and with the shift, 0 to 1.
    """
    image, target = central_part(channel), central_part(labels)
    if np.mean(target > 0) > 0.8:  # dense tissue: only the borders of its objects are visible
        middle = len(image) // 2 if image.ndim == 3 else None
        image, target = (image[middle], target[middle]) if middle is not None else (image, target)
        low, high = np.percentile(image, (1, 99))
        return _pad(_correlate(_normalized(image, low, high), _borders(target)), channel.ndim)
    low, high = np.percentile(sample_voxels(channel), (1, 99))
    if image.ndim == 2:
        return _correlate(_normalized(image, low, high), (target > 0).astype(np.float32))
    every = slice(None, None, max(len(image) // _PLANES, 1))
    bright, inside = _normalized(image[every], low, high), target[every] > 0
    bright_yx, inside_yx = bright.mean(axis=0), inside.mean(axis=0, dtype=np.float32)
    shifts, unshifted, shifted = _correlate(bright_yx, inside_yx)
    step = max(max(image.shape[1:]) // 128, 1)
    thin = (slice(None), slice(None, None, step), slice(None, None, step))
    z, z_unshifted, z_shifted = _correlate_z(
        _normalized(image[thin], low, high), (target[thin] > 0).astype(np.float32)
    )
    if z_shifted - z_unshifted > shifted - unshifted:
        return (z, 0, 0), z_unshifted, z_shifted
    return (0, *shifts), unshifted, shifted


def _pad(
    found: tuple[tuple[int, ...], float, float], axes: int
) -> tuple[tuple[int, ...], float, float]:
    """Return a shift with leading zeros, one number per axis."""
    shifts, unshifted, shifted = found
    return (0,) * (axes - len(shifts)) + shifts, unshifted, shifted


def _normalized(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return an image scaled to 0 to 1, as square root: bright objects do not dominate."""
    scaled = image.astype(np.float32)
    scaled -= low
    scaled /= max(high - low, 1e-6)
    return np.sqrt(np.clip(scaled, 0, 1, out=scaled), out=scaled)


def _borders(labels: np.ndarray) -> np.ndarray:
    """Return 0 inside objects and 1 or 2 at their borders, (Y, X)."""
    edges = np.zeros(labels.shape, np.float32)
    edges[1:] += labels[1:] != labels[:-1]
    edges[:, 1:] += labels[:, 1:] != labels[:, :-1]
    return edges


def _correlate(image: np.ndarray, target: np.ndarray) -> tuple[tuple[int, ...], float, float]:
    """Return the best shift (Y, X) of `target`, and the correlation without and with it.

    Shifts of up to an eighth of the image, at most 32 pixels, are tried. Pixels outside the image
    count as the mean, which favours small shifts.
    """
    from scipy import fft

    image, target = image - image.mean(), target - target.mean()
    norm = float(np.linalg.norm(image) * np.linalg.norm(target))
    if not norm:
        return (0, 0), 0.0, 0.0
    limits = [min(32, max(n // 8, 1)) for n in image.shape]
    size = [fft.next_fast_len(n + m, real=True) for n, m in zip(image.shape, limits, strict=True)]
    product = fft.rfft2(image, size) * np.conj(fft.rfft2(target, size))
    found = fft.irfft2(product, size) / norm
    window = np.roll(found, limits, (0, 1))[: 2 * limits[0] + 1, : 2 * limits[1] + 1]
    window = np.abs(window)  # dark objects on a bright background have a negative correlation
    best = np.unravel_index(int(np.argmax(window)), window.shape)
    shift = tuple(int(b) - m for b, m in zip(best, limits, strict=True))
    return shift, float(window[limits[0], limits[1]]), float(window[best])


def _correlate_z(image: np.ndarray, target: np.ndarray) -> tuple[int, float, float]:
    """Return the best shift along Z, and the correlation without and with it.

    Shifts of up to an eighth of the stack, at most 8 planes, are tried.
    """
    image, target = image - image.mean(), target - target.mean()
    norm = float(np.linalg.norm(image) * np.linalg.norm(target))
    if not norm:
        return 0, 0.0, 0.0
    depth = len(image)
    found = {}
    for shift in range(-min(8, depth // 8), min(8, depth // 8) + 1):
        fixed = image[max(shift, 0) : depth + min(shift, 0)]
        moving = target[max(-shift, 0) : depth - max(shift, 0)]
        found[shift] = abs(float(np.vdot(fixed, moving))) / norm
    best = max(found, key=lambda shift: (found[shift], -abs(shift)))
    return best, found[0], found[best]
