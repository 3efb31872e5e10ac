from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cytoloop.errors import ConfigError
from cytoloop.truth.regions import MERGE_RULES, merge_segmentations

SHAPE = (6, 7)
# not binary: connected components of binary labels are objects, see the last test
LABELS = hnp.arrays(np.uint16, SHAPE, elements=st.integers(0, 4)).filter(
    lambda labels: len(np.unique(labels[labels > 0])) != 1
)
REGIONS = hnp.arrays(bool, SHAPE)
RULES = pytest.mark.parametrize("rule", MERGE_RULES)


def groups(labels: np.ndarray) -> set[frozenset]:
    """Return the objects of a segmentation as sets of voxels, independent of their labels."""
    return {frozenset(np.flatnonzero(labels == n)) for n in np.unique(labels[labels > 0])}


@RULES
@given(base=LABELS, other=LABELS)
@settings(max_examples=40, deadline=None)
def test_an_empty_region_gives_base_and_a_full_region_gives_other(
    rule: str, base: np.ndarray, other: np.ndarray
) -> None:
    empty = np.zeros(SHAPE, bool)
    np.testing.assert_array_equal(merge_segmentations(base, other, empty, rule), base)
    assert groups(merge_segmentations(base, other, ~empty, rule)) == groups(other)


@RULES
@given(base=LABELS, other=LABELS, region=REGIONS)
@settings(max_examples=60, deadline=None)
def test_base_and_other_share_no_label(
    rule: str, base: np.ndarray, other: np.ndarray, region: np.ndarray
) -> None:
    merged = merge_segmentations(base, other, region, rule)
    assert merged.dtype == np.uint32
    new = merged > base.max()
    for source, part in ((base, (merged > 0) & ~new), (other, new)):
        pairs = {(int(m), int(s)) for m, s in zip(merged[part], source[part], strict=True)}
        assert all(s > 0 for _, s in pairs)
        assert len(pairs) == len({m for m, _ in pairs}) == len({s for _, s in pairs})


@given(base=LABELS, other=LABELS, region=REGIONS)
@settings(max_examples=60, deadline=None)
def test_clip_equals_cytodl(base: np.ndarray, other: np.ndarray, region: np.ndarray) -> None:
    merged = merge_segmentations(base, other, region)
    np.testing.assert_array_equal(merged > 0, np.where(region, other > 0, base > 0))


@given(base=LABELS, other=LABELS, region=REGIONS)
@settings(max_examples=60, deadline=None)
def test_majority_keeps_objects_whole(
    base: np.ndarray, other: np.ndarray, region: np.ndarray
) -> None:
    merged = merge_segmentations(base, other, region, "majority")
    share = lambda labels, n: region[labels == n].mean() > 0.5  # noqa: E731
    kept = np.isin(base, [n for n in np.unique(base) if n and not share(base, n)])
    taken = np.isin(other, [n for n in np.unique(other) if n and share(other, n)])
    np.testing.assert_array_equal(merged > 0, kept | taken)
    of_other = taken & (region | ~kept)
    np.testing.assert_array_equal(merged > base.max(), of_other)
    np.testing.assert_array_equal(merged[kept & ~of_other], base[kept & ~of_other])


def test_an_example_of_each_rule() -> None:
    base = np.array([[1, 1, 1, 0, 2, 2]], np.uint8)
    other = np.array([[0, 5, 5, 5, 5, 0]], np.uint8)
    region = np.array([[False, False, True, True, True, False]])
    clip, majority = (merge_segmentations(base, other, region, rule) for rule in MERGE_RULES)
    np.testing.assert_array_equal(clip, [[1, 1, 7, 7, 7, 2]])
    np.testing.assert_array_equal(majority, [[1, 1, 7, 7, 7, 2]])
    region[0, 3:] = False
    np.testing.assert_array_equal(
        merge_segmentations(base, other, region, "majority"), [[1, 1, 1, 0, 2, 2]]
    )


@RULES
@pytest.mark.parametrize("kind", [np.uint32, np.uint64])
def test_labels_that_do_not_fit_into_32_bits_are_renumbered(rule: str, kind: type) -> None:
    largest = np.iinfo(kind).max
    base = np.array([[largest, 7, 0, 0]], kind)
    other = np.array([[0, 0, largest, 1]], kind)
    merged = merge_segmentations(base, other, np.array([[False, False, True, True]]), rule)
    assert merged.dtype == np.uint32 and len(np.unique(merged)) == 4 and (merged > 0).all()


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'vote' is unknown\nExpected clip or majority"):
        merge_segmentations(np.zeros((2, 2)), np.zeros((2, 2)), np.zeros((2, 2), bool), "vote")


def test_majority_splits_a_binary_segmentation_into_components() -> None:
    base = np.array([[1, 1, 0, 1, 1, 1, 0, 1]], np.uint8)
    other = np.zeros_like(base)
    region = np.array([[True, True, True, True, False, False, False, True]])
    merged = merge_segmentations(base, other, region, "majority")
    np.testing.assert_array_equal(merged > 0, [[0, 0, 0, 1, 1, 1, 0, 0]])
