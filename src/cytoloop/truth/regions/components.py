"""Instance labels of binary segmentations and of classes: connected components."""

from __future__ import annotations

import numpy as np


def instance_labels(
    labels: np.ndarray, classes: bool = False, valid: np.ndarray | None = None
) -> np.ndarray:
    """Return instance labels: connected components if the segmentation is binary.

    A segmentation is binary if it has a single label above 0, for example 1 or 255. A binary
    segmentation of one component, and a segmentation of several labels, is returned unchanged.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        (Z, Y, X) or (Y, X). Voxels connect through faces, edges and corners (26 neighbours; in 2D
        8).
    classes : bool
        The labels are classes: return the connected components of each class.
    valid : ndarray of bool, optional
        Same shape; labels where it is False do not count when labels above 0 are counted.

    Returns
    -------
    ndarray of unsigned integers
        Same shape.
    """
    from cc3d import connected_components

    if classes:
        # cc3d accepts no read-only memory, such as that of a memory-mapped file
        return np.asarray(connected_components(np.require(labels, requirements=["C", "W"])))
    inside = labels[labels > 0 if valid is None else (labels > 0) & valid]
    if not inside.size or inside.min() != inside.max():
        return labels
    components = np.asarray(connected_components((labels > 0).astype(np.uint8)))
    return components if components.max() > 1 else labels
