"""Training and prediction at one voxel size."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from cytoloop.curation import CurationSettings, curate
from cytoloop.data.image_cache import ImageCache
from cytoloop.data.resample_row import resample_row
from cytoloop.data.settings import full_spacing, setting_faults
from cytoloop.errors import ImageError, ManifestError
from cytoloop.inference.inputs.open_input import open_input
from cytoloop.inference.model_source import load_predictor
from cytoloop.inference.settings import ReadingSettings, WindowSettings
from cytoloop.inference.windows.probability_maps import resample_to_training
from cytoloop.intensity.resample import ResampledPixels
from cytoloop.io.pixels import MemoryPixels, read_whole
from cytoloop.manifest import Row, read_dataset, write_manifest
from cytoloop.training.prepare.dataset import read_checked_dataset


@pytest.fixture
def two_sizes(images_3d: Path) -> Path:
    """Data set whose images 0 to 2 have voxels of 0.6 x 0.3 x 0.3 um, and 3 and 4 half as wide."""
    rows = []
    for number in range(5):
        spacing = "0.6 0.3 0.3" if number < 3 else "0.6 0.15 0.15"
        split = "valid" if number in (2, 4) else "train"
        rows.append(
            {
                "id": f"i{number}",
                "raw": f"raw/img_{number}.tif",
                "seg1": f"seg/img_{number}.tif",
                "spacing_um": spacing,
                "split": split,
            }
        )
    write_manifest(images_3d / "all.csv", rows)
    return images_3d / "all.csv"


def test_different_sizes_are_warned_of(
    two_sizes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        facts = read_checked_dataset(two_sizes)[1]
    assert facts.spacing_um == (0.6, 0.3, 0.3)
    expected = "0.6 0.3 0.3 um: 3 image(s), i0, i1, i2; 0.6 0.15 0.15 um: 2 image(s), i3, i4"
    assert expected in caplog.text and "data.resample=median" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        curate(CurationSettings(raw=two_sizes, output=tmp_path / "ds", leakage="allow"))
    assert expected in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        read_checked_dataset(two_sizes, resample="median")
    assert "differ" not in caplog.text


@pytest.mark.parametrize(
    ("resample", "spacing", "fine_shape"),
    [
        ("median", (0.6, 0.3, 0.3), (12, 20, 20)),
        ([0.6, 0.15, 0.15], (0.6, 0.15, 0.15), (12, 40, 40)),
    ],
)
def test_the_facts_are_those_of_the_resampled_images(
    resample: Any, spacing: tuple[float, ...], fine_shape: tuple[int, ...], two_sizes: Path
) -> None:
    facts = read_checked_dataset(two_sizes, resample=resample)[1]
    assert facts.spacing_um == spacing and facts.shapes["train: i3"] == fine_shape
    images = ImageCache(two_sizes.parent / "c", spacing_um=facts.spacing_um).entries(
        [*read_dataset(two_sizes)["train"]]
    )
    for one in images:
        assert one.shape == facts.shapes[f"train: {one.id}"]
        assert one.spacing_um == pytest.approx(spacing)


def test_images_without_a_voxel_size_are_refused(two_sizes: Path) -> None:
    dataset = read_dataset(two_sizes)
    rows = [row.values for row in [*dataset["train"], *dataset["valid"]]]
    for number, row in enumerate(rows[:2]):
        raw = np.arange(12 * 40 * 40, dtype=np.uint16).reshape(12, 40, 40) + number
        tifffile.imwrite(two_sizes.parent / f"plain_{number}.tif", raw)
        row |= {"raw": f"plain_{number}.tif", "spacing_um": "", "sha256": ""}
    write_manifest(two_sizes, rows)
    with pytest.raises(ManifestError, match=r"i0: its voxel size is unknown(.|\n)*spacing_um"):
        read_checked_dataset(two_sizes, resample="median")


def test_training_sees_an_image_as_prediction_does(blobs: Callable) -> None:
    raw, labels = blobs((12, 40, 40), 5, 2)
    valid = np.ones(labels.shape, bool)
    valid[:, :10] = False
    arrays = resample_row((raw[None], labels, valid, (0.6, 0.15, 0.15)), (0.6, 0.3, 0.3))
    image, small, small_valid, spacing = arrays
    pixels = ResampledPixels(MemoryPixels(raw[None], (0.6, 0.15, 0.15)), (12, 20, 20))
    np.testing.assert_array_equal(image, read_whole(pixels))
    assert spacing == (0.6, 0.3, 0.3) and small.shape == small_valid.shape == (12, 20, 20)
    assert set(np.unique(small)) <= set(np.unique(labels)) and not small_valid[:, :4].any()
    share, small_share = np.mean(labels > 0), np.mean(small > 0)
    assert small_share == pytest.approx(share, rel=0.1)
    same = resample_row((raw[None], labels, valid, (0.6, 0.15, 0.15)), (0.6, 0.15, 0.15))
    assert same[0].base is raw or same[1] is labels


@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("requested", ["auto", True, False])
def test_prediction_follows_the_model(
    carried: bool, requested: bool | str, two_sizes: Path, make_model: Callable
) -> None:
    model = make_model(spacing_um=[0.6, 0.3, 0.3], resample=carried)
    predictor = load_predictor((str(model),), WindowSettings())
    row = read_dataset(two_sizes)["train"].rows[-1]  # voxels of half the width
    pixels = open_input(row, predictor, ReadingSettings(resample=requested))
    resampled = resample_to_training(pixels, predictor, requested)
    follows = carried if requested == "auto" else requested
    assert resampled.shape == ((12, 20, 20) if follows else (12, 40, 40))


def test_a_model_that_resamples_needs_the_voxel_size(
    tmp_path: Path, make_model: Callable, blobs: Callable
) -> None:
    raw, _ = blobs((12, 40, 40), 5, 2)
    tifffile.imwrite(tmp_path / "plain.tif", raw)
    predictor = load_predictor((str(make_model(resample=True)),), WindowSettings())
    row = Row({"raw": str(tmp_path / "plain.tif")})
    with pytest.raises(ImageError, match="but the model, which resamples images, needs it"):
        open_input(row, predictor, ReadingSettings())
    assert open_input(row, predictor, ReadingSettings(spacing_um=(1, 1, 1))).shape == (12, 40, 40)


@pytest.mark.parametrize("wrong", ["mean", 0.3, [0.3], [0, 1, 1], [1, 1, 1, 1], ["a", 1], True])
def test_a_wrong_size_is_refused(wrong: Any) -> None:
    ((key, fault),) = setting_faults({"resample": wrong})
    assert key == "data.resample" and "expected median, auto, or a voxel size" in fault
    assert not list(setting_faults({"resample": None})) and full_spacing([2, 3]) == (1, 2, 3)
