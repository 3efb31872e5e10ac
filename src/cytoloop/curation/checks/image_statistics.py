"""Quality figures: what an image and its segmentation look like, in numbers.

Each figure is about one row. What is too much or too little is not decided here but by the
limits of `cytoloop.curation.checks.quality_limits`.
"""

from __future__ import annotations

import base64

import numpy as np

SIGNATURE = 32
"""Edge of the thumbnail by which pictures that are nearly alike are found."""

_SAMPLES = 250_000
"""Voxels from which medians are taken; more add time and no digits."""

_PLANES = 16
"""Planes of a stack from which the alignment in the plane is measured."""

_WINDOW = 512
"""Edge of the part, in pixels, in which sharpness and alignment are measured."""


def image_figures(raw: np.ndarray) -> dict[str, float]:
    """Return the figures of a raw image.

    Parameters
    ----------
    raw : ndarray
        (C, [Z,] Y, X), finite.

    Returns
    -------
    dict of str to float
        ``low``, ``median``, ``high``: percentiles .5, 50 and 99.5 of the channel with the widest
        range. ``saturated``: share of voxels at the largest value, of the worst channel.
        ``focus``: see `sharpness`, of the best channel.
    """
    sampled = [_sample(plane).astype(np.float32) for plane in raw]
    ranges = [np.percentile(values, (0.5, 50, 99.5)) for values in sampled]
    widest = max(ranges, key=lambda r: r[2] - r[0])
    return {
        "low": float(widest[0]),
        "median": float(widest[1]),
        "high": float(widest[2]),
        "saturated": max(float(np.mean(plane == plane.max())) for plane in raw),
        "focus": max(sharpness(plane) for plane in raw),
    }


def label_figures(labels: np.ndarray) -> dict[str, float]:
    """Return the figures of a segmentation.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        ([Z,] Y, X), not empty.

    Returns
    -------
    dict of str to float
        ``labels``: number of ids. ``pieces``: number of connected pieces of one id, touching by
        a face, edge or corner. ``label_gaps``: ids missing below the largest. ``split_labels``:
        ids in several pieces. ``tiny_pieces``: pieces of less than 2 % of the median piece, or
        of fewer than 4 voxels. ``object_voxels``: median size of an id.
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


def pair_figures(raw: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the figures of an image and its segmentation together.

    Parameters
    ----------
    raw : ndarray
        (C, [Z,] Y, X).
    labels : ndarray of unsigned integers
        ([Z,] Y, X), not empty.

    Returns
    -------
    dict of str to float
        ``contrast``: distance of the medians of objects and background in robust standard
        deviations of the background, of the best channel; left out where there is hardly any
        background. ``shift_y``, ``shift_x`` (and ``shift_z``): by how many voxels the
        segmentation must be moved to fit the image best. ``misalignment``: how much the
        correlation of image and segmentation then rises; 0 for moves below 2 voxels.
    """
    figures: dict[str, float] = {}
    step = max(labels.size // _SAMPLES, 1)
    inside = labels.reshape(-1)[::step] > 0
    share = float(np.mean(inside))
    if 0 < share < 0.98:
        figures["contrast"] = max(_contrast(plane.reshape(-1)[::step], inside) for plane in raw)
    best = max((_alignment(plane, labels) for plane in raw), key=lambda found: found[1])
    moves, at_rest, moved = best
    for axis, move in zip("ZYX"[-len(moves) :], moves, strict=True):
        figures[f"shift_{axis.lower()}"] = float(move)
    figures["misalignment"] = moved - at_rest if max(map(abs, moves)) >= 2 else 0.0
    return figures


def sharpness(plane: np.ndarray) -> float:
    """Return how much fine detail an image has beside coarse detail.

    The ratio of the standard deviations of two band-passes, differences of Gaussians with sigma
    0.7 and 1.4, and 2.8 and 5.6 pixels: blur takes from the first what it leaves to the second.
    In a stack, of the plane with the largest variance.

    Parameters
    ----------
    plane : ndarray
        ([Z,] Y, X).
    """
    from scipy import ndimage

    if plane.ndim == 3:
        variances = [float(np.var(one[::4, ::4], dtype=np.float64)) for one in plane]
        plane = plane[int(np.argmax(variances))]
    part = _central(plane).astype(np.float32)
    blurred = [ndimage.gaussian_filter(part, sigma) for sigma in (0.7, 1.4, 2.8, 5.6)]
    coarse = float(np.std(blurred[2] - blurred[3]))
    return float(np.std(blurred[0] - blurred[1])) / coarse if coarse > 0 else 0.0


def signature(raw: np.ndarray) -> str:
    """Return a thumbnail of an image's mean projection, as text; "" for one without detail.

    Parameters
    ----------
    raw : ndarray
        (C, [Z,] Y, X).
    """
    from PIL import Image

    flat = raw[0].mean(axis=0, dtype=np.float32) if raw.ndim == 4 else raw[0].astype(np.float32)
    small = np.asarray(
        Image.fromarray(flat).resize((SIGNATURE, SIGNATURE), Image.Resampling.BOX), np.float32
    )
    small = small - small.mean()
    top = float(np.abs(small).max())
    if not top:
        return ""
    return base64.b64encode(np.round(small / top * 127).astype(np.int8).tobytes()).decode()


def read_signature(text: str) -> np.ndarray:
    """Return the values behind `signature`, as a vector of length 1."""
    values = np.frombuffer(base64.b64decode(text), np.int8).astype(np.float32)
    return np.asarray(values / np.linalg.norm(values))


def _sample(plane: np.ndarray) -> np.ndarray:
    return plane.reshape(-1)[:: max(plane.size // _SAMPLES, 1)]


def _central(plane: np.ndarray) -> np.ndarray:
    """Return the central part of the last two axes."""
    y, x = ((max(n - _WINDOW, 0) // 2, min(n, _WINDOW)) for n in plane.shape[-2:])
    return plane[..., y[0] : y[0] + y[1], x[0] : x[0] + x[1]]


def _contrast(values: np.ndarray, inside: np.ndarray) -> float:
    objects, background = values[inside], values[~inside].astype(np.float32)
    centre = float(np.median(background))
    spread = 1.4826 * float(np.median(np.abs(background - centre)))
    # a background cut off at one value has no spread of its own
    spread = spread or float(np.std(background)) or 1.0
    return abs(float(np.median(objects)) - centre) / spread


def _alignment(plane: np.ndarray, labels: np.ndarray) -> tuple[tuple[int, ...], float, float]:
    """Return the move ([Z,] Y, X) that fits best, and the correlation without and with it."""
    image, target = _central(plane), _central(labels)
    if np.mean(target > 0) > 0.8:  # tissue without gaps: its borders are what can be seen
        middle = len(image) // 2 if image.ndim == 3 else None
        image, target = (image[middle], target[middle]) if middle is not None else (image, target)
        low, high = np.percentile(image, (1, 99))
        return _pad(_correlate(_evened(image, low, high), _borders(target)), plane.ndim)
    low, high = np.percentile(_sample(plane), (1, 99))
    if image.ndim == 2:
        return _correlate(_evened(image, low, high), (target > 0).astype(np.float32))
    some = slice(None, None, max(len(image) // _PLANES, 1))
    bright, inside = _evened(image[some], low, high), target[some] > 0
    moves, at_rest, moved = _correlate(bright.mean(axis=0), inside.mean(axis=0, dtype=np.float32))
    step = max(max(image.shape[1:]) // 128, 1)
    thin = (slice(None), slice(None, None, step), slice(None, None, step))
    z, z_rest, z_moved = _correlate_z(
        _evened(image[thin], low, high), (target[thin] > 0).astype(np.float32)
    )
    if z_moved - z_rest > moved - at_rest:
        return (z, 0, 0), z_rest, z_moved
    return (0, *moves), at_rest, moved


def _pad(
    found: tuple[tuple[int, ...], float, float], axes: int
) -> tuple[tuple[int, ...], float, float]:
    moves, at_rest, moved = found
    return (0,) * (axes - len(moves)) + moves, at_rest, moved


def _evened(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return an image whose brightest objects do not outweigh the others."""
    even = image.astype(np.float32)
    even -= low
    even /= max(high - low, 1e-6)
    return np.sqrt(np.clip(even, 0, 1, out=even), out=even)


def _borders(labels: np.ndarray) -> np.ndarray:
    edges = np.zeros(labels.shape, np.float32)
    edges[1:] += labels[1:] != labels[:-1]
    edges[:, 1:] += labels[:, 1:] != labels[:, :-1]
    return edges


def _correlate(image: np.ndarray, target: np.ndarray) -> tuple[tuple[int, ...], float, float]:
    """Return the best move (Y, X) of `target`, and the correlation without and with it.

    Moves of up to an eighth of the picture, at most 32 pixels, are tried. Pixels that leave the
    picture count as mean ones, which favours small moves.
    """
    from scipy import fft

    image, target = image - image.mean(), target - target.mean()
    norm = float(np.linalg.norm(image) * np.linalg.norm(target))
    if not norm:
        return (0, 0), 0.0, 0.0
    reach = [min(32, max(n // 8, 1)) for n in image.shape]
    size = [fft.next_fast_len(n + r, real=True) for n, r in zip(image.shape, reach, strict=True)]
    product = fft.rfft2(image, size) * np.conj(fft.rfft2(target, size))
    found = fft.irfft2(product, size) / norm
    window = np.roll(found, reach, (0, 1))[: 2 * reach[0] + 1, : 2 * reach[1] + 1]
    window = np.abs(window)  # dark objects on a bright ground correlate below zero
    at = np.unravel_index(int(np.argmax(window)), window.shape)
    move = tuple(int(a) - r for a, r in zip(at, reach, strict=True))
    return move, float(window[reach[0], reach[1]]), float(window[at])


def _correlate_z(image: np.ndarray, target: np.ndarray) -> tuple[int, float, float]:
    """Return the best move along Z of up to an eighth of the stack, at most 8 planes."""
    image, target = image - image.mean(), target - target.mean()
    norm = float(np.linalg.norm(image) * np.linalg.norm(target))
    if not norm:
        return 0, 0.0, 0.0
    depth = len(image)
    found = {}
    for move in range(-min(8, depth // 8), min(8, depth // 8) + 1):
        here = image[max(move, 0) : depth + min(move, 0)]
        there = target[max(-move, 0) : depth - max(move, 0)]
        found[move] = abs(float(np.vdot(here, there))) / norm
    best = max(found, key=lambda move: (found[move], -abs(move)))
    return best, found[0], found[best]
