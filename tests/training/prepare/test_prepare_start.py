"""A recipe starts from its shipped model where that fits, and says why where it does not."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hydra import compose, initialize_config_module

from cytoloop.training.prepare.dataset import DatasetFacts
from cytoloop.training.prepare.start import with_start

STACK = (16, 64, 64)


def config(*words: str) -> Any:
    with initialize_config_module("cytoloop.configs", version_base="1.3"):
        return compose("train", ["data.path=x", "output=x", *words])


def facts(shape: tuple[int, ...]) -> DatasetFacts:
    return DatasetFacts(("0",), {"a": shape}, None)


@pytest.mark.parametrize(("recipe", "shape"), [("nuclei_3d", STACK), ("nuclei_2d", (64, 64))])
def test_a_recipe_starts_from_its_shipped_model(recipe: str, shape: tuple[int, ...]) -> None:
    assert with_start(config(f"experiment={recipe}"), facts(shape)).init_from == (
        f"pretrained:{recipe}"
    )
    for words in ("init_from=none", "init_from=null"):
        cfg = config(f"experiment={recipe}", words)
        assert with_start(cfg, facts(shape)).init_from is None
    cfg = config(f"experiment={recipe}", "init_from=runs:/1")
    assert with_start(cfg, facts(shape)).init_from == "runs:/1"


@pytest.mark.parametrize(
    ("words", "shape", "why"),
    [
        ((), (64, 64), "trained on 3D images, these are 2D (experiment=nuclei_2d)"),
        ((), (4, 64, 64), "too small"),
        (("layers=3",), STACK, "layers=3, the model has 4"),
        (("model/size=small",), STACK, "features=8, the model has 16"),
        (("model.backbone.filters=[4,8]",), STACK, "states model.backbone.filters"),
        (("model/network=unetplusplus",), STACK, "another class"),
        (("normalization=zscore",), STACK, "normalization=zscore"),
        (("plan=plan.yaml",), STACK, "states the network"),
    ],
)
def test_a_model_that_does_not_fit_is_left_out_and_the_log_says_why(
    caplog: pytest.LogCaptureFixture, words: tuple[str, ...], shape: tuple[int, ...], why: str
) -> None:
    caplog.set_level(logging.INFO)
    cfg = config("experiment=nuclei_3d", *words)
    assert with_start(cfg, facts(shape)).init_from is None
    assert why in caplog.text


def test_other_recipes_start_from_scratch() -> None:
    assert with_start(config("experiment=auto"), facts(STACK)).init_from is None
    assert with_start(config("experiment=auto", "init_from=auto"), facts(STACK)).init_from is None
