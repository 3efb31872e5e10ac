"""Names of semantic classes, and the class of each voxel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytoloop.errors import ConfigError
from cytoloop.truth.classes import class_heads, class_image, class_names, parse_class_names


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(5, 6), (3, 4, 5)]), st.integers(2, 4))
def test_class_image_takes_the_most_probable_class_above_its_threshold(
    seed: int, shape: tuple[int, ...], count: int
) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.integers(0, 256, (count, *shape), np.uint8)
    thresholds = rng.uniform(20, 230, count)
    found = class_image(list(maps), list(thresholds))
    assert found.dtype == np.uint8
    for voxel in np.ndindex(*shape):
        above = [
            (-int(maps[(c, *voxel)]), c + 1)
            for c in range(count)
            if maps[(c, *voxel)] > thresholds[c]
        ]
        assert found[voxel] == (min(above)[1] if above else 0)


def test_class_names_are_given_or_numbered() -> None:
    assert parse_class_names(["nucleus", "spindle_2"]) == ("nucleus", "spindle_2")
    assert parse_class_names(3) == ("c1", "c2", "c3")
    assert len(parse_class_names(255)) == 255


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (["a", "A"], "'a' is given twice"),
        (["a/b", "c"], "'a/b' is not a valid name"),
        (["a", ""], "'' is not a valid name"),
        ([1, 2], "'1' is not a valid name"),
        (["nucleus"], "for one, use model=unet"),
        ("nucleus", "for one, use model=unet"),
        (1, "1 class"),
        (True, "'True' is not a valid name|1 class"),
        (300, "more than 255 classes"),
    ],
)
def test_invalid_class_names_are_refused(given: Any, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        parse_class_names(given)


def test_class_names_are_read_from_heads_of_classes_only() -> None:
    names = ("foreground", "distance")  # a class may have the name of another head
    assert class_names(class_heads(names)) == names
    for other in (
        *(["foreground"], ["foreground", "class_a"], ["class_a"], ["class_a", "class_a"]),
        *(["class_../x", "class_a"], ["class_a", 1], "class_a", None, 7, [], {"class_a": 1}),
    ):
        assert class_names(other) == ()
