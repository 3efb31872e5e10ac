"""Objects with bright rims: a membrane stain is told from stained nuclei."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from cytoloop.training.rims import count_bright_rims


def discs(ndim: int, radius: float = 8.0) -> np.ndarray:
    """Return nine separate objects, each with a number."""
    centres = np.zeros((9, 90, 90)[-ndim:], bool)
    centres[(..., *(4,) * (ndim - 2), slice(15, None, 30), slice(15, None, 30))] = True
    return ndimage.label(ndimage.distance_transform_edt(~centres) < radius)[0]


def rims(labels: np.ndarray) -> np.ndarray:
    """Return the outermost pixels of objects, in each plane."""
    planes = labels if labels.ndim == 3 else labels[None]
    depth = [ndimage.distance_transform_edt(plane > 0) for plane in planes]
    found = np.array([(one > 0) & (one <= 2) for one in depth])
    return found if labels.ndim == 3 else found[0]


@pytest.mark.parametrize("ndim", [2, 3])
def test_membranes_are_told_from_nuclei(ndim: int) -> None:
    labels = discs(ndim)
    noise = np.random.default_rng(0).normal(0, 5, labels.shape)
    nuclei = 100.0 + 200 * (labels > 0) + noise
    membranes = 100.0 + 200 * rims(labels) + noise
    assert count_bright_rims(nuclei[None], labels) == (0, 9)
    assert count_bright_rims(membranes[None], labels) == (9, 9)
    # a nuclear stain beside the membranes: the objects may be nuclei
    assert count_bright_rims(np.stack([membranes, nuclei]), labels) == (0, 9)


def test_dark_nuclei_on_a_bright_ground_have_no_bright_rims() -> None:
    labels = discs(2)
    dark = ndimage.gaussian_filter(300.0 - 200 * (labels > 0), 2)
    assert count_bright_rims(dark[None], labels) == (0, 9)


def test_cells_that_leave_no_background_are_compared_with_the_darkest() -> None:
    labels = np.kron(np.arange(1, 10).reshape(3, 3), np.ones((20, 20), int))
    distance = np.minimum(*(np.minimum(axis % 20, 19 - axis % 20) for axis in np.indices((60, 60))))
    assert count_bright_rims(100.0 + 200 * (distance < 2)[None], labels) == (9, 9)
    assert count_bright_rims(100.0 + 10.0 * distance[None], labels) == (0, 9)


def test_objects_that_are_too_thin_do_not_count() -> None:
    assert count_bright_rims(np.ones((1, 90, 90)), discs(2, radius=2)) == (0, 0)
    assert count_bright_rims(np.ones((1, 90, 90)), np.zeros((90, 90), int)) == (0, 0)


def test_a_pale_rim_of_a_nucleus_is_none() -> None:
    labels = discs(2)
    pale = 100.0 + 200 * (labels > 0) + 30 * rims(labels)  # heterochromatin at the envelope
    assert count_bright_rims(pale[None], labels) == (0, 9)
