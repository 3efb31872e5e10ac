"""Quality metrics of one image and its segmentation.

Their limits are in `cytoloop.curation.checks.quality_limits`.
"""

from __future__ import annotations

import base64

import numpy as np

_FINGERPRINT_EDGE = 32
"""Edge of the fingerprint in pixels."""

_SAMPLES = 250_000
"""Number of voxels for medians and percentiles. More take longer and change no shown digit."""

_PLANES = 16
"""Number of planes of a stack in which the alignment in Y and X is measured."""

_WINDOW = 512
"""Edge in pixels of the central part in which sharpness and alignment are measured."""


def image_metrics(raw: np.ndarray) -> dict[str, float]:
    """Return the quality metrics of a raw image.

    Parameters
    ----------
    raw : ndarray
        (C, [Z,] Y, X), finite.

    Returns
    -------
    dict of str to float
        ``low``, ``median``, ``high``: percentiles 0.5, 50 and 99.5 of the channel with the widest
        range. ``saturated``: fraction of voxels at the largest value, of the worst channel.
        ``focus``: `sharpness` of the best channel.
    """
    sampled = [_sample(channel).astype(np.float32) for channel in raw]
    ranges = [np.percentile(values, (0.5, 50, 99.5)) for values in sampled]
    widest = max(ranges, key=lambda r: r[2] - r[0])
    return {
        "low": float(widest[0]),
        "median": float(widest[1]),
        "high": float(widest[2]),
        "saturated": max(float(np.mean(channel == channel.max())) for channel in raw),
        "focus": max(sharpness(channel) for channel in raw),
    }


def label_metrics(labels: np.ndarray) -> dict[str, float]:
    """Return the quality metrics of a segmentation.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        ([Z,] Y, X), not empty.

    Returns
    -------
    dict of str to float
        ``labels``: number of labels. ``pieces``: number of connected components, whose voxels
        have one label and touch by a face, edge or corner. ``label_gaps``: numbers missing below
        the largest label. ``split_labels``: labels in several pieces. ``tiny_pieces``: pieces
        below 2 % of the median piece or below 4 voxels. ``object_voxels``: median size of a label.
    """
    import cc3d
    import fastremap

    ids, sizes = fastremap.unique(labels, return_counts=True)
    sizes = sizes[ids > 0]
    ids = ids[ids > 0]
    pieces = cc3d.connected_components(labels, connectivity=26 if labels.ndim == 3 else 8)
    numbers, piece_sizes = fastremap.unique(pieces, return_counts=True)
    piece_sizes = piece_sizes[numbers > 0]
    split = 0
    if len(piece_sizes) > len(ids):
        owners = np.fromiter(fastremap.component_map(pieces, labels).values(), np.uint64)
        split = int(np.count_nonzero(np.unique(owners[owners > 0], return_counts=True)[1] > 1))
    tiny = max(4.0, 0.02 * float(np.median(piece_sizes)))
    return {
        "labels": float(len(ids)),
        "pieces": float(len(piece_sizes)),
        "label_gaps": float(int(ids.max()) - len(ids)),
        "split_labels": float(split),
        "tiny_pieces": float(np.count_nonzero(piece_sizes < tiny)),
        "object_voxels": float(np.median(sizes)),
    }


def pair_metrics(raw: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the quality metrics of an image together with its segmentation.

    Parameters
    ----------
    raw : ndarray
        (C, [Z,] Y, X).
    labels : ndarray of unsigned integers
        ([Z,] Y, X), not empty.

    Returns
    -------
    dict of str to float
        ``contrast``: difference of the medians of objects and background, in robust standard
        deviations of the background (1.4826 MAD), of the best channel; missing where less than
        2 % is background. ``shift_y``, ``shift_x`` (and ``shift_z``): shift of the segmentation,
        in voxels, that fits the image best. ``misalignment``: rise of the correlation of image
        and segmentation by this shift; 0 for shifts below 2 voxels.
    """
    metrics: dict[str, float] = {}
    step = max(labels.size // _SAMPLES, 1)
    inside = labels.reshape(-1)[::step] > 0
    fraction = float(np.mean(inside))
    if 0 < fraction < 0.98:
        metrics["contrast"] = max(_contrast(channel.reshape(-1)[::step], inside) for channel in raw)
    best = max((_alignment(channel, labels) for channel in raw), key=lambda found: found[1])
    shifts, unshifted, shifted = best
    for axis, shift in zip("ZYX"[-len(shifts) :], shifts, strict=True):
        metrics[f"shift_{axis.lower()}"] = float(shift)
    metrics["misalignment"] = shifted - unshifted if max(map(abs, shifts)) >= 2 else 0.0
    return metrics


def sharpness(image: np.ndarray) -> float:
    """Return the ratio of fine to coarse detail of an image; blur lowers it.

    It is the ratio of the standard deviations of two differences of Gaussians: sigma 0.7 and 1.4
    pixels, over sigma 2.8 and 5.6 pixels. In a stack, it is that of the plane with the largest
    variance.

    Parameters
    ----------
    image : ndarray
        ([Z,] Y, X), one channel.
    """
    from scipy import ndimage

    if image.ndim == 3:
        variances = [float(np.var(plane[::4, ::4], dtype=np.float64)) for plane in image]
        image = image[int(np.argmax(variances))]
    part = _central(image).astype(np.float32)
    blurred = [ndimage.gaussian_filter(part, sigma) for sigma in (0.7, 1.4, 2.8, 5.6)]
    coarse = float(np.std(blurred[2] - blurred[3]))
    return float(np.std(blurred[0] - blurred[1])) / coarse if coarse > 0 else 0.0


def fingerprint(raw: np.ndarray) -> str:
    """Return a 32 x 32 thumbnail of the mean projection as base64 text; "" for a flat image.

    Parameters
    ----------
    raw : ndarray
        (C, [Z,] Y, X).
    """
    from PIL import Image

    flat = raw[0].mean(axis=0, dtype=np.float32) if raw.ndim == 4 else raw[0].astype(np.float32)
    size = (_FINGERPRINT_EDGE, _FINGERPRINT_EDGE)
    small = np.asarray(Image.fromarray(flat).resize(size, Image.Resampling.BOX), np.float32)
    small = small - small.mean()
    top = float(np.abs(small).max())
    if not top:
        return ""
    return base64.b64encode(np.round(small / top * 127).astype(np.int8).tobytes()).decode()


def fingerprint_vector(text: str) -> np.ndarray:
    """Return the values of a `fingerprint` as a vector with norm 1."""
    values = np.frombuffer(base64.b64decode(text), np.int8).astype(np.float32)
    return np.asarray(values / np.linalg.norm(values))


def _sample(image: np.ndarray) -> np.ndarray:
    return image.reshape(-1)[:: max(image.size // _SAMPLES, 1)]


def _central(image: np.ndarray) -> np.ndarray:
    """Return the central part of the last two axes."""
    y, x = ((max(n - _WINDOW, 0) // 2, min(n, _WINDOW)) for n in image.shape[-2:])
    return image[..., y[0] : y[0] + y[1], x[0] : x[0] + x[1]]


def _contrast(values: np.ndarray, inside: np.ndarray) -> float:
    objects, background = values[inside], values[~inside].astype(np.float32)
    centre = float(np.median(background))
    spread = 1.4826 * float(np.median(np.abs(background - centre)))
    # a background that is clipped to one value has a MAD of 0
    spread = spread or float(np.std(background)) or 1.0
    return abs(float(np.median(objects)) - centre) / spread


def _alignment(channel: np.ndarray, labels: np.ndarray) -> tuple[tuple[int, ...], float, float]:
    """Return the shift ([Z,] Y, X) that fits best, and the correlation without and with it."""
    image, target = _central(channel), _central(labels)
    if np.mean(target > 0) > 0.8:  # dense tissue: only the borders of its objects are visible
        middle = len(image) // 2 if image.ndim == 3 else None
        image, target = (image[middle], target[middle]) if middle is not None else (image, target)
        low, high = np.percentile(image, (1, 99))
        return _pad(_correlate(_normalized(image, low, high), _borders(target)), channel.ndim)
    low, high = np.percentile(_sample(channel), (1, 99))
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
