from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Timer
from monai.networks.nets import DynUNet
from omegaconf import OmegaConf

from cytoloop.errors import ConfigError
from cytoloop.model.heads import Head
from cytoloop.model.losses import DiceCELoss, DistanceLoss
from cytoloop.model.module import SegmentationModule
from cytoloop.training.prepare import dry_run


class Gain(torch.nn.Module):
    """A network whose logits are the image, times a weight that starts at 1."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image * self.gain


def make_module(network: Any = None, image: Any = None, **kwargs: Any) -> SegmentationModule:
    return SegmentationModule(
        backbone=network or Gain(),
        task_heads={"seg": Head(DiceCELoss())},
        inferer=lambda image, network: network(image),
        image=image or {"spatial_dims": 2},
        **kwargs,
    )


def validate(image: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> dict[str, float]:
    module = make_module()
    logged: dict[str, float] = {}
    module.log_dict = lambda scores, **_: logged.update(  # type: ignore[method-assign]
        {k: float(v) for k, v in scores.items()}
    )
    module.validation_step({"image": image, "target": target, "weight": weight}, 0)
    return logged


@pytest.mark.parametrize("loss_weights", [(1.0, 1.0), (3.0, 1.0), (0.0, 2.0)])
def test_loss_weights_of_heads_scale_loss_and_gradient(loss_weights: tuple[float, float]) -> None:
    torch.manual_seed(0)
    module = make_module(
        torch.nn.Conv2d(1, 2, 1), {"spatial_dims": 2, "heads": ["class_a", "class_b"]}
    )
    first, second = loss_weights
    heads = {"class_a": Head(DiceCELoss(), first), "class_b": Head(DiceCELoss(), second)}
    module.task_heads = torch.nn.ModuleDict(heads)
    image = torch.randn(2, 1, 8, 8)
    target = (torch.rand(2, 2, 8, 8) > 0.5).float()
    batch = {"image": image, "target": target, "weight": torch.ones(2, 1, 8, 8)}
    found = module.losses(module(image), batch)
    losses = [found["class_a"], found["class_b"]]
    weight = module.backbone.weight
    gradients = [torch.autograd.grad(loss, weight, retain_graph=True)[0] for loss in losses]
    total = torch.autograd.grad(found["loss"], weight)[0]
    torch.testing.assert_close(found["loss"], first * losses[0] + second * losses[1])
    torch.testing.assert_close(total, first * gradients[0] + second * gradients[1])


@pytest.mark.parametrize("heads", [["foreground"], ["foreground", "distance"]])
def test_training_logs_losses_and_dice(heads: list[str]) -> None:
    module = SegmentationModule(
        backbone=Gain(),
        task_heads={name: Head(DiceCELoss()) for name in heads},
        inferer=None,
        image={"spatial_dims": 2, "heads": heads},
    )
    logged: dict[str, float] = {}
    module.log_dict = lambda found, **_: logged.update(found)  # type: ignore[method-assign]
    module.log = lambda name, value, **_: logged.update({name: value})  # type: ignore[assignment,method-assign]
    ones = torch.ones(1, len(heads), 4, 4)
    module.training_step({"image": ones, "target": ones, "weight": ones[:, :1]}, 0)
    logged |= module.epoch_means.means()  # logged at the end of the epoch
    parts = {f"train/loss_{name}" for name in heads} if len(heads) > 1 else set()
    assert set(logged) == {"train/loss", "train/loss_step", "train/dice", *parts}
    assert logged["train/dice"] == 1


def test_validation_scores_ignore_excluded_voxels() -> None:
    image = torch.tensor([[[[5.0, 5, -5, -5], [5, -5, 5, 5]]]])
    target = torch.tensor([[[[1.0, 0, 0, 0], [1, 1, 0, 0]]]])
    weight = torch.tensor([[[[1.0, 1, 1, 1], [1, 1, 0, 0]]]])
    scores = validate(image, target, weight)
    assert scores["val/dice"] == pytest.approx(2 * 2 / (3 + 3))
    assert scores["val/iou"] == pytest.approx(2 / 4)
    image[..., 1, 2:] = -9
    assert validate(image, target, weight) == scores


@pytest.mark.parametrize("excluded", ["plane", "region"])
@pytest.mark.parametrize("head", ["seg", "distance", "contour"])
def test_excluded_voxels_change_the_loss_of_no_head(head: str, excluded: str) -> None:
    heads = {"seg": DiceCELoss(), "distance": DistanceLoss(), "contour": DistanceLoss(power=2.0)}
    module = SegmentationModule(
        backbone=Gain(),
        task_heads={name: Head(loss) for name, loss in heads.items()},
        inferer=lambda image, network: network(image),
        image={"spatial_dims": 3, "heads": ["foreground", "distance", "contour"]},
    )
    weight = torch.ones(1, 1, 3, 4, 4)
    weight[(..., 1, slice(None), slice(None)) if excluded == "plane" else (..., slice(2, 4))] = 0
    counted = (weight > 0).expand(1, 3, 3, 4, 4)
    target = torch.rand(1, 3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    target[:, 0] = target[:, 0].round()
    number, found = list(heads).index(head), []
    for hidden in (0.0, 50.0, float("nan")):
        image = torch.linspace(-2, 2, target.numel()).reshape(target.shape)
        image = torch.where(counted, image, torch.tensor(hidden)).requires_grad_()
        wrong = torch.where(counted, target, 1 - target)
        logits = {name: image[:, n : n + 1] for n, name in enumerate(heads)}
        losses = module.losses(logits, {"target": wrong, "weight": weight})
        losses[head].backward()
        assert image.grad is not None and not image.grad[~counted].any()
        assert image.grad[:, number][counted[:, number]].all()
        found.append((float(losses[head].detach()), image.grad))
    assert all(loss == found[0][0] and torch.equal(g, found[0][1]) for loss, g in found)


def test_scores_are_1_if_there_is_nothing_to_find_and_nothing_is_found() -> None:
    zeros = torch.zeros(1, 1, 4, 4)
    scores = validate(zeros - 5, zeros, zeros + 1)
    assert scores["val/dice"] == scores["val/iou"] == 1


def test_the_keys_of_a_checkpoint_are_those_of_cytodl() -> None:
    module = make_module()
    assert list(module.state_dict()) == ["backbone.gain"]
    checkpoint: dict[str, Any] = {}
    module.on_save_checkpoint(checkpoint)
    assert checkpoint["cytoloop"]["schema"] == 1


def test_configs_are_built_and_kept_as_plain_hyperparameters() -> None:
    """CytoDL and our own fit pass the raw configs: ``instantiate(..., _recursive_=False)``."""
    head = {"_target_": "cytoloop.model.heads.Head", "loss_weight": 2.0}
    cfg = OmegaConf.create(
        {
            "_target_": "cytoloop.model.module.SegmentationModule",
            "backbone": {
                "_target_": "monai.networks.nets.DynUNet",
                "spatial_dims": "${model.image.spatial_dims}",
                "in_channels": 1,
                "out_channels": 1,
                "kernel_size": [3, [1, 3], 3],
                "strides": [1, 2, [1, 2]],
                "upsample_kernel_size": [2, [1, 2]],
                "filters": [4, 4, 4],
            },
            "task_heads": {
                "seg": {**head, "loss": {"_target_": "cytoloop.model.losses.DiceCELoss"}}
            },
            "inferer": {
                "_target_": "cytoloop.model.windows.WholeImageInferer",
                "patch_size": [16, 16],
            },
            "image": {"spatial_dims": 2, "heads": ["foreground"]},
            "optimizer": {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.5},
            "lr_scheduler": {
                "_target_": "torch.optim.lr_scheduler.StepLR",
                "_partial_": True,
                "step_size": 1,
            },
        }
    )
    module = instantiate(OmegaConf.create({"model": cfg}).model, _recursive_=False)
    assert module(torch.zeros(1, 1, 16, 16))["seg"].shape == (1, 1, 16, 16)
    assert module.head("seg").loss_weight == 2
    assert isinstance(module.configure_optimizers()["optimizer"], torch.optim.SGD)
    kept = dict(module.hparams)
    backbone = kept["backbone"]
    assert type(backbone) is dict and type(backbone["strides"][2]) is list
    assert backbone["spatial_dims"] == 2 and backbone["_target_"].endswith("DynUNet")
    assert kept["image"] == {"spatial_dims": 2, "heads": ["foreground"]}
    options = {"compile": False, "channels_last": "auto", "layer_decay": 1.0}
    assert {name: kept[name] for name in options} == options
    assert all(name.startswith("backbone.") for name in module.state_dict())


def test_other_schedulers_are_stepped_after_each_step() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.4)
    module = make_module()
    for _ in range(2):
        module.lr_scheduler_step(torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5), None)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_the_spent_budget_is_the_larger_fraction_of_minutes_and_steps() -> None:
    module = make_module()
    timer = Timer(duration="00:00:10:00")
    timer._offset = 300
    trainer = SimpleNamespace(
        callbacks=[timer], estimated_stepping_batches=math.inf, global_step=70
    )
    module._trainer = trainer  # type: ignore[assignment]
    assert module.budget_spent() == pytest.approx(0.5)
    trainer.estimated_stepping_batches = 100
    assert module.budget_spent() == pytest.approx(0.7)


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("dims", [2, 3])
def test_the_memory_format_does_not_change_the_output(dims: int, norm: str) -> None:
    image = torch.rand(1, 2, *[8] * dims)
    on_cpu = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cpu")))
    outputs, channels_last = [], []
    for wanted in (False, True, "auto"):
        torch.manual_seed(0)
        network = DynUNet(
            dims, 2, 1, [3, 3, 3], [1, 2, 2], [2, 2], filters=[16, 16, 16], norm_name=norm
        )
        module = make_module(network, {"spatial_dims": dims}, channels_last=wanted)
        module._trainer = on_cpu  # type: ignore[assignment]
        module.setup("fit")
        outputs.append(module(image)["seg"])
        channels_last.append(network.bottleneck.conv1.conv.weight.stride()[1] == 1)
    assert channels_last == [False, True, norm == "batch"]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(outputs[0], outputs[2], rtol=1e-5, atol=1e-4)


def test_compiling_is_refused_where_nothing_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(function: Any) -> Any:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", failing)
    with pytest.raises(ConfigError, match="this machine cannot compile: no compiler"):
        dry_run._check_compiler()
