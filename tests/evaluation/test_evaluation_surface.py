"""Surface metrics against their definition, SciPy and MONAI."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from scipy import ndimage
from scipy.spatial.distance import cdist

from cytoloop.evaluation.counts.distances import nearest_distances
from cytoloop.evaluation.counts.surfaces import count_surfaces
from cytoloop.evaluation.counts.voxels import count_voxels
from cytoloop.evaluation.metrics import METRICS, SURFACE, compute_scores

MASK = hnp.arrays(bool, (5, 6, 4))
SPACING = (2.0, 0.5, 0.7)


def surface_scores(*images: Any) -> dict[str, float]:
    counts = count_surfaces(*images)
    return counts | compute_scores(counts, [m for m in METRICS.values() if m.group == SURFACE])


def volume_error(truth: np.ndarray, found: np.ndarray) -> float:
    return METRICS["volume_error"].score(count_voxels(truth, found))


def surface(mask: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Coordinates of surface voxels, one voxel at a time."""
    places = []
    for place in np.argwhere(mask & valid):
        for axis in range(mask.ndim):
            for step in (-1, 1):
                other = place.copy()
                other[axis] += step
                inside = (other >= 0).all() and (other < mask.shape).all()
                if inside and valid[tuple(other)] and not mask[tuple(other)]:
                    places.append(tuple(place))
    return np.array(sorted(set(places)), float).reshape(-1, mask.ndim)


@given(MASK, MASK, hnp.arrays(bool, (5, 6, 4)), st.sampled_from([0.5, 1.0, 2.0]))
@settings(max_examples=100, deadline=None)
def test_surface_scores_follow_their_definition(
    truth: np.ndarray, found: np.ndarray, valid: np.ndarray, tolerance: float
) -> None:
    ours = surface_scores(truth, found, valid, SPACING, tolerance)
    one, other = surface(truth, valid), surface(found, valid)
    assert (ours["surface_true"], ours["surface_predicted"]) == (len(one), len(other))
    if len(one) and len(other):
        table = cdist(one * SPACING, other * SPACING)
        near = [table.min(axis=1), table.min(axis=0)]
        share = np.mean(np.concatenate(near) <= tolerance + 1e-9)
        assert ours["surface_dice"] == pytest.approx(share)
        assert ours["hd95"] == pytest.approx(max(np.percentile(n, 95) for n in near), rel=1e-5)
    elif len(one) or len(other) or ((truth != found) & valid).any():
        assert ours["surface_dice"] == 0 and np.isnan(ours["hd95"])
    else:
        assert (ours["surface_dice"], ours["hd95"]) == (1, 0)


@given(MASK, MASK, hnp.arrays(bool, (5, 6, 4)), MASK)
@settings(max_examples=60, deadline=None)
def test_surface_scores_are_symmetric_and_ignore_the_excluded_region(
    truth: np.ndarray, found: np.ndarray, valid: np.ndarray, noise: np.ndarray
) -> None:
    ours = surface_scores(truth, found, valid, SPACING, 1.0)
    turned = surface_scores(found, truth, valid, SPACING, 1.0)
    other = surface_scores(
        np.where(valid, truth, noise), np.where(valid, found, ~noise), valid, SPACING, 1.0
    )
    for name in ("surface_dice", "hd95"):
        np.testing.assert_allclose(turned[name], ours[name])
        np.testing.assert_allclose(other[name], ours[name])
    same = surface_scores(truth, truth, valid, SPACING, 0.0)
    assert (same["surface_dice"], same["hd95"]) == (1, 0)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 29), st.integers(0, 39)), min_size=1),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 29), st.integers(0, 39)), min_size=1),
    st.sampled_from([(1.0, 1.0, 1.0), SPACING]),
    st.sampled_from([0.0, 1.0, 9.0]),
)
@settings(max_examples=100, deadline=None)
def test_near_and_far_distances_are_exact(
    one: list, other: list, spacing: tuple, exact_up_to: float
) -> None:
    start, end = np.zeros((3, 30, 40), bool), np.zeros((3, 30, 40), bool)
    start[tuple(np.array(one).T)], end[tuple(np.array(other).T)] = True, True
    true = cdist(np.argwhere(start) * spacing, np.argwhere(end) * spacing).min(axis=1)
    found = np.sort(nearest_distances(start, end, spacing, exact_up_to))
    np.testing.assert_allclose(np.percentile(found, 95), np.percentile(true, 95), rtol=1e-5)
    known = np.isfinite(found)
    np.testing.assert_allclose(found[known], np.sort(true)[known], rtol=1e-5)
    assert (true <= exact_up_to).sum() <= known.sum()


def test_a_nearer_voxel_outside_the_search_box_is_found() -> None:
    start, end = np.zeros((9, 3, 20), bool), np.zeros((9, 3, 20), bool)
    start[4, 1, 5] = end[6, 1, 5] = end[4, 1, 10] = True
    found = nearest_distances(start, end, (2.0, 0.5, 0.5), 0.0)
    np.testing.assert_allclose(found, [2.5])  # not the 4 um to the voxel two planes below


def test_every_voxel_within_the_tolerance_has_its_exact_distance() -> None:
    start, end = np.zeros((4, 50), bool), np.zeros((4, 50), bool)
    start[0, :40] = end[0, :40] = start[2, 39] = True
    assert nearest_distances(start, end, (1.0, 1.0), 2.0).max() == 2


def blob(shift: int = 0) -> np.ndarray:
    mask = np.zeros((12, 24, 24), bool)
    mask[3:9, 4:16, 5 + shift : 18 + shift] = True
    mask[5:8, 16:20, 8:12] = True
    return mask


@pytest.mark.parametrize("tolerance", [0.4, 0.8, 1.5])
def test_surface_scores_equal_monai_and_scipy(tolerance: float) -> None:
    truth, found = blob(), blob(2) | ndimage.binary_dilation(blob(1))
    ours = surface_scores(truth, found, None, (1.5, 0.4, 0.4), tolerance)
    batch = [torch.from_numpy(mask)[None, None] for mask in (found, truth)]
    spacing = (1.5, 0.4, 0.4)
    monai = compute_surface_dice(*batch, [tolerance], include_background=True, spacing=spacing)
    assert ours["surface_dice"] == pytest.approx(float(monai), abs=1e-6)
    distance = compute_hausdorff_distance(
        *batch, include_background=True, percentile=95, spacing=spacing
    )
    assert ours["hd95"] == pytest.approx(float(distance), abs=1e-5)
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (truth, found)]
    maps = [ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in edges]
    near = [maps[1][edges[0]], maps[0][edges[1]]]
    assert ours["hd95"] == pytest.approx(max(np.percentile(n, 95) for n in near), abs=1e-5)


def test_the_tolerance_is_a_length_and_includes_itself() -> None:
    truth, found = np.zeros((9, 8, 8), bool), np.zeros((9, 8, 8), bool)
    truth[4], found[5] = True, True  # one plane lower, 1.75 um
    assert surface_scores(truth, found, None, (1.75, 0.8, 0.8), 1.7)["surface_dice"] == 0
    assert surface_scores(truth, found, None, (1.75, 0.8, 0.8), 1.75)["surface_dice"] == 1
    assert surface_scores(truth, found, None, (1.75, 0.8, 0.8), 1)["hd95"] == pytest.approx(1.75)


def test_the_border_of_the_image_is_not_a_surface() -> None:
    truth, found = np.zeros((2, 10), bool), np.zeros((2, 10), bool)
    truth[:, :5], found[:, :6] = True, True
    counts = surface_scores(truth, found, None, (1, 1), 0)
    assert (counts["surface_true"], counts["surface_predicted"]) == (2, 2)
    assert counts["hd95"] == 1


def test_volume_error_has_a_sign_and_needs_a_truth() -> None:
    truth, found = np.zeros((4, 5), bool), np.zeros((4, 5), bool)
    truth[:2, :5], found[:3, :5] = True, True
    assert volume_error(truth, found) == pytest.approx(0.5)
    assert volume_error(found, truth) == pytest.approx(-1 / 3)
    assert np.isnan(volume_error(truth & False, found))
