"""What classes may be called, and which class a voxel is of."""

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
def test_a_voxel_is_of_the_most_probable_class_above_its_threshold(
    seed: int, shape: tuple[int, ...], count: int
) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.integers(0, 256, (count, *shape), np.uint8)
    cuts = rng.uniform(20, 230, count)
    found = class_image(list(maps), list(cuts))
    assert found.dtype == np.uint8
    for place in np.ndindex(*shape):
        above = [
            (-int(maps[(c, *place)]), c + 1) for c in range(count) if maps[(c, *place)] > cuts[c]
        ]
        assert found[place] == (min(above)[1] if above else 0)


def test_names_are_given_or_counted() -> None:
    assert parse_class_names(["nucleus", "spindle_2"]) == ("nucleus", "spindle_2")
    assert parse_class_names(3) == ("c1", "c2", "c3")
    assert len(parse_class_names(255)) == 255


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (["a", "A"], "'a' is there twice"),
        (["a/b", "c"], "'a/b' is no name"),
        (["a", ""], "'' is no name"),
        ([1, 2], "'1' is no name"),
        (["nucleus"], "one kind of structure is model=unet"),
        ("nucleus", "one kind of structure is model=unet"),
        (1, "1 class"),
        (True, "'True' is no|1 class"),
        (300, "more than 255 classes"),
    ],
)
def test_names_that_cannot_be_are_refused(given: Any, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        parse_class_names(given)


def test_heads_say_all_of_the_classes_and_nothing_else_does() -> None:
    names = ("foreground", "distance")  # a class may be called as another head
    assert class_names(class_heads(names)) == names
    for other in (
        *(["foreground"], ["foreground", "class_a"], ["class_a"], ["class_a", "class_a"]),
        *(["class_../x", "class_a"], ["class_a", 1], "class_a", None, 7, [], {"class_a": 1}),
    ):
        assert class_names(other) == ()
