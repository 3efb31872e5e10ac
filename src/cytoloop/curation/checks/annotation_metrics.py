"""Signs that a segmentation is inverted, incomplete, or has an ignore value."""

from __future__ import annotations

import cc3d
import fastremap
import numpy as np

from cytoloop.truth.mistaken_labels import fraction_of_ignore_value, looks_inverted

_MAX_SIDE = 1024
"""Longest side, in pixels, of the plane in which bright objects are looked for."""
_MARGIN = 3
"""Pixels around labels that count as labelled: outlines are drawn tightly."""
_MIN_CONTRAST = 2.0
"""Contrast, in robust standard deviations, above which objects differ from the background."""


def annotation_metrics(
    raw: np.ndarray, labels: np.ndarray, exclude: np.ndarray | None = None
) -> dict[str, float]:
    """Return metrics of mistakes that a whole segmentation can have.

    Parameters
    ----------
    raw : ndarray
        (C, [Z,] Y, X).
    labels : ndarray of unsigned integers
        ([Z,] Y, X), not empty.
    exclude : ndarray of bool, optional
        Same shape as `labels`.

    Returns
    -------
    dict of str to float
        ``inverted``: 1 for a mask that looks inverted, else 0. ``ignore_value``: fraction of the
        voxels that have the largest value of a file type, if the labels below are small numbers.
        ``unlabelled``: number of objects as bright as labelled ones, in which nothing is labelled,
        for each labelled object; missing where brightness does not tell objects from background.
    """
    metrics = {
        "inverted": float(looks_inverted(labels)),
        "ignore_value": fraction_of_ignore_value(labels),
    }
    plane = int(np.argmax(np.count_nonzero(labels, axis=(1, 2)))) if labels.ndim == 3 else None
    drawn = labels if plane is None else labels[plane]
    excluded = exclude if exclude is None or plane is None else exclude[plane]
    step = -(-max(drawn.shape) // _MAX_SIDE)
    thin = (slice(None, None, step),) * 2
    found = []
    for channel in raw:
        image = channel if plane is None else channel[plane]
        valid = np.ones(drawn[thin].shape, bool) if excluded is None else ~excluded[thin]
        found.append(_unlabelled_objects(image[thin].astype(np.float32), drawn[thin], valid))
    measured = [ratio for ratio in found if ratio is not None]
    if measured:
        metrics["unlabelled"] = min(measured)  # a channel of other structures has more of them
    return metrics


def _unlabelled_objects(image: np.ndarray, labels: np.ndarray, valid: np.ndarray) -> float | None:
    """Return the number of unlabelled objects for each labelled one; None where it is unknown.

    An object is a connected piece that, smoothed, is beyond the middle between background and
    labelled objects, and at least half as large as the median labelled object.
    """
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(image, 1.0)
    inside, outside = labels > 0, (labels == 0) & valid
    if inside.sum() < 4 or outside.mean() < 0.02:
        return None
    values = smooth[outside]
    centre = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - centre))) or float(np.std(values)) or 1.0
    level = float(np.median(smooth[inside]))
    if abs(level - centre) < _MIN_CONTRAST * spread:
        return None
    middle = (level + centre) / 2
    like_objects = smooth > middle if level > centre else smooth < middle
    near = ndimage.binary_dilation(inside, iterations=_MARGIN)
    pieces = cc3d.connected_components(like_objects & valid, connectivity=8)
    sizes = np.bincount(pieces.ravel())
    touched = np.bincount(pieces[near & (pieces > 0)], minlength=len(sizes)) > 0
    objects = cc3d.connected_components(fastremap.renumber(labels)[0], connectivity=8)
    own = np.bincount(objects.ravel())[1:]
    missing = np.count_nonzero(~touched[1:] & (sizes[1:] >= 0.5 * np.median(own)))
    return float(missing) / len(own)
