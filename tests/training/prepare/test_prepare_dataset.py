from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cytoloop.errors import ConfigError, ManifestError
from cytoloop.manifest import write_manifest
from cytoloop.training.prepare.dataset import read_checked_dataset
from cytoloop.training.prepare.patch_size import check_patch_size

SHAPES = {"a": (12, 40, 50), "b": (20, 38, 60)}


def test_a_patch_that_fits_is_accepted() -> None:
    check_patch_size([12, 36, 48], [4, 4, 4], SHAPES)
    check_patch_size([9, 36, 48], [1, 4, 4], SHAPES)


def test_every_fault_of_a_patch_names_sizes_that_fit() -> None:
    with pytest.raises(ConfigError, match="3 problems") as caught:
        check_patch_size([16, 40, 30], [4, 4, 4], SHAPES)
    text = str(caught.value)
    assert "Z = 16 is larger than the smallest image (a: 12); largest that fits: 12" in text
    assert "Y = 40 is larger than the smallest image (b: 38); largest that fits: 36" in text
    assert "X = 30 is not divisible by 4" in text and "nearest: 28 or 32" in text


def test_a_patch_of_other_dimensions_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"has 2 numbers but the images are 3D\nGive one.*Z, Y, X"
    ):
        check_patch_size([32, 32], [4, 4], SHAPES)


def dataset(folder: Path, tiff: Callable, shapes: list[tuple[int, ...]]) -> Path:
    for number, shape in enumerate(shapes):
        data = np.zeros(shape, np.uint8)
        data[..., 2:5, 2:5] = 1
        data[..., 0, 0] = 3
        tiff(folder / f"raw{number}.tif", data)
        tiff(folder / f"seg{number}.tif", data)
    rows = [{"raw": f"raw{n}.tif", "seg1": f"seg{n}.tif"} for n in range(len(shapes))]
    write_manifest(folder / "train.csv", rows[:-1])
    write_manifest(folder / "valid.csv", rows[-1:])
    return folder


def test_facts_come_from_the_images(tmp_path: Path, tiff: Callable) -> None:
    folder = dataset(tmp_path, tiff, [(6, 16, 20), (8, 16, 16)])
    _, facts = read_checked_dataset(folder)
    assert facts.spatial_dims == 3 and len(facts.channels) == 1
    assert facts.shapes == {"train: raw0": (6, 16, 20), "valid: raw1": (8, 16, 16)}
    assert facts.spacing_um == pytest.approx((0.6, 0.3, 0.3))


@pytest.mark.parametrize(
    "shape, fault",
    [
        ((16, 20), r"train.csv: row 1 \(raw0\).*is 2D, most images are 3D"),
        ((6, 16, 16), r"train.csv: row 1 \(raw0\).*same image as raw2 in 'valid'"),
    ],
)
def test_replayed_images_are_checked_like_all_that_train(
    tmp_path: Path, tiff: Callable, shape: tuple[int, ...], fault: str
) -> None:
    new = dataset(tmp_path / "new", tiff, [(6, 16, 20), (6, 18, 18), (6, 16, 16)])
    old = dataset(tmp_path / "old", tiff, [shape, (6, 9, 9)])
    with pytest.raises(ManifestError, match=f"{old}/{fault}"):
        read_checked_dataset(new, replayed=old)


def test_a_patch_fits_the_smallest_replayed_image(tmp_path: Path, tiff: Callable) -> None:
    new = dataset(tmp_path / "new", tiff, [(6, 16, 20), (6, 16, 16)])
    old = dataset(tmp_path / "old", tiff, [(5, 12, 30), (6, 9, 9)])
    facts = read_checked_dataset(new, replayed=old)[1]
    assert facts.shapes["replayed: raw0"] == (5, 12, 30)
    check_patch_size([4, 12, 16], [4, 4, 4], facts.shapes)
    with pytest.raises(ConfigError, match=r"Y = 16 is larger.*replayed: raw0: 12"):
        check_patch_size([4, 16, 16], [4, 4, 4], facts.shapes)


def test_mixed_dimensions_are_refused(tmp_path: Path, tiff: Callable) -> None:
    folder = dataset(tmp_path, tiff, [(6, 16, 20), (6, 16, 16), (16, 16)])
    with pytest.raises(ManifestError, match="raw2.*2D"):
        read_checked_dataset(folder)


def test_a_data_set_without_validation_images_is_refused(tmp_path: Path, tiff: Callable) -> None:
    folder = dataset(tmp_path, tiff, [(16, 20), (16, 16)])
    with pytest.raises(
        ManifestError, match=r"no validation(.|\n)*each split: data\.path=" + str(folder)
    ):
        read_checked_dataset(folder / "train.csv")
    (folder / "valid.csv").unlink()
    for path in (folder, folder / "train.csv"):
        with pytest.raises(
            ManifestError, match=r"no validation image.*\n`cytoloop curate raw=.*train\.csv"
        ):
            read_checked_dataset(path)
    (folder / "train.csv").write_text("raw,seg1,split\nraw0.tif,seg0.tif,train\n")
    with pytest.raises(ManifestError, match="Write valid in the column split .*remove the column"):
        read_checked_dataset(folder / "train.csv")


def test_stacks_are_not_resampled_to_the_voxel_size_of_a_picture(
    tmp_path: Path, tiff: Callable
) -> None:
    stacks = dataset(tmp_path / "3d", tiff, [(6, 16, 20), (6, 16, 16)])
    with pytest.raises(ConfigError, match=r"expected \[z,y,x\]\n.*resample='\[0\.6,0\.5,0\.5\]'"):
        read_checked_dataset(stacks, resample=[0.5, 0.5])
    pictures = dataset(tmp_path / "2d", tiff, [(16, 20), (16, 16)])
    assert read_checked_dataset(pictures, resample=[0.5, 0.5])[1].resampled
