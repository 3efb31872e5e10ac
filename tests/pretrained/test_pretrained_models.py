"""The models that ship: they load as data, find nuclei of several sizes, start a training."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import cytoloop.configs
import numpy as np
import pytest
import tifffile
import yaml
from mlflow import MlflowClient

import cytoloop
from cytoloop.__main__ import main
from cytoloop.errors import ImageError, ModelError
from cytoloop.evaluation.counts.matching import match_instances
from cytoloop.evaluation.counts.objects import instance_counts
from cytoloop.evaluation.metrics import instance_scores
from cytoloop.model.checkpoint import build_network, read_checkpoint
from cytoloop.pretrained.shipped import find_shipped, model_card, shipped_models
from cytoloop.synthesis.image import SyntheticImage, draw_image
from cytoloop.synthesis.settings import SynthesisSettings

CONFIGS = Path(cytoloop.configs.__file__).parent / "synthesis"
MAX_BYTES = 6_000_000
MODELS = ("nuclei_2d", "nuclei_3d")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection can be made."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def drawn(name: str, seed: int, diameter: float, **changed: Any) -> SyntheticImage:
    """Return a synthetic image that no training saw, with nuclei of a diameter in pixels."""
    values = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    size = {"object_diameter_um": (diameter / 2,) * 2, "photons": (60, 60), "crowding": (0.1, 0.1)}
    settings = replace(SynthesisSettings.from_config(values), **{**size, **changed})
    return draw_image(settings, seed, 100_000)


def f1(truth: np.ndarray, found: np.ndarray) -> float:
    matching = match_instances(truth, found, np.ones(truth.shape, bool))
    return instance_scores(instance_counts(matching))["f1_50"]


@pytest.mark.parametrize("name", MODELS)
def test_a_shipped_model_is_small_and_has_a_card(name: str) -> None:
    assert name in shipped_models()
    path = find_shipped(f"pretrained:{name}")
    assert path.stat().st_size < MAX_BYTES
    checkpoint = read_checkpoint(path)
    build_network(checkpoint)
    assert checkpoint.image["spacing_um"] is None
    card = model_card(f"pretrained:{name}")
    for part in ("BSD-3-Clause", "Trained on", "Where it fails", "Scores", "Sittings"):
        assert part in card


def test_a_model_that_does_not_ship_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((32, 32), np.uint16))
    with pytest.raises(ModelError, match="Did you mean pretrained:nuclei_3d"):
        find_shipped("pretrained:nuclei3d")
    assert main(["predict", "checkpoint=pretrained:cells", f"input={tmp_path}/a.tif"]) == 2
    assert "expected one of nuclei_2d, nuclei_3d" in " ".join(capsys.readouterr().err.split())


def test_nuclei_are_found_without_a_label() -> None:
    picture = drawn("nuclei_2d", 1, 20, shape=(128, 128))
    found = cytoloop.predict(picture.raw, "pretrained:nuclei_2d")
    assert f1(picture.labels, found.labels) > 0.7
    scores = []
    for seed in range(1, 5):  # a small stack has few nuclei
        stack = drawn("nuclei_3d", seed, 16, shape=(20, 64, 64), anisotropy=(2, 2))
        found = cytoloop.predict(stack.raw, "pretrained:nuclei_3d", spacing_um=stack.spacing_um)
        scores.append(f1(stack.labels, found.labels))
    assert np.mean(scores) > 0.6, scores


def test_large_nuclei_are_found_when_their_size_is_measured_or_stated() -> None:
    picture = drawn("nuclei_2d", 3, 90, shape=(360, 360))
    scores = {
        size: f1(
            picture.labels,
            cytoloop.predict(
                picture.raw, "pretrained:nuclei_2d", object_diameter_um=size
            ).labels,
        )
        for size in (None, "none", 90)
    }  # fmt: skip
    assert scores[None] > 0.7  # measured
    assert scores[90] > 0.7
    assert scores[None] > scores["none"]


@pytest.mark.parametrize("stated", [0.5, 5000])
def test_a_diameter_that_no_object_of_the_image_can_have_is_refused(stated: float) -> None:
    picture = drawn("nuclei_2d", 3, 20, shape=(96, 96))
    with pytest.raises(ImageError, match=rf"={stated:g} is {stated:g} pixels, expected 2 to 192"):
        cytoloop.predict(picture.raw, "pretrained:nuclei_2d", object_diameter_um=stated)


def test_voxels_without_a_value_are_told_of_once_also_where_size_is_measured(
    caplog: pytest.LogCaptureFixture,
) -> None:
    picture = drawn("nuclei_2d", 3, 20, shape=(200, 200))
    raw = picture.raw.astype(np.float32)
    raw[90:110, 90:110] = np.nan
    cytoloop.predict(raw, "pretrained:nuclei_2d")
    told = [one.getMessage() for one in caplog.records if "NaN" in one.getMessage()]
    assert told == ["array: 400 of 40000 values are NaN, infinite or huge, and do not count"]
    raw = np.full((400, 400), np.nan, np.float32)  # the middle, where size is measured, is empty
    raw[:20, :200] = picture.raw[:20]
    assert not cytoloop.predict(raw, "pretrained:nuclei_2d").labels[40:].any()


@pytest.mark.slow
def test_a_recipe_trains_from_its_shipped_model(
    project: Path, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["synthesize", "synthesis=nuclei_2d", "number=4", "synthesis.shape=[64,64]"]
    assert main([*words, "synthesis.object_diameter_um=[8,10]", "output=images"]) == 0
    words = ["curate", "raw=images/raw", "seg1=images/seg", "valid=0.25", "test=0"]
    assert main([*words, "split.leakage=allow", "output=dataset"]) == 0
    short = ["data.patch_size=[32,32]", "data.batch_size=1", "data.steps_per_epoch=1"]
    words = ["train", "experiment=nuclei_2d", "data.path=dataset", "trainer.max_epochs=1"]
    assert main([*words, *short, "output=run", "tune=false"]) == 0
    run = MlflowClient(store).get_run((project / "run/run_id").read_text().strip())
    assert run.data.tags["cytoloop.parent_model"] == "pretrained:nuclei_2d"
    assert main(["history", f"checkpoint=runs:/{run.info.run_id}"]) == 0
    assert "starts from pretrained:nuclei_2d" in capsys.readouterr().out
    assert main(["models", "show", "checkpoint=pretrained:nuclei_2d"]) == 0
    assert "Where it fails" in capsys.readouterr().out
    before = read_checkpoint(find_shipped("pretrained:nuclei_2d")).weights
    after = read_checkpoint("run/checkpoints/best.ckpt").weights
    name = next(k for k in before if k.endswith("conv.weight"))
    assert np.abs((after[name] - before[name]).numpy()).max() < 0.05
    words = ["models", "export", "checkpoint=pretrained:nuclei_2d", "output=exported"]
    assert main(words) == 0
    assert Path("exported/best_model.pth").is_file()


def test_noise_has_no_size(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    noise = np.random.default_rng(1).poisson(20, (96, 96)).astype(np.uint16)
    cytoloop.predict(noise, "pretrained:nuclei_2d")
    assert "could not be measured" in caplog.text
