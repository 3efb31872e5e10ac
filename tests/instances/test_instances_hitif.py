"""nci-hitif's watershed, with the faults of the original as test cases."""

from __future__ import annotations

import numpy as np
import pytest

from cytoloop.data.target_maps import contour_map, distance_map
from cytoloop.errors import ImageError
from cytoloop.instances import InstanceSettings, segment

SETTINGS = InstanceSettings(method="hitif", min_voxels=20)


def discs(planes: int = 0) -> np.ndarray:
    """Return labels of two touching discs and a separate one."""
    y, x = np.mgrid[:60, :90]
    labels = np.zeros((60, 90), np.uint8)
    for number, (cy, cx) in enumerate([(30, 22), (30, 46), (20, 75)], 1):
        labels[((y - cy) ** 2 + (x - cx) ** 2 < 13**2) & (labels == 0)] = number
    return np.repeat(labels[None], planes, 0) if planes else labels


def maps(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    foreground = np.where(labels > 0, 255, 0).astype(np.uint8)
    return foreground, distance_map(labels), contour_map(labels)


@pytest.mark.parametrize("planes", [0, 8], ids=["2D", "3D"])
def test_touching_objects_are_split_along_their_contours(planes: int) -> None:
    truth = discs(planes)
    probability, distance, contour = maps(truth)
    labels, sums = segment(probability, SETTINGS, distance=distance, contour=contour)
    assert len(sums.voxels) == 4
    for number in (1, 2, 3):
        found = np.bincount(np.asarray(labels)[truth == number], minlength=4)
        assert found[1:].max() > 0.95 * (truth == number).sum()


def test_background_is_not_flooded_and_both_size_limits_hold() -> None:
    truth = discs()
    truth[2:5, 2:9] = 4  # a small object
    probability, distance, contour = maps(truth)
    labels, _ = segment(
        probability, InstanceSettings(method="hitif"), distance=distance, contour=contour
    )
    assert (
        np.asarray(labels)[truth == 0] == 0
    ).all()  # the original floods it and drops the largest object
    largest = (truth == 1).sum()
    limited = InstanceSettings(method="hitif", min_voxels=50, max_voxels=largest - 1)
    labels, sums = segment(probability, limited, distance=distance, contour=contour)
    assert (sums.voxels[1:] >= 50).all() and (sums.voxels[1:] < largest).all()
    assert len(sums.voxels) == 2  # the second disc, clipped by the first; the others are larger


def test_seeds_come_from_the_distance_map_not_from_the_contours() -> None:
    probability, distance, contour = maps(discs())
    labels, _ = segment(probability, SETTINGS, distance=distance, contour=contour)
    others, _ = segment(probability, SETTINGS, distance=contour, contour=contour)
    assert np.asarray(labels).max() == 3 and not np.array_equal(labels, others)


def test_a_model_without_distance_and_contour_heads_is_refused() -> None:
    probability, distance, _ = maps(discs())
    with pytest.raises(ImageError, match="no distance map and contour map"):
        segment(probability, SETTINGS, distance=distance)
