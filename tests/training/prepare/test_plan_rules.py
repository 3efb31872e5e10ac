from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytoloop.model.networks.dynunet import filters_of
from cytoloop.training.prepare.plan.rules import (
    choose_layers,
    choose_patch,
    choose_strides,
    multiples_of,
)

CUBES = (1.0, 1.0, 1.0)


def test_all_dimensions_should_be_evenly_divisible_by_4() -> None:
    """The plugin's rule: "evenly divisible by 4"."""
    for side in range(8, 260, 4):
        strides, _ = choose_strides(CUBES, (64, 256, 256), 6, (None, side, side))
        assert all(side % n == 0 for n in multiples_of(strides, 3)[1:])
    fitting, free = (choose_strides(CUBES, (64, 60, 60), 5, one)[0] for one in ([None, 60, 60], ()))
    assert multiples_of(fitting, 3) == [16, 4, 4] and multiples_of(free, 3) == [16, 8, 8]
    strides, _ = choose_strides((1.0, 1.0), (50, 50), 5, (50, 50))
    assert multiples_of(strides, 2) == [4, 4]  # 50 is refused; the nearest are 48 and 52


def test_a_coarse_axis_is_halved_when_the_others_have_caught_up() -> None:
    strides, kernels = choose_strides((5.0, 0.5, 0.5), (16, 128, 128), 6)
    assert strides == [[1, 1, 1], *[[1, 2, 2]] * 3, [2, 2, 2], [2, 2, 2]]
    assert kernels == [*[[1, 3, 3]] * 2, *[[3, 3, 3]] * 4]  # 10 and 5 times as coarse, then 2.5
    assert multiples_of(strides, 3) == [4, 32, 32]


def test_cubes_are_halved_alike_until_four_voxels_are_left() -> None:
    strides, kernels = choose_strides(CUBES, (64, 64, 64), 6)
    assert strides == [[1, 1, 1], *[[2, 2, 2]] * 4] and kernels == [[3, 3, 3]] * 5
    assert choose_strides(CUBES, (9, 64, 64), 4)[0] == [
        [1, 1, 1], [2, 2, 2], [1, 2, 2], [1, 2, 2],
    ]  # fmt: skip
    assert choose_strides((1.0, 1.0), (7, 7), 4)[0] == [[1, 1]]


@pytest.mark.parametrize("extent, layers", [(3, 3), (12, 3), (24, 4), (45, 4), (80, 5), (999, 6)])
def test_a_large_object_is_about_four_voxels_wide_at_the_bottom(extent: int, layers: int) -> None:
    assert choose_layers([extent]) == layers


def test_features_double_up_to_those_of_nnu_net() -> None:
    assert filters_of(32, 6, 3) == [32, 64, 128, 256, 320, 320]
    assert filters_of(32, 6, 2) == [32, 64, 128, 256, 512, 512]


def test_a_patch_holds_large_objects_and_follows_the_spacing() -> None:
    def fits(patch: list[int]) -> bool:
        return patch[0] * patch[1] * patch[2] <= 40_000

    spacing, image, extents = (2.0, 1.0, 1.0), (64, 256, 256), (8.0, 16.0, 16.0)
    patch = choose_patch(spacing, image, extents, (4, 8, 8), [None] * 3, fits)
    assert patch == [20, 40, 40]
    # however little is allowed: one and a half objects, four voxels at the bottom
    least = choose_patch(spacing, image, extents, (4, 8, 8), [None] * 3, lambda patch: False)
    assert least == [16, 32, 32]
    # however much: three objects, or the image
    most = choose_patch(spacing, image, extents, (4, 8, 8), [None] * 3, lambda patch: True)
    assert most == [28, 56, 56]
    thin = choose_patch(spacing, (10, 256, 256), extents, (4, 8, 8), [None] * 3, lambda p: True)
    assert thin == [8, 56, 56]
    typed = choose_patch(spacing, image, extents, (4, 8, 8), [None, 32, 32], fits)
    assert typed[1:] == [32, 32] and 20 <= typed[0] <= 28


@settings(max_examples=60, deadline=None)
@given(
    spacing=st.tuples(*[st.floats(0.1, 5)] * 3),
    image=st.tuples(*[st.integers(4, 400)] * 3),
    extent=st.floats(1, 60),
    layers=st.integers(2, 6),
    budget=st.integers(1000, 1_000_000),
)
def test_a_patch_is_always_one_that_is_allowed(
    spacing: tuple[float, ...],
    image: tuple[int, ...],
    extent: float,
    layers: int,
    budget: int,
) -> None:
    strides, _ = choose_strides(spacing, image, layers)
    multiples = multiples_of(strides, 3)
    patch = choose_patch(
        spacing, image, (extent,) * 3, multiples, [None] * 3, lambda p: p[0] * p[1] * p[2] <= budget
    )
    for side, whole, step in zip(patch, image, multiples, strict=True):
        assert side % step == 0 and side <= whole
        assert step == 1 or side // step >= min(4, whole // step)
        assert side >= min(extent, whole - step + 1)
