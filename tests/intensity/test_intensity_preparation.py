"""Preparation: the same deterministic steps in training and prediction, whole or in parts."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage import filters, morphology

from cytoloop.data.cached_image import CachedImage
from cytoloop.data.preview import preparation_stages
from cytoloop.errors import ConfigError, ImageError, ModelError
from cytoloop.inference.model_source import load_predictor
from cytoloop.inference.settings import WindowSettings
from cytoloop.inference.volume_storage import VolumeStorage
from cytoloop.inference.windows.probability_maps import predict_maps
from cytoloop.intensity.filtered import filter_pixels
from cytoloop.intensity.filters import FILTERS
from cytoloop.intensity.normalization import normalize
from cytoloop.intensity.preparation import Preparation, step_faults, step_names
from cytoloop.io.pixels import MemoryPixels, Pixels, read_whole
from cytoloop.model.checkpoint import read_checkpoint
from cytoloop.model.exporters.round_trip import check_importable

SPACING = (0.6, 0.3, 0.3)
EVERY: list[Any] = [
    {"clip": {"lower": 2, "upper": 98}},
    {"background": {"radius_um": 1.2}},
    {"background": {"method": "gaussian", "radius": [0, 5, 5]}},
    {"gaussian": {"sigma": 0.7}},
    {"median": {"radius": [1, 1]}},
    {"local_contrast": {"radius": 3}},
]
DEFAULT = {"method": "percentile", "lower": 1.0, "upper": 99.8}


def image_of(shape: tuple[int, ...], dtype: str = "uint16") -> np.ndarray:
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 800, shape[-1])
    data = 200 + ramp + 300 * (rng.random((2, *shape)) > 0.9) + rng.normal(0, 40, (2, *shape))
    return np.clip(data, 0, None).astype(dtype)


def pixels_of(image: np.ndarray, spacing: Any = SPACING) -> MemoryPixels:
    return MemoryPixels(image, spacing, [str(number) for number in range(len(image))])


def filtered(image: np.ndarray, *steps: Any, **settings: Any) -> Pixels:
    return filter_pixels("one", pixels_of(image), Preparation(steps).filters, **settings)[0]


@pytest.mark.parametrize("shape", [(9, 40, 37), (70, 65)])
@pytest.mark.parametrize("steps", [[step] for step in EVERY] + [EVERY], ids=str)
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_parts_have_the_values_of_the_whole_image(
    steps: list[Any], shape: tuple[int, ...], dtype: str
) -> None:
    image = image_of(shape, dtype)
    if dtype == "float32":
        image[0, ..., 3:9, 5] = np.nan
    whole, measured = filter_pixels("one", pixels_of(image), Preparation(steps).filters)
    expected = read_whole(whole)
    assert expected.dtype == np.float32 and np.isfinite(expected).all()
    assert not np.array_equal(expected, image)
    for options in ({"in_memory": 0}, {"measured": measured}):
        parts = filtered(image, *steps, **options)
        cuts = [range(0, n, math.ceil(n / 3)) for n in shape]
        for corner in itertools.product(*cuts):
            box = tuple(
                slice(c, min(c + math.ceil(n / 3), n)) for c, n in zip(corner, shape, strict=True)
            )
            np.testing.assert_array_equal(parts.read(box), expected[(slice(None), *box)])


def test_filters_are_those_of_scikit_image() -> None:
    image = image_of((50, 60))
    one = image[0].astype(np.float32)
    square = morphology.footprint_rectangle((9, 9))
    expected = {
        "background": one - morphology.opening(one, square),
        "gaussian": filters.gaussian(one, 1.5, mode="reflect", truncate=3),
        "median": filters.median(one, morphology.footprint_rectangle((5, 5)), mode="reflect"),
        "clip": np.clip(one, *np.percentile(one, [5, 90])),
    }
    steps = {
        "background": {"radius": 4}, "gaussian": {"sigma": 1.5}, "median": {"radius": 2},
        "clip": {"lower": 5, "upper": 90},
    }  # fmt: skip
    for name, values in steps.items():
        found = read_whole(filtered(image, {name: values}))[0]
        np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-3, err_msg=name)


def test_background_and_contrast_remove_what_varies_slowly() -> None:
    image = np.zeros((1, 80, 120), np.float32)
    image[0, 36:44, 56:64] = 100
    haze = np.broadcast_to(np.linspace(0, 1000, 120, dtype=np.float32), (80, 120))
    cleared = read_whole(filtered(image + haze, {"background": {"radius": 10}}))[0]
    assert cleared[36:44, 56:64].min() > 90
    cleared[34:46, 54:66] = 0
    assert cleared[:, 20:100].max() < 200  # of a ramp that rises by 8 per voxel: a box wide
    one = read_whole(filtered(image_of((60, 60)), {"local_contrast": {"radius": 6}}))
    other = read_whole(filtered(image_of((60, 60)) * 3 + 50, {"local_contrast": {"radius": 6}}))
    np.testing.assert_allclose(one, other, atol=1e-3)  # independent of gain and offset
    assert abs(one[:, 10:-10, 10:-10].mean()) < 0.1


def test_lengths_in_um_follow_the_voxel_size() -> None:
    image = image_of((9, 40, 40))
    in_um = read_whole(filtered(image, {"gaussian": {"sigma_um": 0.6}}))
    np.testing.assert_array_equal(
        in_um, read_whole(filtered(image, {"gaussian": {"sigma": [1, 2, 2]}}))
    )
    plane = read_whole(filtered(image, {"gaussian": {"sigma": [2, 2]}}))
    assert not np.array_equal(in_um, plane)
    for z in (0, 4):
        alone = read_whole(filtered(image[:, z], {"gaussian": {"sigma": 2}}))
        np.testing.assert_array_equal(plane[:, z], alone)
    steps = Preparation([{"median": {"radius_um": 1}}]).filters
    with pytest.raises(ImageError, match="one: its voxel size is unknown(.|\n)*radius, sigma"):
        filter_pixels("one", pixels_of(image, None), steps)
    with pytest.raises(ImageError, match="length of the preparation is 1000 voxels(.|\n)*most 10"):
        filter_pixels("one", pixels_of(image, (1, 0.001, 0.001)), steps)


@pytest.mark.parametrize(
    ("steps", "key", "fault"),
    [
        ("clip", "", "expected a list of clip, background"),
        (["sharpen"], "[0]", "is 'sharpen', expected one of clip, background, gaussian, median, "),
        ([{"clip": {"top": 3}}], "[0].clip.top", "is not known, expected lower, upper"),
        ([{"clip": {"upper": 101}}], "[0].clip.upper", "expected 0 to 100; nearest: 100"),
        ([{"clip": {"lower": 60, "upper": 50}}], "[0].clip.upper", "is 50, not above 60"),
        (["clip", "median"], "[1].median", "needs radius in voxels or radius_um; neither"),
        ([{"gaussian": {"sigma": 1, "sigma_um": 1}}], "[0].gaussian", "both are given"),
        ([{"median": {"radius": 11}}], "[0].median.radius", "expected 0 to 10; nearest: 10"),
        ([{"median": {"radius": "a"}}], "[0].median.radius", "is 'a', expected a number"),
        ([{"median": {"radius": [1]}}], "[0].median.radius", r"expected [z,y,x] or [y,x]"),
        ([{"median": {"radius": 0}}], "[0].median.radius", "is 0, expected a length above 0"),
        ([{"median": 3}], "[0].median", "is 3, expected {radius, radius_um}"),
        ([{"background": {"radius": 3, "method": "ball"}}], "[0].background.method",
         "is 'ball', expected top_hat, gaussian"),
        ([{"_target_": "my_lab.Log"}, "clip"], "[1]", "follows the function [0]"),
    ],
)  # fmt: skip
def test_unknown_names_and_values_are_refused_with_the_list(
    steps: Any, key: str, fault: str, make_model: Callable
) -> None:
    ((found, text),) = step_faults(steps)
    assert found == key and fault in text
    with pytest.raises(ConfigError) as error:
        Preparation(steps)
    assert error.value.where == f"preparation.steps{key}"
    with pytest.raises(ModelError) as error:  # a checkpoint may be anyone's
        read_checkpoint(make_model(preparation=steps))
    assert f"preparation{key}" in str(error.value) and fault in str(error.value)


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(ConfigError, match=r"steps\[0\](.|\n)*steps\[1\].clip.upper"):
        Preparation(["blur", {"clip": {"upper": -1}}])
    assert step_faults(EVERY) == step_faults(None) == []


@pytest.mark.parametrize("steps", [EVERY, [*EVERY[:2], {
    "_target_": "monai.transforms.ScaleIntensity", "factor": 0.5}]])  # fmt: skip
def test_same_deterministic_steps_in_training_and_prediction(
    steps: list[Any], make_model: Callable, tmp_path: Path
) -> None:
    image = image_of((12, 40, 40))
    labels = np.zeros(image.shape[1:], np.uint8)
    cached = CachedImage(
        "one", image, labels, labels == 0, np.zeros((0, 3)), np.zeros(1), None, SPACING, tmp_path
    )
    preparation = Preparation(steps)
    if preparation.functions:
        trained = cached.prepared(preparation, DEFAULT).image
    else:
        seen = cached.filtered_by(preparation)
        trained = normalize(seen.image, *seen.intensity_stats(DEFAULT))
        assert (tmp_path / f"filtered_{preparation.digest()}.npy").is_file()
        np.testing.assert_array_equal(cached.filtered_by(preparation).image, seen.image)
    predictor = load_predictor(
        (str(make_model(preparation=preparation.steps, channels=2)),), WindowSettings()
    )
    named = [step for step in steps if "_target_" not in step]
    in_parts = filtered(image, *named, in_memory=0)
    for pixels in (predictor.filtered_pixels("one", pixels_of(image))[0], in_parts):
        levels = predictor.measure_intensity("one", pixels)
        assert levels is not None
        ready, levels = predictor.prepared_pixels(pixels, levels)
        np.testing.assert_array_equal(predictor.prepare(read_whole(ready), levels), trained)


def test_prediction_applies_the_steps_of_the_checkpoint(make_model: Callable) -> None:
    image = image_of((12, 40, 40))[:1]
    plain = load_predictor((str(make_model()),), WindowSettings())
    model = make_model(preparation=[{"gaussian": {"sigma": 1}}])
    steps = load_predictor((str(model),), WindowSettings())
    smooth = MemoryPixels(read_whole(filtered(image, {"gaussian": {"sigma": 1}})), SPACING, "0")

    def maps(predictor: Any, pixels: Pixels) -> np.ndarray:
        return np.asarray(predict_maps("one", pixels, predictor, VolumeStorage())["probability"])

    found = maps(steps, pixels_of(image))
    np.testing.assert_array_equal(found, maps(plain, smooth))
    assert not np.array_equal(found, maps(plain, pixels_of(image)))
    constant = np.full((1, 12, 40, 40), 7, np.uint16)
    assert not maps(steps, pixels_of(constant)).any()


@pytest.mark.parametrize("form", ["folder", "cytodl"])
def test_formats_without_such_steps_refuse_the_model(make_model: Callable, form: str) -> None:
    checkpoint = read_checkpoint(make_model(preparation=[{"median": {"radius": 1}}]))
    with pytest.raises(ModelError, match=r"prepares images \(median\); this format has no such"):
        check_importable(checkpoint, form)


def test_preview_shows_the_image_after_each_step(tmp_path: Path) -> None:
    image = image_of((6, 20, 20))
    labels = np.zeros(image.shape[1:], np.uint8)
    labels[4, 3:8, 3:8] = 1
    cached = CachedImage(
        "one", image, labels, labels < 2, np.zeros((0, 3)), np.zeros(1), None, SPACING, tmp_path
    )
    preparation = Preparation([*EVERY, {"_target_": "monai.transforms.ScaleIntensity"}])
    stages = preparation_stages(cached, preparation, DEFAULT)
    assert [title.partition("\n")[0] for title, _ in stages[1:-1]] == [next(iter(s)) for s in EVERY]
    np.testing.assert_array_equal(stages[0][1], image[0, 4])
    np.testing.assert_array_equal(stages[-2][1], read_whole(filtered(image, *EVERY))[0, 4])


def test_every_filter_has_a_step_here() -> None:
    assert {next(iter(step)) for step in EVERY} == set(FILTERS)
    assert step_names([*EVERY[:1], {"_target_": "my_lab.Log"}]) == "clip, my_lab.Log"


def test_start_from_a_model_with_other_steps_is_warned_of(
    make_model: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    from cytoloop.training.callbacks.warm_start import _compare_preparation

    checkpoint = read_checkpoint(make_model(preparation=["clip"]))
    with caplog.at_level(logging.WARNING):
        _compare_preparation(checkpoint, {"preparation": [{"clip": {"upper": 99.9}}]})
    assert not caplog.text
    with caplog.at_level(logging.WARNING):
        _compare_preparation(checkpoint, {})
    assert "was trained with preparation.steps=[clip], this training uses [none]" in caplog.text
