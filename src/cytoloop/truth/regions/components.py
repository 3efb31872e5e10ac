"""Objects of a binary segmentation: its connected pieces."""

from __future__ import annotations

import numpy as np


def instance_labels(
    labels: np.ndarray, classes: bool = False, valid: np.ndarray | None = None
) -> np.ndarray:
    """Return labels; those of the connected pieces where there is one label only.

    One piece keeps its label.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        (Z, Y, X) or (Y, X). One label above 0, be it 1 or 255, is a binary segmentation. Voxels
        connect through faces, edges and corners (26; in 2D 8).
    classes : bool
        The labels are classes: the pieces of each of them are objects.
    valid : ndarray of bool, optional
        Same shape; what lies where it is False has no say in whether there is one label only.

    Returns
    -------
    ndarray of unsigned integers
        Same shape.
    """
    from cc3d import connected_components

    if classes:
        # cc3d takes no memory that must not be written to, as that of a mapped file
        return np.asarray(connected_components(np.require(labels, requirements=["C", "W"])))
    inside = labels[labels > 0 if valid is None else (labels > 0) & valid]
    if not inside.size or inside.min() != inside.max():
        return labels
    pieces = np.asarray(connected_components((labels > 0).astype(np.uint8)))
    return pieces if pieces.max() > 1 else labels
