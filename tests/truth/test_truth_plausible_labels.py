"""Images that are no labels are refused wherever labels are read."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from cytoloop.curation import CurationSettings, curate, validate_dataset
from cytoloop.errors import ManifestError
from cytoloop.evaluation import EvaluationSettings, evaluate
from cytoloop.manifest import read_dataset
from cytoloop.truth.plausible_labels import why_not_labels


def discs() -> np.ndarray:
    """A mask (Y, X) of 0 and 255 with six discs."""
    y, x = np.ogrid[:96, :96]
    mask = np.zeros((96, 96), np.uint8)
    for cy, cx in ((20, 20), (20, 70), (50, 30), (60, 75), (80, 20), (82, 55)):
        mask[(y - cy) ** 2 + (x - cx) ** 2 < 90] = 255
    return mask


def as_jpeg(mask: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "JPEG", quality=80)
    return np.asarray(Image.open(buffer))


def resized(mask: np.ndarray, method: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(mask).resize((160, 160), method))


SPOILT = {
    "jpeg": as_jpeg,
    "gaussian": lambda mask: ndimage.gaussian_filter(mask, 1.0),
    "uniform": lambda mask: ndimage.uniform_filter(mask, 3),
    "bilinear": lambda mask: resized(mask, Image.Resampling.BILINEAR),
    "bicubic": lambda mask: resized(mask, Image.Resampling.BICUBIC),
    "halved": lambda mask: np.asarray(Image.fromarray(mask).reduce(2)),
    "uint16": lambda mask: ndimage.uniform_filter(mask.astype(np.uint16) * 257, 3),
}


@pytest.mark.parametrize("how", SPOILT)
def test_spoilt_masks_are_no_labels(how: str) -> None:
    assert why_not_labels(SPOILT[how](discs()))


def test_labels_and_classes_are_labels() -> None:
    mask = discs() > 0
    labels = ndimage.label(mask)[0].astype(np.uint16)
    rims = mask & ~ndimage.binary_erosion(mask)
    nearest = np.asarray(Image.fromarray(discs()).resize((50, 50), Image.Resampling.NEAREST))
    grown = ndimage.binary_dilation(mask, iterations=4).astype(np.uint8)
    for good in (
        *(discs(), nearest, labels, labels * 40, np.where(rims, 1, mask * 2)),
        *(np.where(rims, 127, discs()), mask, grown + mask, np.where(mask, 255, grown * 100)),
    ):
        assert why_not_labels(np.asarray(good)) is None


def test_neighbours_of_a_large_object_are_no_rim() -> None:
    """A small field of labels: one object fills it, and slivers of others lie around."""
    field = np.full((12, 14), 137)
    field[0], field[-1], field[1:-1, 0], field[1:-1, -1] = 12, 37, 5, 91
    assert why_not_labels(field) is None
    assert "blurred mask" in str(why_not_labels(np.where(field == 137, 255, field)))


def test_a_jpeg_mask_is_refused_by_curate_training_and_evaluate(
    tmp_path: Path, tiff: Callable
) -> None:
    rng = np.random.default_rng(0)
    for number in range(3):
        mask = np.roll(discs(), 7 * number, axis=0)
        raw = (mask + rng.normal(100, 5, mask.shape)).astype(np.uint16)
        tiff(tmp_path / "raw" / f"i{number}.tif", raw)
        tiff(tmp_path / "seg" / f"i{number}.tif", as_jpeg(mask))
        tiff(tmp_path / "good" / f"i{number}.tif", mask)
    expected = "a blurred mask|pieces, half of them of 1 or 2 voxels"
    with pytest.raises(ManifestError, match=f"({expected})(.|\n)*without compression"):
        curate(CurationSettings(raw=tmp_path / "raw", seg1=tmp_path / "seg", output=tmp_path / "d"))
    rows = "".join(f"raw/i{n}.tif,seg/i{n}.tif,{s}\n" for n, s in enumerate(("train", "valid")))
    (tmp_path / "t.csv").write_text(f"raw,seg1,split\n{rows}")
    with pytest.raises(ManifestError, match=expected):
        validate_dataset(read_dataset(tmp_path / "t.csv"))
    with pytest.raises(ManifestError, match=f"its truth holds(.|\n)*({expected})"):
        evaluate(tmp_path / "good", tmp_path / "seg", EvaluationSettings(resamples=0))


def test_excluded_voxels_may_hold_anything(tmp_path: Path, tiff: Callable) -> None:
    rng = np.random.default_rng(0)
    for number in range(3):
        labels = ndimage.label(np.roll(discs(), 5 * number, axis=1))[0].astype(np.uint8)
        raw = (labels > 0) * 99 + rng.integers(0, 9, (96, 96))
        tiff(tmp_path / "raw" / f"i{number}.tif", raw.astype(np.uint16))
        labels[:, :30] = rng.integers(0, 200, (96, 30))
        tiff(tmp_path / "seg" / f"i{number}.tif", labels)
    given = {"raw": tmp_path / "raw", "seg1": tmp_path / "seg", "leakage": "allow"}
    with pytest.raises(ManifestError, match="half of them of 1 or 2 voxels"):
        curate(CurationSettings(**given, output=tmp_path / "a"))
    rule = "outside_box(:, 30:)"
    curate(CurationSettings(**given, output=tmp_path / "b", exclude_rules=[rule]))
    validate_dataset(read_dataset(tmp_path / "b"))
