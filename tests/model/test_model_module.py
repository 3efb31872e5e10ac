from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch.callbacks import Timer
from monai.networks.nets import DynUNet
from omegaconf import OmegaConf
from rich.console import Console

from cytoloop.errors import ConfigError, ModelError
from cytoloop.model import hardware
from cytoloop.model.heads import Head
from cytoloop.model.losses import DiceCELoss, DistanceLoss
from cytoloop.model.module import SegmentationModule
from cytoloop.model.schedule import SHAPES, BudgetSchedule
from cytoloop.training.callbacks.data_timer import DataTimer
from cytoloop.training.callbacks.progress import Progress
from cytoloop.training.callbacks.warm_start import WarmStart
from cytoloop.training.prepare import dry_run
from cytoloop.training.prepare.complete import complete_config


class Half(torch.nn.Module):
    """A network whose logit is the image."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image * self.gain


def make_module(network: Any = None, image: Any = None, **kwargs: Any) -> SegmentationModule:
    return SegmentationModule(
        backbone=network or Half(),
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


@pytest.mark.parametrize("shares", [(1.0, 1.0), (3.0, 1.0), (0.0, 2.0)])
def test_a_heads_share_weighs_its_loss_and_its_gradient(shares: tuple[float, float]) -> None:
    torch.manual_seed(0)
    module = make_module(
        torch.nn.Conv2d(1, 2, 1), {"spatial_dims": 2, "heads": ["class_a", "class_b"]}
    )
    heads = {f"class_{n}": Head(DiceCELoss(), s) for n, s in zip("ab", shares, strict=True)}
    module.task_heads = torch.nn.ModuleDict(heads)
    image = torch.randn(2, 1, 8, 8)
    target = (torch.rand(2, 2, 8, 8) > 0.5).float()
    batch = {"image": image, "target": target, "weight": torch.ones(2, 1, 8, 8)}
    found = module.losses(module(image), batch)
    own = [found["class_a"], found["class_b"]]
    gradients = [torch.autograd.grad(one, module.backbone.weight, retain_graph=True) for one in own]
    total = torch.autograd.grad(found["loss"], module.backbone.weight)
    torch.testing.assert_close(found["loss"], shares[0] * own[0] + shares[1] * own[1])
    for one, *parts in zip(total, *gradients, strict=True):
        weighed = sum(share * part for share, part in zip(shares, parts, strict=True))
        torch.testing.assert_close(one, weighed)


def test_validation_scores_leave_out_excluded_voxels() -> None:
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
def test_no_head_learns_of_what_is_not_annotated(head: str, excluded: str) -> None:
    heads = {"seg": DiceCELoss(), "distance": DistanceLoss(), "contour": DistanceLoss(power=2.0)}
    module = SegmentationModule(
        backbone=Half(),
        task_heads={name: Head(loss) for name, loss in heads.items()},
        inferer=lambda image, network: network(image),
        image={"spatial_dims": 3, "heads": ["foreground", "distance", "contour"]},
    )
    weight = torch.ones(1, 1, 3, 4, 4)
    weight[(..., 1, slice(None), slice(None)) if excluded == "plane" else (..., slice(2, 4))] = 0
    seen = (weight > 0).expand(1, 3, 3, 4, 4)
    target = torch.rand(1, 3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    target[:, 0] = target[:, 0].round()
    number, found = list(heads).index(head), []
    for hidden in (0.0, 50.0, float("nan")):
        image = torch.linspace(-2, 2, target.numel()).reshape(target.shape)
        image = torch.where(seen, image, torch.tensor(hidden)).requires_grad_()
        wrong = torch.where(seen, target, 1 - target)
        logits = {name: image[:, n : n + 1] for n, name in enumerate(heads)}
        losses = module.losses(logits, {"target": wrong, "weight": weight})
        losses[head].backward()
        assert image.grad is not None and not image.grad[~seen].any()
        assert image.grad[:, number][seen[:, number]].all()
        found.append((float(losses[head].detach()), image.grad))
    assert all(loss == found[0][0] and torch.equal(g, found[0][1]) for loss, g in found)


def test_an_empty_image_in_which_nothing_is_found_is_right() -> None:
    zeros = torch.zeros(1, 1, 4, 4)
    scores = validate(zeros - 5, zeros, zeros + 1)
    assert scores["val/dice"] == scores["val/iou"] == 1


def test_hparams_are_plain_and_keys_are_cytodls() -> None:
    module = make_module()
    assert module.hparams["image"] == {"spatial_dims": 2}
    assert list(module.state_dict()) == ["backbone.gain"]
    checkpoint: dict[str, Any] = {}
    module.on_save_checkpoint(checkpoint)
    assert checkpoint["cytoloop"]["schema"] == 1


def make_schedule(**kwargs: Any) -> BudgetSchedule:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.4)
    return BudgetSchedule(optimizer, **kwargs)


def rates_at(schedule: BudgetSchedule, shares: Sequence[float]) -> list[float]:
    rates = []
    for spent in shares:
        schedule.spent = spent
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    return rates


def test_one_cycle_goes_up_for_a_third_and_down_to_nearly_nothing() -> None:
    from test_configs import composed

    words = {k: v for k, v in composed("train", "schedule=one_cycle").model.lr_scheduler.items()
             if not str(k).startswith("_")}  # fmt: skip
    schedule = make_schedule(**words)
    rates = rates_at(schedule, (0.0, 0.15, 0.3, 0.65, 1.0))
    middle = 0.0001 + 0.9999 / 2
    assert rates == pytest.approx([0.016, 0.4 * 0.52, 0.4, 0.4 * middle, 0.4 * 0.0001])


def test_torchs_own_schedulers_are_stepped_after_each_batch() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.4)
    module = make_module()
    for _ in range(2):
        module.lr_scheduler_step(torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5), None)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    "shape, expected",
    [
        ("cosine", [0.04, 0.22, 0.4, 0.22, 0.04]),
        ("poly", [0.04, 0.22, 0.4, 0.04 + 0.36 * 0.5**0.9, 0.04]),
        ("constant", [0.04, 0.22, 0.4, 0.4, 0.4]),
    ],
)
def test_the_rate_warms_up_and_falls_with_the_budget(shape: str, expected: list[float]) -> None:
    schedule = make_schedule(shape=shape, warmup=0.2, final=0.1)
    assert rates_at(schedule, (0.0, 0.1, 0.2, 0.6, 1.0)) == pytest.approx(expected)


@given(
    st.sampled_from(sorted(SHAPES)),
    st.floats(0, 0.99),
    st.floats(0, 1),
    st.lists(st.floats(0, 1), min_size=2, max_size=8),
)
@settings(max_examples=50)
def test_no_schedule_goes_beyond_the_highest_rate_or_up_again(
    shape: str, warmup: float, final: float, shares: list[float]
) -> None:
    schedule = make_schedule(shape=shape, warmup=warmup, final=final)
    rates = rates_at(schedule, [max(share, warmup) for share in sorted(shares)])
    assert all(0.4 * final - 1e-9 <= rate <= 0.4 + 1e-9 for rate in rates)
    assert all(later <= rate + 1e-9 for rate, later in itertools.pairwise(rates))


def test_a_schedule_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="4 problems") as caught:
        make_schedule(shape="line", warmup=1.0, start=-1, final=2)
    for part in ("shape is line", "warmup is 1.0", "start is -1", "final is 2"):
        assert part in str(caught.value)


def test_a_schedule_goes_on_from_the_state_of_one_that_had_no_shape() -> None:
    former = make_schedule()
    rates_at(former, [0.5])
    state = former.state_dict()
    for name in ("shape", "start"):
        del state[name]
    resumed = make_schedule()
    resumed.load_state_dict(state)
    assert rates_at(resumed, [0.7]) == rates_at(former, [0.7])


def test_the_budget_is_minutes_or_steps_whichever_is_nearer_its_end() -> None:
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
def test_the_memory_layout_changes_nothing_but_time(dims: int, norm: str) -> None:
    image = torch.rand(1, 2, *[8] * dims)
    on_cpu = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cpu")))
    answers, innermost = [], []
    for wanted in (False, True, "auto"):
        torch.manual_seed(0)
        network = DynUNet(
            dims, 2, 1, [3, 3, 3], [1, 2, 2], [2, 2], filters=[4, 4, 4], norm_name=norm
        )
        module = make_module(network, {"spatial_dims": dims}, channels_last=wanted)
        module._trainer = on_cpu  # type: ignore[assignment]
        module.setup("fit")
        answers.append(module(image)["seg"])
        innermost.append(network.bottleneck.conv1.conv.weight.stride()[1] == 1)
    assert innermost == [False, True, norm == "batch"]
    torch.testing.assert_close(answers[0], answers[1])
    torch.testing.assert_close(answers[0], answers[2])


@pytest.mark.parametrize(
    ("norm", "device", "faster"),
    [("batch", "cpu", True), ("batch", "cuda", False), ("instance", "cpu", False)],
)
def test_the_layout_follows_norm_and_device(norm: str, device: str, faster: bool) -> None:
    network = DynUNet(2, 1, 1, [3] * 3, [1, 2, 2], [2, 2], filters=[4] * 3, norm_name=norm)
    assert hardware.is_channels_last_faster(network, device) is faster


def test_compiling_is_refused_where_nothing_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(function: Any) -> Any:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", failing)
    with pytest.raises(ConfigError, match="nothing can be compiled on this machine: no compiler"):
        dry_run._check_compiler()


def test_precision_follows_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "has_fast_cpu_bf16", lambda: True)
    assert hardware.choose_precision("cpu") == "bf16-mixed"
    monkeypatch.setattr(hardware, "has_fast_cpu_bf16", lambda: False)
    assert hardware.choose_precision("cpu") == "32"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert hardware.choose_precision("auto") == "16-mixed"
    assert hardware.choose_precision("mps") == "32"


def config(**changes: Any) -> Any:
    return OmegaConf.create(
        {
            "spatial_dims": None,
            "in_channels": None,
            "budget_minutes": None,
            "resume": None,
            "model": {"image": {"channel_names": [], "spacing_um": None}},
            "trainer": {"precision": "32", "accelerator": "cpu", "max_epochs": 5, "max_time": None},
            "callbacks": {},
            "checkpoint": {"ckpt_path": None},
        }
        | changes
    )


FACTS: Any = SimpleNamespace(
    spatial_dims=3, channels=("DNA",), spacing_um=(2.0, 0.5, 0.5), object_voxels=50.0
)


def test_the_config_is_completed_from_the_data() -> None:
    cfg = config(budget_minutes=1.5)
    complete_config(cfg, FACTS, init_from=Path("a.ckpt"))
    assert cfg.spatial_dims == 3 and cfg.in_channels == 1
    assert cfg.model.image.spacing_um == [2.0, 0.5, 0.5]
    assert cfg.trainer.max_time == "00:00:01:30" and cfg.trainer.max_epochs == -1
    assert cfg.callbacks.warm_start.path == "a.ckpt"


def test_a_resumed_run_does_not_start_from_its_parent_again(tmp_path: Path) -> None:
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    torch.save({"state_dict": {}}, last)
    cfg = config(resume=str(tmp_path))
    complete_config(cfg, FACTS, init_from=Path("a.ckpt"))
    assert "warm_start" not in cfg.callbacks
    assert cfg.checkpoint.ckpt_path == str(last)


def test_values_that_contradict_the_data_are_refused() -> None:
    with pytest.raises(ConfigError, match="is 2 but the images have 3"):
        complete_config(config(spatial_dims=2), FACTS)


def test_targets_heads_and_channels_that_are_not_each_others_are_refused() -> None:
    model = {
        "image": {"channel_names": [], "spacing_um": None, "heads": ["foreground", "distance"]},
        "task_heads": {"seg": {}},
        "backbone": {"out_channels": 3},
    }
    with pytest.raises(ConfigError, match="3 problems") as caught:
        complete_config(config(model=model, data={"heads": ["distance", "foreground"]}), FACTS)
    for part in ("data.heads is", "task_heads has 1 heads", "out_channels is 3"):
        assert part in str(caught.value)


def test_weights_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    module = make_module()
    content = {
        "state_dict": {"backbone.gain": torch.ones(3), "backbone.other": torch.ones(1)},
        "hyper_parameters": {"backbone": {}, "image": {}},
    }
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(ModelError, match="do not fit") as caught:
        WarmStart(tmp_path / "a.ckpt").setup(SimpleNamespace(), module, "fit")  # type: ignore
    text = str(caught.value)
    assert "backbone.other: only in the checkpoint" in text
    assert "backbone.gain: shape (3,) but the network's is (1,)" in text


@pytest.mark.parametrize("mode, scores, expected", [("max", [1, 3, 2], 3), ("min", [1, 3, 0], 0)])
def test_progress_remembers_the_best_score(mode: str, scores: list[float], expected: float) -> None:
    progress = Progress("val/x", mode)
    module = make_module()
    for score in scores:
        trainer = SimpleNamespace(
            callback_metrics={"val/x": torch.tensor(score)},
            sanity_checking=False,
            max_epochs=3,
            current_epoch=0,
            global_step=1,
            callbacks=[],
            estimated_stepping_batches=10,
        )
        module._trainer = trainer  # type: ignore[assignment]
        progress.on_validation_end(trainer, module)  # type: ignore[arg-type]
    resumed = Progress("val/x", mode)
    resumed.load_state_dict(progress.state_dict())
    assert resumed._best == expected


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_bar_of_a_training_fits_the_terminal(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    console = Console(width=width, record=True, file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr("cytoloop.training.callbacks.progress.events", console)
    module = make_module()
    trainer = SimpleNamespace(
        callback_metrics={}, sanity_checking=False, max_epochs=1000, current_epoch=500,
        global_step=123456, callbacks=[], estimated_stepping_batches=200000, is_global_zero=True,
    )  # fmt: skip
    module._trainer = trainer  # type: ignore[assignment]
    progress = Progress("val/dice")
    progress.load_state_dict({"best": 0.5})
    progress.on_train_start(trainer, module)  # type: ignore[arg-type]
    progress.on_validation_start(trainer, module)  # type: ignore[arg-type]
    bar = progress._bar
    assert bar is not None
    bar.stop()
    plain = Console(width=width, record=True, file=io.StringIO(), color_system=None)
    plain.print(bar.get_renderable())
    (line,) = plain.export_text().splitlines()
    assert line.startswith("validating ") and "…" not in line and len(line.rstrip()) <= width
    assert ("epoch 501/1000" in line) == (width > 40) and ("best" in line) == (width == 120)


def test_waiting_is_the_share_of_time_between_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("cytoloop.training.callbacks.data_timer.time.perf_counter", lambda: now[0])
    wait = DataTimer()
    assert wait.share == 0
    for waited, worked in ((5, 3), (1, 3), (1, 3)):
        now[0] += waited  # before the first batch everything is started: not counted
        wait.batch_starts()
        now[0] += worked
        wait.batch_ends()
    assert wait.share == pytest.approx(2 / 11)
    wait.pause()  # a validation
    now[0] += 100
    wait.batch_starts()
    assert wait.share == pytest.approx(2 / 11)
