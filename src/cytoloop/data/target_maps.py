"""What the heads of a network learn beside the foreground: maps made from whole objects.

They are made from the whole image once and kept beside it, so that an object which a patch cuts
has the values of the whole object, and a training step makes none but those of `LOCAL`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import edt
import fastremap
import numpy as np
from scipy import ndimage
from skimage.segmentation import find_boundaries

FULL = 255
"""What stands for 1 in a kept map (uint8)."""
_CONTOUR_SIGMA = 1.0


def known_labels(
    labels: np.ndarray, valid: np.ndarray, spacing_um: Sequence[float] | None = None
) -> np.ndarray:
    """Return labels in which excluded voxels say nothing: each has the label of the nearest known.

    An object that an excluded region cuts goes on there, as one does that the image cuts; what
    the labels there say has no part in what is learned outside.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        ([Z,] Y, X).
    valid : ndarray of bool
        Same shape; False = excluded.
    spacing_um : sequence of float, optional
        (Z, Y, X), which decides what is nearest. None: cubes.
    """
    labels = np.asarray(labels)
    if valid.all() or not valid.any():
        return labels
    nearest = ndimage.distance_transform_edt(
        ~np.asarray(valid),
        sampling=_sides(labels, spacing_um),
        return_distances=False,
        return_indices=True,
    )
    return np.asarray(labels[tuple(nearest)])


def distance_map(labels: np.ndarray, spacing_um: Sequence[float] | None = None) -> np.ndarray:
    """Return how deep inside its object each voxel lies, as a share of the object's depth.

    Depth is the Euclidean distance to the next voxel that is not of the object, touching objects
    included (`edt`, Felzenszwalb and Huttenlocher 2012). Outside the image the object goes on.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        ([Z,] Y, X).
    spacing_um : sequence of float, optional
        (Z, Y, X); distances respect it. None: cubes.

    Returns
    -------
    ndarray of uint8
        Same shape, 0..255 for 0..1; 255 at the deepest voxel of each object; 0 in background.
    """
    sides = _sides(labels, spacing_um)
    depth = edt.edt(np.ascontiguousarray(labels), anisotropy=sides, black_border=False)
    # an object that fills the image has no end
    depth = np.where(np.isfinite(depth), depth, 1.0).astype(np.float32)
    numbered, _ = fastremap.renumber(labels, in_place=False)  # ids may be sparse, and large
    for number, box in enumerate(ndimage.find_objects(numbered.astype(np.int32)), 1):
        own = numbered[box] == number
        deepest = depth[box][own].max()
        depth[box][own] /= deepest
    return np.rint(depth * FULL).astype(np.uint8)


def contour_map(labels: np.ndarray, spacing_um: Sequence[float] | None = None) -> np.ndarray:
    """Return the contours of all objects, one voxel wide, blurred by a Gaussian of one voxel.

    As nci-hitif's second network learns them (its ``edge * Gauss``), plane by plane in a stack.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        ([Z,] Y, X).
    spacing_um
        Not used: a contour is one pixel wide whatever its size.

    Returns
    -------
    ndarray of uint8
        Same shape, 0..255; a straight contour's crest is 255.
    """
    planes = labels.reshape(-1, *labels.shape[-2:])
    edges = np.stack([find_boundaries(plane, mode="inner") for plane in planes])
    blurred = ndimage.gaussian_filter(edges.astype(np.float32), (0, _CONTOUR_SIGMA, _CONTOUR_SIGMA))
    crest = 1 / (np.sqrt(2 * np.pi) * _CONTOUR_SIGMA)  # of a straight line
    return np.rint(np.clip(blurred / crest, 0, 1) * FULL).astype(np.uint8).reshape(labels.shape)


def _sides(labels: np.ndarray, spacing_um: Sequence[float] | None) -> tuple[float, ...]:
    """Return the sides of a voxel along the axes of an image; those of a cube if unknown."""
    return tuple(float(s) for s in (spacing_um or (1.0,) * labels.ndim)[-labels.ndim :])


MAKERS: dict[str, Callable[[np.ndarray, Sequence[float] | None], np.ndarray]] = {
    "distance": distance_map,
    "contour": contour_map,
}
"""Maps by name; ``foreground`` and classes need none: they are in the labels."""

LOCAL = {"contour": 5}
"""Maps that are in pixels, whatever the size of what they show: of a patch that is zoomed, turned
or bent they are made anew, of labels that reach so many pixels farther than the patch."""
