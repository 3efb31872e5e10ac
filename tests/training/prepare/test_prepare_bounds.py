from __future__ import annotations

import inspect
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from cytoloop.data.settings import DATA_BOUNDS, PATCH_YX, PATCH_Z
from cytoloop.errors import ConfigError
from cytoloop.model import losses
from cytoloop.training.prepare.bounds import BOUNDS, SWITCHES, check_bounds
from cytoloop.training.prepare.plan.file import CHECKS

NUMBERS = (*BOUNDS, *DATA_BOUNDS)
GOOD = {
    "features": 32,
    "layers": "auto",
    "data": {"patch_size": [16, 64, 64], "batch_size": 8, "patches_per_image": None},
    "model": {"optimizer": {"lr": 1e-3}},
    "trainer": {"max_epochs": 100, "max_steps": -1},
}


def config(key: str = "", value: Any = None) -> DictConfig:
    cfg = OmegaConf.create(GOOD)
    if key:
        OmegaConf.update(cfg, key, value)
    return cfg


@pytest.mark.parametrize("bound", NUMBERS, ids=lambda bound: bound.key)
def test_every_bound_takes_its_bounds_and_nothing_beyond(bound: Any) -> None:
    for value in (bound.low, bound.high, *bound.also):
        check_bounds(config(bound.key, value))
    step = 1 if bound.whole else 1e-9
    for value, nearest in ((bound.low - step, bound.low), (bound.high + step, bound.high)):
        if value in bound.also:
            continue
        with pytest.raises(ConfigError, match=f"{bound.key}: is .*; nearest: {nearest:.10g}"):
            check_bounds(config(bound.key, value))
    for wrong in ("many", True, [1]):
        with pytest.raises(ConfigError, match=f"{bound.key}: is .*expected a"):
            check_bounds(config(bound.key, wrong))


def heads(loss: dict, share: Any = 1.0) -> DictConfig:
    """Return a config whose second head has this loss, and that share."""
    fine = {"loss": {"_target_": "cytoloop.model.losses.DistanceLoss"}, "loss_weight": 2.0}
    return config(
        "model.task_heads", {"foreground": fine, "far": {"loss": loss, "loss_weight": share}}
    )


def own(name: str, **arguments: Any) -> dict:
    return {"_target_": f"cytoloop.model.losses.{name}", **arguments}


LOSSES = [
    (loss.__name__, bound)
    for loss in vars(losses).values()
    if inspect.isclass(loss) and loss.__module__ == losses.__name__ and loss is not losses.SumLoss
    for bound in loss.BOUNDS
]


@pytest.mark.parametrize("loss, bound", LOSSES, ids=str)
def test_every_loss_takes_its_bounds_and_nothing_beyond(loss: str, bound: Any) -> None:
    for value in (bound.low, bound.high):
        check_bounds(heads(own(loss, **{bound.key: value})))
    for value in (bound.low - 0.1, bound.high + 1, "many", None, float("nan")):
        with pytest.raises(ConfigError, match=rf"model\.task_heads\.far\.loss\.{bound.key}: is "):
            check_bounds(heads(own(loss, **{bound.key: value})))
        check_bounds(heads({"_target_": "monai.losses.DiceLoss", bound.key: value}))


def test_faults_of_added_losses_and_of_shares_are_told_at_once() -> None:
    added = {"cut": own("FocalLoss", gamma=-1), "line": own("CenterlineDiceLoss", iterations=5)}
    with pytest.raises(ConfigError) as told:
        check_bounds(heads(own("SumLoss", losses=added, loss_weights={"line": -2}), share="x"))
    text = str(told.value)
    assert "3 problems" in text
    assert "model.task_heads.far.loss.losses.cut.gamma is -1, expected 0 to 10; nearest: 0" in text
    assert (
        "model.task_heads.far.loss.loss_weights.line is -2, expected 0 to 1000; nearest: 0" in text
    )
    assert "model.task_heads.far.loss_weight is 'x', expected a number, 0 to 1000" in text


@pytest.mark.parametrize("heads", [None, 3, {"a": None}, {"a": {"loss": "abc"}}])
def test_what_is_no_head_is_left_to_what_builds_it(heads: Any) -> None:
    check_bounds(config("model.task_heads", heads))


@pytest.mark.parametrize(
    "key, values",
    [
        ("features", [32, 48, 64, 96, 128]),
        ("layers", [2, 3, 4, 5, 6]),
        ("model.optimizer.lr", [1e-5, 1e-3, 2e-3]),
        ("trainer.max_epochs", [10, 100, 500]),
        ("data.patch_size", [32, 48, 64, 96, 128, 256]),
        ("data.batch_size", [1, 2, 4, 8, 16, 32]),
        ("data.patches_per_image", [1, 50, 100]),
    ],
)
def test_default_values_and_options_of_the_segmentation_module_are_within_bounds(
    key: str, values: list
) -> None:
    for value in values:
        check_bounds(config(key, value))


@pytest.mark.parametrize(
    "key, value",
    [
        *((bound.key, None) for bound in NUMBERS if None not in bound.also),
        *((bound.key, "auto") for bound in NUMBERS if bound.key not in CHECKS),
    ],
)
def test_what_nothing_fills_in_is_neither_null_nor_auto(key: str, value: Any) -> None:
    found = "null" if value is None else repr(value)
    with pytest.raises(ConfigError, match=f"{key}: is {found}, expected a"):
        check_bounds(config(key, value))


def test_a_whole_number_is_the_nearest_of_a_fraction() -> None:
    with pytest.raises(ConfigError, match=r"features: is 30\.6, .*nearest: 31"):
        check_bounds(config("features", 30.6))


@pytest.mark.parametrize(
    "patch, fault",
    [
        (4, "is 4, expected 8 to 512; nearest: 8"),
        (600, "is 600, expected 8 to 512; nearest: 512"),
        ([4, 64, 4], "X is 4, expected 8"),
        ([0, 64, 64], "Z is 0, expected 1 to 512; nearest: 1"),
        ([64, 64.5], "X is 64.5, expected 8 to 512; nearest: 64"),
        ([1, 2, 3, 4], "expected one number, or one for each axis"),
        ("large", "is large, expected one number, or one for each axis"),
    ],
)
def test_a_patch_beyond_its_bounds(patch: Any, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        check_bounds(config("data.patch_size", patch))


def test_a_patch_may_be_auto_as_a_whole_or_along_an_axis() -> None:
    for patch in ("auto", 64, ["auto", 64, 64], [PATCH_YX.low, PATCH_YX.high], [PATCH_Z.low, 8, 8]):
        check_bounds(config("data.patch_size", patch))


@pytest.mark.parametrize("fraction", [1, -0.1, "half", True])
def test_the_replay_fraction_is_a_fraction(fraction: Any) -> None:
    with pytest.raises(ConfigError, match=r"data.replay_fraction: is .*expected a fraction"):
        check_bounds(config("data.replay_fraction", fraction))


def test_replay_fraction_and_data_set_need_each_other() -> None:
    cfg = config("data.replay_fraction", 0.3)
    with pytest.raises(ConfigError, match="data.replay_path is None; set both"):
        check_bounds(cfg)
    cfg.data.replay_path = "round0"
    check_bounds(cfg)
    cfg.data.replay_fraction = 0
    with pytest.raises(ConfigError, match="is 0 and data.replay_path is round0"):
        check_bounds(cfg)


def test_all_faults_are_reported_at_once() -> None:
    cfg = config("features", 1000)
    cfg.layers, cfg.data.batch_size, cfg.data.patch_size = 7, 0, [2, 2]
    with pytest.raises(ConfigError, match="5 problems") as caught:
        check_bounds(cfg)
    assert "layers is 7, expected 2 to 6; nearest: 6" in str(caught.value)


def test_a_normalisation_that_cannot_be_is_refused_and_the_plan_may_fill_it() -> None:
    with pytest.raises(ConfigError, match="normalization.upper: is 40, not above lower=60"):
        check_bounds(config("normalization", {"lower": 60, "upper": 40}))
    check_bounds(config("normalization", {"method": "percentile", "lower": "auto", "upper": 99}))


@pytest.mark.parametrize("key", SWITCHES)
def test_a_switch_has_the_values_that_it_names(key: str) -> None:
    own = ["auto"] if "auto" in SWITCHES[key] else []
    for value in (True, False, *own):
        check_bounds(config(key, value))
    for wrong in ("maybe", 1, "true ", *({"auto"} - {*own})):
        with pytest.raises(ConfigError, match=f"{key}: is .*expected {SWITCHES[key]}"):
            check_bounds(config(key, wrong))


def test_a_network_has_one_start() -> None:
    cfg = config("encoder_weights", "resnet18.pth")
    check_bounds(cfg)
    cfg.init_from = "runs:/1"
    with pytest.raises(ConfigError, match="encoder_weights: is given with init_from"):
        check_bounds(cfg)
