"""CytoDL trains the config that `cytoloop train` completes, with the same result."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import make_images
from omegaconf import OmegaConf

from cytoloop.__main__ import main
from cytoloop.model.checkpoint import read_checkpoint

FOLDERS = ("ours", "theirs")
TRAIN_WITH_CYTODL = """
from cyto_dl.train import train
from omegaconf import OmegaConf

train(OmegaConf.load("cytodl.yaml"))
"""


@pytest.mark.slow
def test_cytodl_trains_a_recipe_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    make_images(tmp_path / "images", 5)
    assert main(["curate", "raw=images/raw", "seg1=images/seg", "output=dataset"]) == 0
    words = ["experiment=nuclei_3d", "model/size=small", "data.path=dataset", "output=ours"]
    words += ["data.patch_size=[8,32,32]", "data.batch_size=2", "data.steps_per_epoch=4"]
    words += ["trainer.max_epochs=2", "trainer.accelerator=cpu", "tune=false", "score_test=false"]
    assert main(["train", *words]) == 0

    cfg = OmegaConf.load("ours/config.yaml")
    cfg.paths.output_dir, cfg.logger = "theirs", None
    OmegaConf.save(cfg, "cytodl.yaml")
    Path("theirs").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", TRAIN_WITH_CYTODL],
        env={**os.environ, "PROJECT_ROOT": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]

    for name in ("best.ckpt", "last.ckpt"):
        ours, theirs = (read_checkpoint(f"{folder}/checkpoints/{name}") for folder in FOLDERS)
        assert (theirs.backbone, theirs.image) == (ours.backbone, ours.image)
        assert (theirs.epoch, theirs.step) == (ours.epoch, ours.step)
        assert theirs.weights.keys() == ours.weights.keys()
        assert all(torch.equal(theirs.weights[key], value) for key, value in ours.weights.items())
    words = ["input=images/raw", "accelerator=cpu", "output=predictions"]
    assert main(["predict", "checkpoint=theirs/checkpoints/best.ckpt", *words]) == 0
    assert len(list(Path("predictions/labels").glob("*.tif"))) == 5
