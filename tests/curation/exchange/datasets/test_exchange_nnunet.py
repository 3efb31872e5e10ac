"""nnU-Net data sets: several files an image, the ignore label, folds; in and out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cytoloop.curation.exchange.datasets import nnunet
from cytoloop.curation.exchange.registry import DATASET_FORMATS, find_format
from cytoloop.curation.pairing.pairs import pair_images
from cytoloop.errors import ImageError, ManifestError
from cytoloop.inference.inputs.list_inputs import list_inputs
from cytoloop.io.digest import file_hash
from cytoloop.io.read import read_image
from cytoloop.io.writers.tiff import write_image
from cytoloop.manifest import Row
from cytoloop.truth.targets import read_raw, read_target

RNG = np.random.default_rng(0)
SHAPE = (5, 24, 20)


def make(folder: Path, names: str = "ab", labels: int = 2) -> dict[str, np.ndarray]:
    """Write a data set of two channels with classes and an ignore label; return the labels."""
    for name in names:
        for channel in range(2):
            path = folder / "imagesTr" / f"{name}_{channel:04d}.tif"
            write_image(path, RNG.integers(0, 99, SHAPE, np.uint8), "ZYX", (2.0, 0.5, 0.5))
        write_image(folder / "labelsTr" / f"{name}.tif", RNG.integers(0, 4, SHAPE, np.uint8), "ZYX")
    description = {
        "channel_names": {"0": "DNA", "1": "actin"},
        "labels": {"background": 0, "nucleus": 1, "spindle": 2, "ignore": 3},
        "numTraining": 2,
        "file_ending": ".tif",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    (folder / "splits_final.json").write_text(json.dumps([{"train": ["a"], "val": ["b"]}]))
    return {n: tifffile.imread(folder / "labelsTr" / f"{n}.tif") for n in names}


def test_data_set_is_read_with_channels_ignore_label_and_folds(tmp_path: Path) -> None:
    labels = make(tmp_path)
    assert find_format(DATASET_FORMATS, tmp_path) is nnunet
    rows = nnunet.read(tmp_path)
    assert [(row.id, row["fold"], row["exclude"]) for row in rows] == [
        ("a", "", "labels(3)"),
        ("b", "0", "labels(3)"),
    ]
    image = read_raw(rows[0])
    assert image.channels == ("DNA", "actin") and image.spacing_um == (2.0, 0.5, 0.5)
    stored = [tifffile.imread(tmp_path / "imagesTr" / f"a_000{n}.tif") for n in range(2)]
    np.testing.assert_array_equal(image.data, stored)
    np.testing.assert_array_equal(read_target(rows[0], classes=True)[0], labels["a"])
    (tmp_path / "imagesTr" / "a_0001.tif").unlink()
    with pytest.raises(ImageError, match=r"no such file: a_0001\.tif"):
        read_raw(rows[0])


def test_folders_of_a_data_set_pair_and_predict_as_images_of_several_files(tmp_path: Path) -> None:
    make(tmp_path)
    pairs = pair_images(tmp_path / "imagesTr", tmp_path / "labelsTr")
    assert [pair.id for pair in pairs] == ["a", "b"]
    assert [row.id for row in list_inputs(tmp_path / "imagesTr")] == ["a", "b"]
    before = file_hash(pairs[0].raw)
    write_image(tmp_path / "imagesTr" / "a_0001.tif", np.zeros(SHAPE, np.uint8), "ZYX")
    assert file_hash(pairs[0].raw) != before


def test_written_data_set_is_read_again(tmp_path: Path) -> None:
    make(tmp_path / "in")
    rows = nnunet.read(tmp_path / "in")
    for row in rows:
        labels = tifffile.imread(row["seg1"])
        mask = tmp_path / f"{row.id}_mask.tif"
        write_image(mask, labels == 3, "ZYX")
        row.values |= {"exclude_mask": str(mask), "exclude": ""}
    result = nnunet.write(tmp_path / "out", rows)
    assert not result.left_out
    again = nnunet.read(tmp_path / "out")
    description = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert description["channel_names"] == {"0": "DNA", "1": "actin"}
    assert description["labels"]["ignore"] == 3 and description["numTraining"] == 2
    for one, other in zip(rows, again, strict=True):
        assert (one.id, other["exclude"]) == (other.id, "labels(3)")
        first, second = read_raw(one), read_raw(other)
        np.testing.assert_array_equal(first.data, second.data)
        assert first.channels == second.channels and first.spacing_um == second.spacing_um
        found, expected = (tifffile.imread(row["seg1"]) for row in (other, one))
        np.testing.assert_array_equal(found, expected)
    spacing = json.loads((tmp_path / "out" / "imagesTr" / "a.json").read_text())
    assert spacing == {"spacing": [2.0, 0.5, 0.5]}


def test_objects_become_one_class(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    labels = np.zeros((24, 20), np.uint8)
    labels[2:6, 2:6], labels[9:14, 9:14] = 1, 2
    write_image(tmp_path / "raw.tif", RNG.integers(0, 99, (24, 20), np.uint8), "YX")
    write_image(tmp_path / "seg.tif", labels, "YX")
    values = {"id": "a", "raw": str(tmp_path / "raw.tif"), "seg1": str(tmp_path / "seg.tif")}
    nnunet.write(tmp_path / "out", [Row(values)])
    assert "the labels are objects" in caplog.text
    found = tifffile.imread(tmp_path / "out" / "labelsTr" / "a.tif")
    np.testing.assert_array_equal(found, labels > 0)


def test_faulty_data_sets_are_refused(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "labelsTr" / "b.tif").unlink()
    with pytest.raises(ManifestError, match="imagesTr: b has no labels in labelsTr"):
        nnunet.read(tmp_path)
    description = {"labels": {"background": 0, "whole": [1, 2]}, "channel_names": {"0": "x"}}
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(ManifestError, match="regions that overlap"):
        nnunet.read(tmp_path)
    (tmp_path / "dataset.json").write_text("[")
    with pytest.raises(ManifestError, match="cannot be read"):
        nnunet.read(tmp_path)
    with pytest.raises(ManifestError, match="a: "):
        nnunet.write(tmp_path / "out", [Row({"id": "a", "raw": "none.tif", "seg1": "none.tif"})])


@pytest.mark.realdata
def test_case_of_nnunet(real_data: Path) -> None:
    folder = real_data / "cases" / "10_nnunet" / "Dataset001_X"
    rows = nnunet.read(folder)
    assert [row.id for row in rows] == ["x_000", "x_001", "x_002"]
    assert {row["exclude"] for row in rows} == {"labels(2)"}
    assert read_image(rows[0]["raw"]).channels == ("DNA", "actin")
    pairs = pair_images(folder / "imagesTr", folder / "labelsTr")
    assert [pair.id for pair in pairs] == ["x_000", "x_001", "x_002"]


@pytest.mark.slow
@pytest.mark.parametrize("ndim", [2, 3])
def test_nnunets_own_readers_see_the_same(tmp_path: Path, ndim: int) -> None:
    """nnU-Net is no dependency: `pip install nnunetv2` into the environment to run this test."""
    kinds = {
        2: ("natural_image_reader_writer", "NaturalImage2DIO"),
        3: ("tif_reader_writer", "Tiff3DIO"),
    }
    module, name = kinds[ndim]
    reader = getattr(
        pytest.importorskip(f"nnunetv2.imageio.{module}", reason="nnU-Net is not installed"), name
    )()
    rng, shape, spacing = np.random.default_rng(0), (6, 24, 30)[-ndim:], (2.0, 0.5, 0.25)
    axes = "ZYX"[-ndim:]
    raw = rng.integers(0, 60_000, (2, *shape)).astype(np.uint16)
    labels = (rng.random(shape) > 0.6).astype(np.uint8)
    labels.flat[0] = 255
    write_image(tmp_path / "raw.ome.tif", raw, f"C{axes}", spacing, ("dapi", "gfp"))
    write_image(tmp_path / "seg.ome.tif", labels, axes, spacing)
    values = {"id": "im", "split": "train", "ignore_label": "255"}
    files = {"raw": str(tmp_path / "raw.ome.tif"), "seg1": str(tmp_path / "seg.ome.tif")}
    nnunet.write(tmp_path / "out", [Row(values | files)])
    channels = [str(tmp_path / f"out/imagesTr/im_{number:04d}.tif") for number in range(2)]
    image, properties = reader.read_images(channels)
    assert np.array_equal(image.reshape(raw.shape), raw)
    if ndim == 3:
        assert list(properties["spacing"]) == list(spacing)
    found, _ = reader.read_seg(str(tmp_path / "out/labelsTr/im.tif"))
    assert np.array_equal(found.reshape(shape), np.where(labels == 255, 2, labels))
