"""`classes=` in a config: the heads that it makes, and the truth that it wants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from omegaconf import OmegaConf

from cytoloop.errors import ConfigError, ManifestError
from cytoloop.manifest import read_dataset, write_manifest
from cytoloop.training.prepare.classes import (
    check_background,
    check_truth,
    image_cache_of,
    set_class_heads,
)
from cytoloop.training.prepare.dataset import DatasetFacts, read_checked_dataset


def composed(*words: str) -> Any:
    from hydra import compose, initialize_config_module

    with initialize_config_module("cytoloop.configs", version_base="1.3"):
        return compose("train", ["data.path=x", *words])


def test_classes_make_a_head_each_with_the_loss_of_the_config() -> None:
    loss = "model.task_heads.seg.loss._target_=cytoloop.model.losses.FocalLoss"
    cfg = composed("model=semantic", "classes=[nucleus,spindle]", loss)
    cfg = set_class_heads(cfg)
    heads = ["class_nucleus", "class_spindle"]
    assert list(cfg.model.task_heads) == cfg.model.image.heads == cfg.data.heads == heads
    assert cfg.model.backbone.out_channels == 2
    assert all(h.loss._target_.endswith("FocalLoss") for h in cfg.model.task_heads.values())
    assert image_cache_of(cfg).classes
    cfg = composed("model=semantic", "classes=3")
    cfg = set_class_heads(cfg)
    assert cfg.data.heads == ["class_c1", "class_c2", "class_c3"]


def test_a_class_may_count_more_than_another() -> None:
    cfg = composed("model=semantic", "classes=[a,b]", "+model.task_heads.class_b.loss_weight=3")
    cfg = set_class_heads(cfg)
    assert list(cfg.model.task_heads) == ["class_a", "class_b"]
    assert (
        cfg.model.task_heads.class_b.loss_weight == 3
        and "loss_weight" not in cfg.model.task_heads.class_a
    )
    assert cfg.model.task_heads.class_b.loss == cfg.model.task_heads.class_a.loss
    cfg = composed("model=semantic", "classes=[a,b]", "+model.task_heads.class_c.loss_weight=3")
    with pytest.raises(ConfigError, match="class_c: no such class"):
        set_class_heads(cfg)


@pytest.mark.parametrize("model", ["unet", "instance"])
def test_other_models_are_left_as_they_are(model: str) -> None:
    cfg, same = composed(f"model={model}"), composed(f"model={model}")
    cfg = set_class_heads(cfg)
    assert OmegaConf.to_container(cfg.model) == OmegaConf.to_container(same.model)
    assert not image_cache_of(cfg).classes
    with pytest.raises(ConfigError, match="this model does not learn classes"):
        set_class_heads(composed(f"model={model}", "classes=[a,b]"))


def test_a_model_of_classes_wants_them() -> None:
    with pytest.raises(ConfigError, match="model=semantic needs the names"):
        set_class_heads(composed("model=semantic"))
    with pytest.raises(ConfigError, match="'a b' is not a valid name"):
        set_class_heads(composed("model=semantic", "classes=['a b',c]"))


def test_truth_of_objects_is_refused_for_classes(images_2d: Path) -> None:
    for split, numbers in (("train", (0, 1)), ("valid", (2,))):
        rows = [{"id": f"i{n}", "raw": f"raw/img_{n}.tif", "seg1": f"seg/img_{n}.tif"}
                for n in numbers]  # fmt: skip
        write_manifest(images_2d / f"{split}.csv", rows)
    cfg = composed("model=semantic", "classes=2", f"paths.cache_dir={images_2d}/store")
    cfg.data.path = str(images_2d)
    cfg = set_class_heads(cfg)
    with pytest.raises(ManifestError, match="look like ids of objects"):
        check_truth(cfg, read_dataset(images_2d))
    check_truth(composed(), {})  # foreground is learned of anything


@pytest.mark.parametrize("model", ["unet", "instance"])
def test_labels_without_background_are_refused_for_foreground_alone(
    model: str, images_2d: Path
) -> None:
    for split, numbers in (("train", (0, 1)), ("valid", (2,))):
        rows = [{"id": f"i{n}", "raw": f"raw/img_{n}.tif", "seg1": f"seg/img_{n}.tif"}
                for n in numbers]  # fmt: skip
        write_manifest(images_2d / f"{split}.csv", rows)
    cfg = composed(f"model={model}")
    facts = read_checked_dataset(images_2d)[1]
    assert facts.least_foreground < 0.9
    check_background(cfg, facts)
    for number in (0, 1):
        path = images_2d / "seg" / f"img_{number}.tif"
        tifffile.imwrite(
            path, np.kron(np.arange(1, 57).reshape(8, 7), np.ones((6, 8))).astype("u2")
        )
    facts = read_checked_dataset(images_2d)[1]
    if model == "instance":
        check_background(cfg, facts)
    else:
        with pytest.raises(ManifestError, match="cover every training image(.|\n)*model=instance"):
            check_background(cfg, facts)
    check_background(cfg, DatasetFacts(("c",), {}, None))
