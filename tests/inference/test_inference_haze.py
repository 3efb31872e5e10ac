"""Haze: what is darker than the surroundings of an image's objects is background."""

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
from cytoloop.inference.postprocess.training_facts import TrainingFacts
from cytoloop.inference.volume_storage import VolumeStorage
from cytoloop.inference.windows import brightness as module
from cytoloop.inference.windows.brightness import brightness
from cytoloop.instances import InstanceSettings, segment
from cytoloop.instances.haze import cut_haze
from cytoloop.io.labels import read_labels
from cytoloop.io.pixels import MemoryPixels

DARK, BRIGHT, DIM = 100, 1000, 560


def scene() -> np.ndarray:
    """Return a picture (128, 128) of eight bright discs, and a dim one at (96, 96)."""
    y, x = np.indices((128, 128))
    picture = np.full((128, 128), DARK, np.uint16)
    for row in (16, 48, 96):
        for column in (16, 56, 96):
            grey = DIM if (row, column) == (96, 96) else BRIGHT
            picture[(y - row) ** 2 + (x - column) ** 2 <= 100] = grey
    return picture


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder with a picture, and a model whose probability rises with grey levels."""
    monkeypatch.chdir(tmp_path)
    save_model(channels=1)
    tifffile.imwrite("a.tif", scene())
    return tmp_path


def save_model(channels: int) -> None:
    image = {
        "spatial_dims": 2, "channels": channels, "channel_names": [], "spacing_um": None,
        "patch_size": [32, 32], "normalization": {"method": "minmax"}, "object_voxels": 100,
    }  # fmt: skip
    backbone = {
        "_target_": "torch.nn.Conv2d", "in_channels": channels, "out_channels": 1, "kernel_size": 1
    }  # fmt: skip
    content = {
        "state_dict": {
            "backbone.weight": torch.full((1, channels, 1, 1), 10.0),
            "backbone.bias": torch.tensor([-5.0]),
        },
        "hyper_parameters": {"backbone": backbone, "image": image},
        "epoch": 1,
        "global_step": 1,
    }
    torch.save(content, "model.ckpt")


def predict(output: str, *words: str) -> np.ndarray:
    """Predict or reprocess; return the labels of the only image."""
    assert main(["predict", *words, f"output={output}"]) == 0
    return read_labels(next(Path(output, "labels").iterdir()))


def row(output: str) -> dict[str, str]:
    with Path(output, "predictions.csv").open(newline="") as file:
        return next(csv.DictReader(file))


def test_dim_objects_vanish_and_stored_maps_remember_why(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["checkpoint=model.ckpt", "input=a.tif"]
    plain = predict("plain", *words)
    assert len(np.unique(plain)) == 10 and plain[96, 96]
    assert row("plain")["brightness"] == ""
    cut = predict("cut", *words, "postprocess.haze=0.95")
    assert len(np.unique(cut)) == 9 and not cut[96, 96]
    assert row("cut")["brightness"]
    mask = tifffile.imread(next(Path("cut/mask").iterdir()))
    assert mask[96, 56] and not mask[96, 96]
    # on stored maps, without the network
    again = predict("again", "reprocess=cut", "postprocess.haze=0.95")
    assert np.array_equal(again, cut)
    back = predict("back", "reprocess=cut", "postprocess.haze=0")
    assert np.array_equal(back, plain)
    capfd.readouterr()
    predict("without", "reprocess=plain", "postprocess.haze=0.95")
    told = " ".join(capfd.readouterr().err.split())
    assert "postprocess.haze: cuts nothing off, as no map of brightness is stored" in told


def test_a_stack_of_pictures_is_cut_plane_by_plane(folder: Path) -> None:
    tifffile.imwrite("stack.tif", np.stack([scene()] * 3), metadata={"axes": "ZYX"})
    words = ["checkpoint=model.ckpt", "input=stack.tif", "planes=true", "postprocess.haze=0.95"]
    labels = predict("out", *words)
    assert [len(np.unique(plane)) for plane in labels] == [9, 9, 9]
    assert not labels[:, 96, 96].any()


def test_several_channels_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(channels=2)
    tifffile.imwrite("a.tif", np.stack([scene()] * 2), metadata={"axes": "CYX"})
    words = ["predict", "checkpoint=model.ckpt", "input=a.tif", "output=out"]
    assert main(words) == 0
    capsys.readouterr()
    assert main([*words, "postprocess.haze=0.5"]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "the model takes 2 channels" in told and "Set postprocess.haze=0." in told


@pytest.mark.parametrize("images", [1, 3])
def test_several_labelled_images_choose_what_is_cut_off(folder: Path, images: int) -> None:
    discs, picture = ndimage.label(scene() > DARK)[0], scene()
    dim = discs > 5
    picture[dim] = 330
    tifffile.imwrite("a_labels.tif", np.where(dim, 0, discs).astype(np.uint16))
    lines = ["raw,seg1"]
    for name in "abc"[:images]:
        tifffile.imwrite(f"{name}.tif", picture)
        lines.append(f"{name}.tif,a_labels.tif")
    Path("labelled.csv").write_text("\n".join(lines) + "\n")
    words = ["checkpoint=model.ckpt", "input=a.tif", "calibrate=labelled.csv"]
    words += ["postprocess.threshold=0.05"]  # no other threshold separates them
    found = predict("out", *words)
    assert found[dim].any() == (images == 1)  # one image says little about others
    chosen = json.loads(next(Path("out/metadata").glob("*.json")).read_text())["settings"]
    assert chosen["postprocess"]["haze"] == (0 if images == 1 else 0.55)
    # a stated value stays
    stated = predict("stated", *words, "postprocess.haze=0.9")
    assert not stated[dim].any() and len(np.unique(stated)) == 6


def measured(picture: np.ndarray, probability: np.ndarray) -> np.ndarray:
    maps = {"probability": probability}
    pixels = MemoryPixels(picture[None].astype(np.float32), None, ["0"])
    return np.asarray(brightness(maps, pixels, TrainingFacts(), VolumeStorage()))


def test_brightness_is_half_just_outside_the_objects() -> None:
    picture = scene()
    probability = np.where(picture == BRIGHT, 255, 0).astype(np.uint8)
    found = measured(picture, probability)
    assert found.dtype == np.uint8 and np.all(found[100:, :4] == 0)
    objects = picture == BRIGHT
    rim = ~objects & (
        np.roll(objects, 1, 0) | np.roll(objects, -1, 0)
        | np.roll(objects, 1, 1) | np.roll(objects, -1, 1)
    )  # fmt: skip
    assert found[rim].mean() == pytest.approx(127.5, abs=1)
    assert found[48, 56] == 255 and 127 < found[96, 96] < 255


def test_an_image_without_objects_is_bright_everywhere() -> None:
    assert np.all(measured(scene(), np.zeros((128, 128), np.uint8)) == 255)
    flat = np.full((128, 128), 7, np.uint16)
    assert np.all(measured(flat, np.where(scene() == BRIGHT, 255, 0).astype(np.uint8)) == 255)


def test_brightness_does_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    stack = np.stack([scene()] * 6) + rng.integers(0, 50, (6, 128, 128))
    probability = np.where(stack > 900, 255, 0).astype(np.uint8)
    whole = measured(stack, probability)
    monkeypatch.setattr(module, "BLOCK_VOXELS", 6 * 64 * 64)
    blocks = measured(stack, probability)
    assert np.abs(whole.astype(int) - blocks).max() <= 1  # the dark is measured on a sample
    assert 0 < whole.mean() < 255


def test_objects_of_which_little_is_bright_vanish() -> None:
    labels = np.zeros((4, 20), np.uint8)
    labels[:, :10], labels[:, 10:] = 1, 2
    light = np.zeros((4, 20), np.uint8)
    light[:, :2], light[:, 10:14] = 255, 255  # a fifth of one object, two fifths of the other
    cut = cut_haze(labels, light, 0.5)
    assert not cut[:, :10].any() and np.array_equal(cut[0, 10:], [2] * 4 + [0] * 6)
    assert cut_haze(labels, light, 0.0) is labels


def test_blocks_give_the_same_objects_and_measurements() -> None:
    rng = np.random.default_rng(2)
    probability = np.kron(rng.random((3, 8, 8)) > 0.6, np.ones((4, 8, 8))).astype(np.float32)
    light = np.kron(rng.integers(0, 256, (3, 16, 16)), np.ones((4, 4, 4))).astype(np.uint8)
    rule = InstanceSettings(haze=0.5, seed_smoothing=0.5)
    found = [
        segment(probability, rule, block=block, brightness=light)
        for block in (None, (5, 24, 24))
    ]  # fmt: skip
    labels = [np.asarray(one) for one, _ in found]
    assert np.array_equal(labels[0], labels[1]) and labels[0].max() > 3
    for one, objects in found:
        sizes = np.bincount(np.asarray(one).ravel())[1:]
        assert objects.voxels[1:].tolist() == sizes.tolist()
    assert not labels[0][light < 127].any()
    whole, _ = segment(probability, InstanceSettings(seed_smoothing=0.5), brightness=light)
    assert np.asarray(whole)[light < 127].any()
