"""The scale of objects: images are resampled to the size that a model knows."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from cytoloop.errors import ConfigError
from cytoloop.inference.model_grid import stated_diameter
from cytoloop.inference.postprocess.training_facts import TrainingFacts
from cytoloop.inference.settings import ReadingSettings
from cytoloop.inference.windows.object_scale import (
    ObjectScale,
    diameter_of,
    facts_of_objects,
    pixels_across,
    scaled_shape,
    size_of,
)

KNOWN = ObjectScale((10, 20), (1, 3))


def test_the_scale_of_a_model_comes_from_its_range_or_its_objects() -> None:
    shipped = ObjectScale.of_model({"object_diameter_px": [10, 40], "anisotropy": [1, 4]})
    assert shipped is not None
    assert shipped.typical == pytest.approx(20)
    assert 10 < shipped.diameter[0] < shipped.diameter[1] < 40
    assert shipped.anisotropy == (1, 4)
    voxels = size_of(16, 3) / 2  # planes twice as thick as pixels are wide
    trained = ObjectScale.of_model(
        {"object_voxels": voxels, "spacing_um": [1.0, 0.5, 0.5], "spatial_dims": 3}
    )
    assert trained is not None
    assert trained.typical == pytest.approx(16)
    assert trained.anisotropy == (2, 2)
    assert ObjectScale.of_model({"spatial_dims": 3}) is None


@pytest.mark.parametrize("dims", [2, 3])
def test_diameter_and_size_are_inverse(dims: int) -> None:
    assert diameter_of(size_of(7.0, dims), dims) == pytest.approx(7.0)


@pytest.mark.parametrize(
    ("shape", "anisotropy", "diameter", "expected"),
    [
        ((40, 100, 100), 2.0, 15, (40, 100, 100)),  # known: as it is
        ((40, 100, 100), 1.0, 40, (20, 50, 50)),  # half as wide; planes would be too thin
        ((40, 100, 100), 4.0, 5, (107, 200, 200)),  # voxels flatter than any that are known
        ((40, 100, 100), None, 40, (20, 50, 50)),  # without a voxel size all axes alike
        ((100, 100), None, 5, (200, 200)),
    ],
)
def test_an_image_changes_as_little_as_its_objects_need(
    shape: tuple[int, ...], anisotropy: float | None, diameter: float, expected: tuple[int, ...]
) -> None:
    assert scaled_shape(shape, anisotropy, diameter, KNOWN) == expected


def test_a_diameter_is_in_pixels_without_a_voxel_size() -> None:
    pixels: Any = SimpleNamespace(spacing_um=(2.0, 0.5, 0.5))
    assert pixels_across(10, pixels) == 20
    assert pixels_across(10, SimpleNamespace(spacing_um=None)) == 10  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [0, -1, "large", True])
def test_a_diameter_that_is_none_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match="expected auto, none, or um above 0"):
        ReadingSettings(object_diameter_um=given)


def test_resample_and_a_diameter_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        ReadingSettings(object_diameter_um=5.0, resample=True)


def test_seeds_are_smoothed_by_the_size_of_the_objects() -> None:
    facts = TrainingFacts(tuned={"threshold": 0.3})
    large, small = (facts_of_objects(facts, d, 3, finest=0.25) for d in (10.0, 1.0))
    assert large.tuned == {"threshold": 0.3, "seed_smoothing": 4.0}
    assert small.tuned == {"threshold": 0.3, "seed_smoothing": 1.0}
    tuned = replace(facts, tuned={"seed_smoothing": 2.0})
    assert facts_of_objects(tuned, 10.0, 3, finest=0.25).tuned == {"seed_smoothing": 2.0}
    assert facts_of_objects(facts, 10.0, 3).tuned == {"threshold": 0.3}
    huge = facts_of_objects(facts, 5000.0, 2, finest=1.0).tuned
    assert huge is not None and huge["seed_smoothing"] == 50.0


@pytest.mark.parametrize(
    ("given", "resample", "image", "expected"),
    [
        (None, "auto", {"object_diameter_px": [10, 40]}, "auto"),
        (None, True, {"object_diameter_px": [10, 40]}, None),
        ("none", "auto", {"object_diameter_px": [10, 40]}, None),
        (None, "auto", {"object_voxels": 500}, None),
        ("auto", "auto", {"object_voxels": 500}, "auto"),
        (8.0, "auto", {"object_diameter_px": [10, 40]}, 8.0),
    ],
)
def test_models_of_many_sizes_measure_the_objects(
    given: Any, resample: Any, image: dict[str, Any], expected: Any
) -> None:
    predictor: Any = SimpleNamespace(image=image)
    settings = ReadingSettings(object_diameter_um=given, resample=resample)
    assert stated_diameter(predictor, settings) == expected
