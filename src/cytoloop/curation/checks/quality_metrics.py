"""Quality metrics of one image and its segmentation.

Their limits are in `cytoloop.curation.checks.quality_limits`.
"""

from __future__ import annotations

import base64

import numpy as np

from cytoloop.curation.checks.alignment import best_shift
from cytoloop.curation.checks.image_parts import central_part, sample_voxels

_FINGERPRINT_EDGE = 32
"""Edge of the fingerprint in pixels."""


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
    sampled = [sample_voxels(channel).astype(np.float32) for channel in raw]
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
    inside = sample_voxels(labels) > 0
    fraction = float(np.mean(inside))
    if 0 < fraction < 0.98:
        metrics["contrast"] = max(_contrast(sample_voxels(channel), inside) for channel in raw)
    found = (best_shift(channel, labels) for channel in raw)
    shifts, unshifted, shifted = max(found, key=lambda one: one[1])
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
    part = central_part(image).astype(np.float32)
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


def _contrast(values: np.ndarray, inside: np.ndarray) -> float:
    objects, background = values[inside], values[~inside].astype(np.float32)
    centre = float(np.median(background))
    spread = 1.4826 * float(np.median(np.abs(background - centre)))
    # a background that is clipped to one value has a MAD of 0
    spread = spread or float(np.std(background)) or 1.0
    return abs(float(np.median(objects)) - centre) / spread
