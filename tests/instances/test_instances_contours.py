"""nci-hitif's watershed, with the faults of the original as cases."""

from __future__ import annotations

import numpy as np
import pytest

from cytoloop.data.target_maps import contour_map, distance_map
from cytoloop.errors import ImageError
from cytoloop.instances import InstanceSettings, segment

RULE = InstanceSettings(method="hitif", min_voxels=20)


def discs(planes: int = 0) -> np.ndarray:
    """Two discs that touch and a third one apart."""
    y, x = np.mgrid[:60, :90]
    labels = np.zeros((60, 90), np.uint8)
    for number, (cy, cx) in enumerate([(30, 22), (30, 46), (20, 75)], 1):
        labels[((y - cy) ** 2 + (x - cx) ** 2 < 13**2) & (labels == 0)] = number
    return np.repeat(labels[None], planes, 0) if planes else labels


def maps(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    foreground = np.where(labels > 0, 255, 0).astype(np.uint8)
    return foreground, distance_map(labels), contour_map(labels)


@pytest.mark.parametrize("planes", [0, 8], ids=["2D", "3D"])
def test_touching_objects_are_parted_along_their_contours(planes: int) -> None:
    truth = discs(planes)
    probability, depth, contour = maps(truth)
    labels, sums = segment(probability, RULE, distance=depth, contour=contour)
    assert len(sums.voxels) == 4
    for number in (1, 2, 3):
        found = np.bincount(np.asarray(labels)[truth == number], minlength=4)
        assert found[1:].max() > 0.95 * (truth == number).sum()


def test_background_is_not_flooded_and_both_limits_of_size_hold() -> None:
    truth = discs()
    truth[2:5, 2:9] = 4  # a crumb
    probability, depth, contour = maps(truth)
    labels, _ = segment(
        probability, InstanceSettings(method="hitif"), distance=depth, contour=contour
    )
    assert (np.asarray(labels)[truth == 0] == 0).all()  # the original floods, and drops its largest
    largest = (truth == 1).sum()
    limited = InstanceSettings(method="hitif", min_voxels=50, max_voxels=largest - 1)
    labels, sums = segment(probability, limited, distance=depth, contour=contour)
    assert (sums.voxels[1:] >= 50).all() and (sums.voxels[1:] < largest).all()
    assert len(sums.voxels) == 2  # the second disc, cut by the first; the others are larger


def test_seeds_come_from_the_depth_not_from_the_contours() -> None:
    probability, depth, contour = maps(discs())
    labels, _ = segment(probability, RULE, distance=depth, contour=contour)
    others, _ = segment(probability, RULE, distance=contour, contour=contour)
    assert np.asarray(labels).max() == 3 and not np.array_equal(labels, others)


def test_a_model_without_these_heads_is_refused() -> None:
    probability, depth, _ = maps(discs())
    with pytest.raises(ImageError, match="no depth and contour"):
        segment(probability, RULE, distance=depth)
