"""Calibration on labelled images: threshold and size that fit how somebody draws."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from scipy import ndimage

from cytoloop.__main__ import main
from cytoloop.io.labels import read_labels


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder with a model whose probability is brightness, and labels of wide discs."""
    monkeypatch.chdir(tmp_path)
    network = torch.nn.Conv2d(1, 1, 1)
    with torch.no_grad():
        network.weight.fill_(10.0)
        network.bias.fill_(-5.0)
    image = {
        "spatial_dims": 2, "channels": 1, "channel_names": [], "spacing_um": None,
        "patch_size": [32, 32], "normalization": {"method": "minmax"}, "object_voxels": 100,
    }  # fmt: skip
    backbone = {
        "_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": 1
    }  # fmt: skip
    content = {
        "state_dict": {f"backbone.{k}": v for k, v in network.state_dict().items()},
        "hyper_parameters": {"backbone": backbone, "image": image},
        "epoch": 1,
        "global_step": 1,
    }
    torch.save(content, "model.ckpt")
    centres = np.zeros((96, 96))
    centres[16::32, 16::32] = 1
    away = ndimage.distance_transform_edt(centres == 0)
    light = np.clip(1.2 - away / 12, 0, 1)  # 1 at the centres, 0 at 14.4 pixels
    labels = ndimage.label(light > 0.3)[0]
    for name in ("a", "b"):
        tifffile.imwrite(f"{name}.tif", (1000 * light).astype(np.uint16))
        tifffile.imwrite(f"{name}_labels.tif", labels.astype(np.uint16))
    return tmp_path


def table(name: str, **cells: str) -> str:
    with Path(name).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(cells))
        writer.writeheader()
        writer.writerow(cells)
    return name


def settings_of(output: str) -> dict:
    return json.loads(next(Path(output, "metadata").glob("*.json")).read_text())["settings"]


def test_one_labelled_image_moves_the_outline(folder: Path) -> None:
    labelled = table("labelled.csv", raw="a.tif", seg1="a_labels.tif")
    words = ["predict", "checkpoint=model.ckpt", "input=b.tif"]
    assert main([*words, "output=plain"]) == 0
    assert main([*words, "output=fitted", f"calibrate={labelled}"]) == 0
    truth = read_labels("b_labels.tif")
    sizes = {}
    for output in ("plain", "fitted"):
        found = read_labels(next(Path(output, "labels").iterdir()))
        assert len(np.unique(found)) == len(np.unique(truth))
        sizes[output] = (found > 0).sum() / (truth > 0).sum()
    assert sizes["plain"] < 0.8
    assert sizes["fitted"] == pytest.approx(1, abs=0.03)
    assert settings_of("fitted")["postprocess"]["threshold"] < 0.2
    # a stated threshold stays
    words += [f"calibrate={labelled}", "postprocess.threshold=0.5", "output=stated"]
    assert main(words) == 0
    assert settings_of("stated")["postprocess"]["threshold"] == 0.5


def test_one_labelled_stack_moves_the_outline_along_z(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = torch.load("model.ckpt", weights_only=True)
    weights = content["state_dict"]
    weights["backbone.weight"] = weights["backbone.weight"][..., None]
    values = content["hyper_parameters"]
    values["backbone"] |= {"_target_": "torch.nn.Conv3d"}
    values["image"] |= {"spatial_dims": 3, "patch_size": [16, 32, 32]}
    torch.save(content, "model.ckpt")
    z, y, x = np.indices((20, 64, 64))
    away = np.sqrt(((z - 10) * 2.0) ** 2 + (y % 32 - 16) ** 2 + (x % 32 - 16) ** 2)
    light = np.clip(1.5 - away / 10, 0, 1) * 1000
    labels = ndimage.label(away < 10)[0]
    drawn = np.maximum(labels, np.maximum(np.roll(labels, 1, 0), np.roll(labels, -1, 0)))
    for name, data in (("stack", light), ("stack_labels", drawn)):
        tifffile.imwrite(f"{name}.tif", data.astype(np.uint16))
    labelled = table("labelled.csv", raw="stack.tif", seg1="stack_labels.tif")
    words = ["predict", "checkpoint=model.ckpt", "input=stack.tif", "spacing_um=[2,1,1]"]
    assert main([*words, f"calibrate={labelled}", "output=out"]) == 0
    chosen = settings_of("out")["postprocess"]
    assert chosen["grow_z_um"] == 2 and chosen["grow_um"] == 0
    found = read_labels(next(Path("out/labels").iterdir()))
    assert np.mean((found > 0) == (drawn > 0)) > 0.995
    mask = tifffile.imread(next(Path("out/mask").iterdir()))
    assert np.array_equal(mask > 0, found > 0)
    # other values on the stored maps keep the outlines
    assert main(["predict", "reprocess=out", "postprocess.min_depth=0.3", "output=again"]) == 0
    assert np.array_equal(read_labels(next(Path("again/labels").iterdir())), found)
    # a stated growth stays
    words += [f"calibrate={labelled}", "postprocess.grow_z_um=0", "output=stated"]
    assert main(words) == 0
    assert settings_of("stated")["postprocess"]["grow_z_um"] == 0
    capfd.readouterr()
    words = ["predict", "reprocess=out", "postprocess.grow_z_um=0.5", "output=less"]
    assert main(words) == 0
    assert "postprocess.grow_z_um: 0.5 changes nothing: a voxel is 2 wide" in capfd.readouterr().err


def test_a_threshold_that_finds_more_than_the_labels_is_not_taken(folder: Path) -> None:
    content = torch.load("model.ckpt", weights_only=True)
    content["hyper_parameters"]["image"] |= {"tuned": {"threshold": 0.07}, "object_voxels": 20}
    torch.save(content, "model.ckpt")
    for name in ("a", "b"):
        image = tifffile.imread(f"{name}.tif")
        image[4:92:16, 4:92:32] = 0
        for y in range(0, 96, 32):
            for x in range(0, 96, 32):
                image[y : y + 5, x : x + 5] = 250  # between the objects, probability 0.076
        tifffile.imwrite(f"{name}.tif", image)
        labels = ndimage.label(image > 260)[0]
        tifffile.imwrite(f"{name}_labels.tif", labels.astype(np.uint16))
    labelled = table("labelled.csv", raw="a.tif", seg1="a_labels.tif")
    words = ["predict", "checkpoint=model.ckpt", "input=b.tif", f"calibrate={labelled}"]
    assert main([*words, "output=out"]) == 0
    found, truth = read_labels(next(Path("out/labels").iterdir())), read_labels("b_labels.tif")
    assert len(np.unique(found)) == len(np.unique(truth))


def test_thin_structures_get_a_threshold_only(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    light = np.zeros((96, 96))
    light[8::16], light[:, 8::16] = 1, 1
    light = ndimage.gaussian_filter(light, 1)
    tifffile.imwrite("net.tif", (1000 * light / light.max()).astype(np.uint16))
    tifffile.imwrite("net_labels.tif", (light > 0.3 * light.max()).astype(np.uint8))
    labelled = table("labelled.csv", raw="net.tif", seg1="net_labels.tif")
    words = ["predict", "checkpoint=model.ckpt", "input=net.tif", f"calibrate={labelled}"]
    assert main([*words, "output=out"]) == 0
    assert "calibrated on 1 labelled image(s): threshold" in capsys.readouterr().err
    chosen = settings_of("out")["postprocess"]
    assert isinstance(chosen["threshold"], float) and chosen["grow_um"] == "tuned"


def test_a_model_that_knows_sizes_learns_that_of_the_labels(folder: Path) -> None:
    content = torch.load("model.ckpt", weights_only=True)
    content["hyper_parameters"]["image"]["object_diameter_px"] = [30, 60]
    torch.save(content, "model.ckpt")
    labelled = table("labelled.csv", raw="a.tif", seg1="a_labels.tif")
    words = ["predict", "checkpoint=model.ckpt", "input=b.tif", f"calibrate={labelled}"]
    assert main([*words, "output=out"]) == 0
    area = np.bincount(read_labels("a_labels.tif").ravel())[1]
    expected = 2 * np.sqrt(area / np.pi)
    assert settings_of("out")["reading"]["object_diameter_um"] == pytest.approx(expected, rel=0.01)


def test_the_objects_that_are_scored_are_those_that_predict_makes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load("model.ckpt", weights_only=True)
    image = content["hyper_parameters"]["image"]
    image |= {"object_diameter_px": [30, 60], "tuned": {"threshold": 0.5}}
    torch.save(content, "model.ckpt")
    y, x = np.ogrid[:96, :200]
    # pairs of discs: with seeds smoothed by 1 pixel two objects, by a tenth of the diameter one
    body = np.zeros((96, 200), bool)
    for cy in (24, 72):
        for cx in (30, 130):
            for shift in (-10, 10):
                body |= (y - cy) ** 2 + (x - cx - shift) ** 2 < 14**2
    labels = ndimage.label(body)[0]
    tifffile.imwrite("lobed.tif", (1000 * body).astype(np.uint16))
    tifffile.imwrite("lobed_labels.tif", labels.astype(np.uint16))
    labelled = table("labelled.csv", raw="lobed.tif", seg1="lobed_labels.tif")
    words = ["predict", "checkpoint=model.ckpt", "input=lobed.tif", f"calibrate={labelled}"]
    assert main([*words, "output=out"]) == 0
    assert "ap_50 1, seg 1" in capsys.readouterr().err
    found = read_labels(next(Path("out/labels").iterdir()))
    assert len(np.unique(found)) - 1 == labels.max() == 4
    assert main([*words, "postprocess.seed_smoothing=1", "output=split"]) == 0
    assert "ap_50 1" not in capsys.readouterr().err
    assert len(np.unique(read_labels(next(Path("split/labels").iterdir())))) - 1 > 4


def test_one_object_changes_nothing_unless_much_is_gained(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load("model.ckpt", weights_only=True)
    content["hyper_parameters"]["image"]["tuned"] = {"threshold": 0.5}
    torch.save(content, "model.ckpt")
    image = tifffile.imread("a.tif")[:32, :32]
    tifffile.imwrite("one.tif", image)
    tifffile.imwrite("one_labels.tif", (image > 505).astype(np.uint16))
    labelled = table("labelled.csv", raw="one.tif", seg1="one_labels.tif")
    words = ["predict", "checkpoint=model.ckpt", "input=one.tif", f"calibrate={labelled}"]
    assert main([*words, "output=out"]) == 0
    assert settings_of("out")["postprocess"]["threshold"] == 0.5
    said = capsys.readouterr().err
    assert "threshold 0.5, grow_um 0" in said and "the watershed stays" in said


@pytest.mark.parametrize(
    ("cells", "words", "message"),
    [
        ({"raw": "a.tif"}, [], "no seg1"),
        ({"raw": "a.tif", "seg1": "none.tif"}, [], "none.tif"),
        ({"raw": "a.tif", "seg1": "small.tif"}, [], "small.tif: shape (50, 50) but raw (a.tif) is"),
        ({"raw": "a.tif", "seg1": "empty.tif"}, [], "hold no labelled object"),
        ({"raw": "a.tif", "seg1": "a_labels.tif"}, ["reprocess=a.tif"], "exclude each other"),
    ],
)
def test_tables_without_usable_labels_are_refused(
    cells: dict[str, str],
    words: list[str],
    message: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tifffile.imwrite("small.tif", np.ones((50, 50), np.uint16))
    tifffile.imwrite("empty.tif", np.zeros((96, 96), np.uint16))
    labelled = table("labelled.csv", **cells)
    given = words or ["checkpoint=model.ckpt", "input=b.tif"]
    assert main(["predict", *given, f"calibrate={labelled}", "output=out"]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(Path("out").glob("labels*"))


def test_all_labelled_images_that_cannot_be_read_are_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite("small.tif", np.ones((50, 50), np.uint16))
    Path("two.csv").write_text("id,raw,seg1\na,a.tif,small.tif\nb,b.tif,none.tif\n")
    words = ["predict", "checkpoint=model.ckpt", "input=b.tif", "calibrate=two.csv", "output=out"]
    assert main(words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "calibrate=two.csv: 2 problems" in said
    assert "small.tif: shape (50, 50)" in said and "none.tif: no such file" in said
