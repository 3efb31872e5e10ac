"""Parts of the user's own package: they train and travel with the model, or are refused early."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from cytoloop.__main__ import main

pytestmark = pytest.mark.slow  # whole trainings

MY_LAB = {
    "__init__.py": "",
    "nets.py": '''
import torch
from torch import nn

class MyNet(nn.Module):
    """Two convolutions; halves and doubles the image."""
    def __init__(self, spatial_dims, in_channels, out_channels, width=4, act=None):
        super().__init__()
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[spatial_dims]
        self.down = conv(in_channels, width, 3, stride=2, padding=1)
        self.act = act or nn.ReLU()
        self.up = nn.Upsample(scale_factor=2)
        self.out = conv(width, out_channels, 3, padding=1)

    def forward(self, x):
        return self.out(self.up(self.act(self.down(x))))

class FixedNet(nn.Module):
    """Takes images of 32 x 32 only."""
    def __init__(self, spatial_dims, in_channels, out_channels):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, 1, 32, 32))
        self.out = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x):
        return self.out(x + self.position)

class SmallNet(nn.Module):
    """Returns maps that are smaller than the image."""
    def __init__(self, spatial_dims, in_channels, out_channels):
        super().__init__()
        self.out = nn.Conv2d(in_channels, out_channels, 3)

    def forward(self, x):
        return self.out(x)
''',
    "parts.py": '''
import torch
from lightning import Callback
from lightning.pytorch.loggers import CSVLogger
from monai.transforms import MapTransform, RandomizableTransform
from torch import nn

def squared_error(logits, target):
    return ((logits.sigmoid() - target) ** 2).mean()

class WeightedError(nn.Module):
    def forward(self, logits, target, weight):
        return (weight * (logits.sigmoid() - target) ** 2).sum() / weight.sum().clamp(min=1)

class Roughness(nn.Module):
    """Compares neighbours."""
    def forward(self, logits, target):
        return (logits.sigmoid().diff(dim=-1) - target.diff(dim=-1)).abs().mean()

class Speckle(MapTransform, RandomizableTransform):
    def __init__(self, keys, prob=0.5, strength=0.1):
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.strength = strength

    def __call__(self, data):
        noise = torch.from_numpy(self.R.normal(0, self.strength, data["image"].shape))
        return {**data, "image": data["image"] * (1 + noise.float())}

class Brighter:
    """A plain callable of the image."""
    def __init__(self, by=0.1):
        self.by = by

    def __call__(self, image):
        return image + self.by

class Square:
    """Preparation."""
    def __init__(self, power=2.0):
        self.power = power

    def __call__(self, image):
        return image.clip(min=0) ** self.power

class Counter(Callback):
    """Counts batches, and logs a metric of its own."""
    def __init__(self, path):
        self.path, self.count = path, 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.count += 1
        pl_module.log("train/my_metric", float(self.count), on_step=False, on_epoch=True)

    def on_train_end(self, trainer, pl_module):
        with open(self.path, "w") as file:
            file.write(str(self.count))

class Precision(Callback):
    """A metric."""
    logs = ("val/precision",)

    def on_validation_batch_end(self, trainer, module, maps, batch, batch_idx):
        found = (next(iter(maps.values())) > 0.5) & (batch["weight"] > 0)
        hits = (found & (batch["target"][:, :1] > 0.5)).sum()
        module.log("val/precision", hits / found.sum().clamp(min=1), on_epoch=True, batch_size=1)

class SignDescent(torch.optim.Optimizer):
    def __init__(self, params, lr=0.01):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p -= group["lr"] * p.grad.sign()
        return loss

class Halving(torch.optim.lr_scheduler.LRScheduler):
    def __init__(self, optimizer, every=10):
        self.every = every
        super().__init__(optimizer)

    def get_lr(self):
        return [lr * 0.5 ** (self.last_epoch // self.every) for lr in self.base_lrs]

class MyLogger(CSVLogger):
    pass
''',
}
TRAIN = [
    *(
        "experiment=nuclei_2d",
        "data.path=dataset",
        "data.patch_size=[32,32]",
        "trainer.precision=32",
    ),
    *("data.batch_size=2", "data.steps_per_epoch=4", "trainer.max_epochs=2", "augmentation=light"),
]
OWN_NET = ["model.backbone._target_=my_lab.nets.MyNet", "+model.backbone.width=6"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, a data set, and the user's package my_lab."""
    from conftest import make_images, working_in, write_tiff

    folder = tmp_path_factory.mktemp("own")
    make_images(folder / "images", 5, (48, 56))
    for name, text in MY_LAB.items():
        path = folder / "code" / "my_lab" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    mask = np.zeros((48, 56), np.uint8)
    mask[:, :8] = 1
    for number in range(5):
        write_tiff(folder / "images" / "exclude" / f"img_{number}.tif", mask)
    with working_in(folder):
        words = ["curate", "raw=images/raw", "seg1=images/seg"]
        assert main([*words, "output=dataset"]) == 0
        assert main([*words, "exclude=images/exclude", "output=excluded"]) == 0
    return folder


@pytest.fixture
def project(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    from conftest import working_in

    monkeypatch.syspath_prepend(str(workspace / "code"))
    monkeypatch.setenv("PYTHONPATH", str(workspace / "code"))
    monkeypatch.delenv("CYTOLOOP_TRUST", raising=False)
    with working_in(workspace):
        yield workspace


def run(*words: str) -> int:
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    return main(list(words))


@pytest.fixture(scope="module")
def trained(workspace: Path) -> Path:
    """A training of the user's network, with everything after it."""
    from conftest import working_in

    with pytest.MonkeyPatch.context() as patch, working_in(workspace):
        patch.syspath_prepend(str(workspace / "code"))
        assert run("train", *TRAIN, *OWN_NET, "register=mine", "output=m0") == 0
    return workspace / "m0"


def test_own_network_trains_tunes_is_tested_and_registered(trained: Path, project: Path) -> None:
    log = (trained / "train.log").read_text()
    assert "trust=[my_lab]" in log  # what to add to predict
    assert "post-processing chosen" in log and "test images" in log
    content = torch.load(trained / "checkpoints/best.ckpt", weights_only=True)
    backbone = content["hyper_parameters"]["backbone"]
    assert {k: backbone[k] for k in backbone if k != "_target_"} == {
        "spatial_dims": 2, "in_channels": 1, "out_channels": 3, "width": 6
    }  # fmt: skip
    assert "CYTOLOOP_TRUST" not in os.environ


def test_file_alone_builds_no_own_network(
    trained: Path, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", f"checkpoint={trained}/checkpoints/best.ckpt", "input=images/raw"]
    sys.modules.pop("my_lab.nets", None)
    assert run(*words, "output=p0") == 2
    assert "trust=[my_lab]" in capfd.readouterr().err
    assert "my_lab.nets" not in sys.modules  # not even imported


@pytest.mark.parametrize("by", ["key", "environment"])
def test_own_network_predicts_where_it_is_trusted(
    trained: Path, project: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    words = ["predict", f"checkpoint={trained}/checkpoints/best.ckpt", "input=images/raw"]
    if by == "environment":
        monkeypatch.setenv("CYTOLOOP_TRUST", "my_lab, other")
        assert run(*words, f"output=p_{by}") == 0
    else:
        words += ["trust=[my_lab]", "workers=2"]  # the processes trust it too
        assert run(*words, f"output=p_{by}") == 0
    scores = ["evaluate", f"predictions=p_{by}/predictions.csv", "truth=dataset/train.csv"]
    assert run(*scores, f"output=e_{by}") == 0


def test_own_network_resumes_and_is_fine_tuned(trained: Path, project: Path) -> None:
    assert run("train", *TRAIN, *OWN_NET, "output=m1", "tune=false", "score_test=false") == 0
    assert run("train", "resume=m1", "trainer.max_epochs=3") == 0
    assert "epoch" in (project / "m1/train.log").read_text()
    fine = ["init_from=m0/checkpoints/best.ckpt", "output=m2", "tune=false", "score_test=false"]
    assert run("train", *TRAIN, *OWN_NET, *fine) == 0
    assert "weights loaded unchanged" in (project / "m2/train.log").read_text()


@pytest.mark.parametrize(
    ("form", "status", "found"),
    [("torchscript", 0, ""), ("onnx", 0, ""), ("pt2", 0, ""), ("bioimageio", 0, ""),
     ("folder", 2, "is a network of your own"),
     ("cytodl", 2, "is a network of your own")],
)  # fmt: skip
def test_own_network_is_exported_or_refused_in_one_sentence(
    trained: Path, project: Path, capfd: pytest.CaptureFixture[str],
    form: str, status: int, found: str,
) -> None:  # fmt: skip
    words = ["models", "export", f"checkpoint={trained}/checkpoints/best.ckpt", "trust=[my_lab]"]
    words += ["about.license=MIT", "about.authors=[Ann]"] if form == "bioimageio" else []
    assert run(*words, f"format={form}", f"output=x_{form}") == status
    assert found in capfd.readouterr().err
    assert (project / f"x_{form}").exists() == (status == 0)


OWN_PARTS = [
    "model/network=dynunet", "model/size=small", "model=unet",
    "model.task_heads.seg.loss._target_=monai.losses.DiceCELoss",
    "+model.task_heads.seg.loss.lambda_ce=0.5",
    "+augmentation.speckle={_target_: my_lab.parts.Speckle, keys: [image], prob: 1}",
    "+augmentation.brighter={_target_: my_lab.parts.Brighter, by: 0.05}",
    "preparation.steps=[{median: {radius: [1,1]}},{_target_: my_lab.parts.Square, power: 1.5}]",
    "+callbacks.counter={_target_: my_lab.parts.Counter, path: counter.txt}",
    "+callbacks.precision._target_=my_lab.parts.Precision",
    "callbacks.best.monitor=val/precision",
    "model.optimizer._target_=my_lab.parts.SignDescent", "model.optimizer.lr=0.003",
    "model.lr_scheduler._target_=my_lab.parts.Halving", "+model.lr_scheduler.every=5",
    "+logger.mine={_target_: my_lab.parts.MyLogger, save_dir: csv}",
]  # fmt: skip


def test_own_parts_train_on_data_with_excluded_voxels(project: Path) -> None:
    words = ["data.path=excluded", "output=m3"]
    assert run("train", *TRAIN, *OWN_PARTS, *words) == 0
    assert (project / "counter.txt").read_text() == "8"
    (csv,) = (project / "csv").rglob("metrics.csv")
    assert "train/my_metric" in csv.read_text().splitlines()[0]
    content = torch.load(project / "m3/checkpoints/best.ckpt", weights_only=True)
    hparams = content["hyper_parameters"]
    assert hparams["image"]["preparation"] == [
        {"median": {"radius": [1, 1]}}, {"_target_": "my_lab.parts.Square", "power": 1.5},
    ]  # fmt: skip
    assert hparams["task_heads"]["seg"]["loss"]["sigmoid"] is True
    assert next(iter(Path(".cytoloop/images").rglob("prepared_*.npy")), None) is not None
    predict = ["predict", "checkpoint=m3/checkpoints/best.ckpt", "input=images/raw"]
    assert run(*predict, "output=p3") == 2
    assert run(*predict, "output=p3", "trust=[my_lab]") == 0


def test_loss_that_needs_neighbours_is_refused_for_data_with_excluded_voxels(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    loss = ["model=unet", "model.task_heads.seg.loss._target_=my_lab.parts.Roughness"]
    words = ["train", *TRAIN, *OWN_NET, *loss, "tune=false", "score_test=false"]
    assert run(*words, "data.path=excluded", "output=m4") == 2
    assert "Roughness compares neighbouring voxels" in capfd.readouterr().err
    assert not (project / "m4" / "run_id").exists()
    assert run(*words, "output=m5") == 0
