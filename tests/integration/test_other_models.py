"""Models of CytoDL, Segmenter ML and the Segmentation module in `predict` and `train`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets import UNet

from cytoloop.__main__ import main
from cytoloop.curation.exchange.datasets import cytodl
from cytoloop.io.read import read_image
from cytoloop.manifest import read_dataset
from cytoloop.model.checkpoint import build_network, read_checkpoint

Blobs = Callable[..., tuple[np.ndarray, np.ndarray]]
Tiff = Callable[[Path, np.ndarray], Path]


def test_prediction_with_weights_and_config_is_that_of_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiff: Tiff, blobs: Blobs
) -> None:
    monkeypatch.chdir(tmp_path)
    raw = blobs((92, 72), 6, 0)[0]  # one window
    tiff(tmp_path / "images" / "a.tif", raw)
    torch.manual_seed(0)
    network = UNet(2, 1, 1, [8, 16, 32], [2, 2], num_res_units=2).eval()
    (tmp_path / "model").mkdir()
    torch.save(network.state_dict(), tmp_path / "model" / "best_model.pth")
    config = {"architecture": "UNet", "num_features": 8, "num_layers": 3, "patch_size": 32}
    config["normalization"] = {"method": "range", "minimum": 0, "maximum": 2000}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    words = ["input=images", "accelerator=cpu", "precision=32"]
    assert main(["predict", "checkpoint=model", *words, "output=out"]) == 0
    assert main(["predict", "checkpoint=model/best_model.pth", *words, "output=again"]) == 0
    image = torch.as_tensor(raw.astype(np.float32) / 2000)[None, None]
    with torch.inference_mode():
        expected = network(image).sigmoid()[0, 0].numpy() * 255
    for folder in ("out", "again"):
        found = read_image(tmp_path / folder / "probability" / "a.ome.tif").data[0]
        assert np.ptp(expected) > 20
        assert np.abs(found - expected).max() < 0.51


def cytodl_module(checkpoint: Path) -> Any:
    """Return CytoDL's own module with the weights of a checkpoint, built from its own config."""
    import cyto_dl.train  # noqa: F401  # registers the resolvers of its configs
    import hydra
    from omegaconf import OmegaConf, open_dict

    cfg = OmegaConf.load(checkpoint.parents[1] / ".hydra" / "config.yaml")
    with open_dict(cfg):
        OmegaConf.resolve(cfg.model)
        del cfg.model._aux
    module = hydra.utils.instantiate(cfg.model, _recursive_=False)
    module.load_state_dict(torch.load(checkpoint, weights_only=True)["state_dict"])
    return module.eval()


def train_with_cytodl(folder: Path, dims: int, tiff: Tiff, blobs: Blobs) -> Path:
    """Curate, export to CytoDL, train there for one epoch; return the training folder."""
    shape = (16, 40, 44)[-dims:]
    for number in range(4):
        raw, labels = blobs(shape, 5, number)
        tiff(folder / "images" / "raw" / f"i{number}.tif", raw)
        tiff(folder / "images" / "seg" / f"i{number}.tif", labels)
    assert main(["curate", "raw=images/raw", "seg1=images/seg", "output=dataset"]) == 0
    rows = [row for manifest in read_dataset(folder / "dataset").values() for row in manifest]
    cytodl.write(folder / "cytodl", rows)
    words = [
        *("experiment=im2im/segmentation_plugin", "data.path=cytodl", f"spatial_dims={dims}"),
        *("paths.output_dir=trained", "hydra.run.dir=trained", "trainer.accelerator=cpu"),
        *("data.num_workers=0", "data.batch_size=1", "model._aux.filters=[8,16,32]"),
        *(f"data._aux.patch_shape={[16, 32, 32][-dims:]}".replace(" ", ""), "trainer.max_epochs=1"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "cyto_dl.train", *words],
        cwd=folder,
        env={**os.environ, "PROJECT_ROOT": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "trained"


@pytest.mark.slow
@pytest.mark.parametrize("dims", [2, 3])
def test_model_trained_by_cytodl_predicts_and_is_trained_further(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tiff: Tiff,
    blobs: Blobs,
    dims: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    trained = train_with_cytodl(tmp_path, dims, tiff, blobs)
    file = trained / "checkpoints" / "epoch_000.ckpt"
    checkpoint = read_checkpoint(trained)
    assert checkpoint.path == file
    patch = [16, 32, 32][-dims:]
    assert checkpoint.image["patch_size"] == patch

    module = cytodl_module(file)
    raw = read_image(tmp_path / "images" / "raw" / "i0.tif").data.astype(np.float32)
    image = torch.as_tensor((raw - raw.mean()) / raw.std())[None]
    with torch.inference_mode():
        wanted = module(image, ["seg"])["seg"]
        assert torch.equal(build_network(checkpoint)(image), wanted)

    # the plugin's experiment has its config in another place
    plugin = tmp_path / "plugin"
    shutil.copytree(trained / "checkpoints", plugin / "checkpoints")
    shutil.copy(trained / ".hydra" / "config.yaml", plugin / "train_config.yaml")
    words = ["input=images/raw", "accelerator=cpu", "precision=32"]
    for number, model in enumerate((file, trained, plugin)):
        assert main(["predict", f"checkpoint={model}", *words, f"output=out{number}"]) == 0
        found = read_image(tmp_path / f"out{number}" / "probability" / "i0.ome.tif").data[0]
        expected = wanted.sigmoid()[0, 0].numpy() * 255
        assert np.abs(found - expected).max() < 0.52

    capfd.readouterr()
    tiny = [f"data.patch_size={patch}".replace(" ", ""), "model/size=large", "trainer.precision=32"]
    tiny += ["data.batch_size=2", "data.steps_per_epoch=2", "trainer.max_epochs=1"]
    tiny += ["model=unet", "data.path=dataset", "init_from=trained"]
    assert main(["train", *tiny, "output=ours"]) == 0
    log = capfd.readouterr().err
    match = re.search(r"(\d+) weights loaded unchanged$", log, re.MULTILINE)
    assert match and int(match[1]) == len(checkpoint.weights)
    assert "features=32 is not used: the model to start from has 8" in log
