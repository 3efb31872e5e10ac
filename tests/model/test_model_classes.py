"""Heads of classes: they ignore excluded voxels and are scored over all images together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cytoloop.model.heads import Head
from cytoloop.model.losses import DiceCELoss
from cytoloop.model.module import SegmentationModule
from cytoloop.model.transfer import transfer
from cytoloop.truth.classes import class_heads

NAMES = ["nucleus", "spindle"]


class Gain(torch.nn.Module):
    """A network whose logits are the image, times a weight that starts at 1."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image * self.gain


def make_module() -> SegmentationModule:
    return SegmentationModule(
        backbone=Gain(),
        task_heads={name: Head(DiceCELoss()) for name in class_heads(NAMES)},
        inferer=lambda image, network: network(image),
        image={"spatial_dims": 2, "heads": class_heads(NAMES)},
    )


def validated(*batches: dict[str, torch.Tensor]) -> dict[str, float]:
    module = make_module()
    logged: dict[str, float] = {}
    module.log_dict = lambda scores, **_: logged.update(  # type: ignore[method-assign]
        {k: float(v) for k, v in scores.items()}
    )
    module._trainer = SimpleNamespace(world_size=1)  # type: ignore[assignment]
    module.on_validation_epoch_start()
    for number, batch in enumerate(batches):
        module.validation_step(batch, number)
    module.on_validation_epoch_end()
    return logged


def batch_of(logits: Any, classes: Any, weight: Any) -> dict[str, torch.Tensor]:
    """Return a row of voxels: logits of two classes, the true class, and the weight."""
    true = torch.tensor(classes)
    return {
        "image": torch.tensor(logits)[None, :, None].float(),
        "target": torch.stack([true == 1, true == 2])[None, :, None].float(),
        "weight": torch.tensor(weight)[None, None, None].float(),
    }


def test_the_most_probable_class_is_scored_over_all_images() -> None:
    first = batch_of([[9, 9, 2, -1, 9], [-9, 3, 4, -1, -9]], [1, 1, 2, 0, 2], [1, 1, 1, 1, 0])
    second = batch_of([[4.0, -1, 9], [-4, 1, 9]], [0, 1, 1], [1, 1, 0])
    scores = validated(first, second)
    # nucleus: 3 true, 3 predicted, 2 both; spindle: 1 true, 2 predicted, 1 both
    assert scores["val/dice_nucleus"] == pytest.approx(4 / 6)
    assert scores["val/iou_nucleus"] == pytest.approx(2 / 4)
    assert scores["val/dice_spindle"] == pytest.approx(2 / 3)
    assert scores["val/dice"] == pytest.approx((4 / 6 + 2 / 3) / 2)
    assert "val/loss_class_spindle" in scores


def test_scores_of_an_absent_class_that_is_not_predicted_are_1() -> None:
    scores = validated(batch_of([[9, -9], [-9, -9]], [1, 0], [1, 1]))
    assert scores["val/dice_spindle"] == scores["val/dice"] == 1


def test_an_image_that_another_process_scores_is_not_counted() -> None:
    first = batch_of([[9, 9, -9], [-9, -9, 9]], [1, 1, 1], [1, 1, 1])
    second = batch_of([[9], [-9]], [2], [1])
    both = validated(first, {**second, "counts": torch.tensor([False])})
    assert both["val/dice"] == validated(first)["val/dice"] != validated(first, second)["val/dice"]


class DeepSupervised(torch.nn.Module):
    """A network that returns two outputs of different sizes in training, as SegResNetDS does."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = torch.nn.Conv2d(1, 1, 1), torch.nn.Conv2d(1, 1, 2, stride=2)

    def forward(self, image: torch.Tensor) -> Any:
        return [self.fine(image), self.coarse(image)] if self.training else self.fine(image)


def test_the_coarser_output_has_half_the_weight() -> None:
    torch.manual_seed(0)
    module = SegmentationModule(
        backbone=DeepSupervised(),
        task_heads={"seg": Head(DiceCELoss())},
        inferer=lambda image, network: network(image),
        image={"spatial_dims": 2, "heads": ["foreground"]},
    )
    module.log = module.log_dict = lambda *_, **__: None  # type: ignore[assignment,method-assign]
    batch = {
        "image": torch.randn(2, 1, 8, 8),
        "target": (torch.rand(2, 1, 8, 8) > 0.5).float(),
        "weight": torch.ones(2, 1, 8, 8),
    }
    loss = module.training_step(batch, 0)["loss"]
    fine, coarse = (
        module.losses({"seg": logits}, batch)["loss"]
        for logits in (
            module.backbone.fine(batch["image"]),
            torch.nn.functional.interpolate(
                module.backbone.coarse(batch["image"]), (8, 8), mode="bilinear"
            ),
        )
    )
    torch.testing.assert_close(loss, (fine + 0.5 * coarse) / 1.5)
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in module.parameters())
    assert module.eval()(batch["image"])["seg"].shape == batch["image"].shape


def test_excluded_voxels_change_the_loss_of_no_class() -> None:
    module = make_module()
    weight = torch.ones(1, 1, 4, 4)
    weight[..., 2:] = 0
    target = torch.zeros(1, 2, 4, 4)
    target[:, 0, 0], target[:, 1, 1] = 1, 1
    found = []
    for hidden in (0.0, 50.0, float("inf")):
        image = torch.linspace(-2, 2, 32).reshape(1, 2, 4, 4).clone()
        image[..., 2:] = hidden
        image.requires_grad_()
        wrong = torch.where(weight > 0, target, 1 - target)
        logits = {name: image[:, n : n + 1] for n, name in enumerate(class_heads(NAMES))}
        losses = module.losses(logits, {"target": wrong, "weight": weight})
        losses["loss"].backward()
        assert image.grad is not None and not image.grad[..., 2:].any()
        assert image.grad[:, 0, :, :2].any() and image.grad[:, 1, :, :2].any()
        found.append((float(losses["loss"].detach()), image.grad.clone()))
    for loss, gradient in found[1:]:
        assert loss == found[0][0]
        assert torch.equal(gradient, found[0][1])


def test_classes_add_no_key_to_a_checkpoint() -> None:
    assert list(make_module().state_dict()) == ["backbone.gain"]


def test_a_class_of_both_models_keeps_its_weights() -> None:
    given = {"backbone.out.weight": torch.arange(2.0).reshape(2, 1)}
    own = {"backbone.out.weight": torch.full((3, 1), 9.0)}
    there, here = (
        {"heads": class_heads(names)} for names in (NAMES, ["spindle", "membrane", "nucleus"])
    )
    found = transfer("model", given, own, there, here).state["backbone.out.weight"]
    assert found.flatten().tolist() == [1, 9, 0]
