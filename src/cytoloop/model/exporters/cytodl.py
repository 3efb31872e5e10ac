"""Exporter of CytoDL experiments: ``train_config.yaml`` and a checkpoint, as Segmenter ML has them.

The config is composed from CytoDL's own (``experiment=im2im/segmentation_plugin``). The checkpoint
is saved by Lightning from CytoDL's own module.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import Tensor, nn

from cytoloop.composition import separate_hydra
from cytoloop.errors import ModelError
from cytoloop.extras import INSTALL_CYTODL
from cytoloop.model.checkpoint import Checkpoint, build_network
from cytoloop.model.exporters.metadata import About
from cytoloop.model.exporters.parity import check_parity, probe_images
from cytoloop.model.exporters.round_trip import (
    check_image_settings,
    check_importable,
    foreground_alone,
    read_exported,
)
from cytoloop.terminal import quiet_libraries

log = logging.getLogger(__name__)

_CONFIG, _CHECKPOINT = "train_config.yaml", "checkpoints/epoch_000.ckpt"
_HEAD = "seg"
_NORMALIZE = "NormalizeIntensityd"


def write(checkpoint: Checkpoint, folder: Path, about: About) -> float:
    """Write an experiment folder; return 0.

    CytoDL's own module with the written weights has the same logits, bit by bit.

    Raises
    ------
    ModelError
        CytoDL is not installed, its segmentation cannot hold the network, its classes or the
        images, or a difference after the round trip.
    """
    check_importable(checkpoint, "cytodl")
    others = [str(head) for head in checkpoint.image.get("heads") or ()][1:]
    checkpoint = foreground_alone(f"format=cytodl, {checkpoint.path}", checkpoint)
    if others:
        log.warning("format=cytodl holds the foreground only; left out: %s", ", ".join(others))
    if checkpoint.image["channels"] != 1:
        raise ModelError(
            f"format=cytodl, {checkpoint.path}",
            f"has {checkpoint.image['channels']} input channels; Segmenter ML reads one channel",
            "Formats for several channels: onnx, torchscript, pt2, bioimageio, folder, pyfunc.",
        )
    cfg = _compose_config(checkpoint, about)
    OmegaConf.save(cfg, folder / _CONFIG)
    file = folder / _CHECKPOINT
    file.parent.mkdir()
    module = _build_module(cfg)
    module.load_state_dict(checkpoint.weights)
    _save_checkpoint(module, file)
    imported, network = read_exported(folder), build_network(checkpoint)
    check_image_settings(_CONFIG, checkpoint, imported)
    module = _build_module(OmegaConf.load(folder / _CONFIG))
    module.load_state_dict(torch.load(file, weights_only=True)["state_dict"])
    module.eval()

    def run(image: Tensor) -> Tensor:
        return module(image, [_HEAD])[_HEAD]

    images = probe_images(checkpoint, network)
    return check_parity(file.name, images, network, run, tolerance=0.0)


def _compose_config(checkpoint: Checkpoint, about: About) -> DictConfig:
    """Return CytoDL's segmentation config with the network and image settings of a checkpoint."""
    from hydra import compose

    image = checkpoint.image
    configs = _find_cytodl_configs()
    overrides = ["experiment=im2im/segmentation_plugin", f"spatial_dims={image['spatial_dims']}"]
    with _hydra_configs(configs):
        cfg = compose("train", overrides)
    backbone = {k: v for k, v in checkpoint.backbone.items() if k == "_target_" or k[0] != "_"}
    with open_dict(cfg):
        cfg.experiment_name = cfg.run_name = about.name
        cfg.raw_im_channels = 1
        cfg.model.backbone = backbone
        cfg.model._aux.filters = backbone.get("filters")
        cfg.data._aux.patch_shape = list(image["patch_size"])
        cfg.data.batch_size = 1  # CytoDL's prediction fails with its default, AUTO
        cfg.data.num_workers = 0
        cfg.extras.enforce_tags = cfg.extras.print_config = False
        for chain in cfg.data.transforms.values():
            _replace_normalization(chain, image["normalization"])
    return cfg


def _find_cytodl_configs() -> Path:
    """Import CytoDL, and return the folder of its configs.

    CytoDL is imported by name, because no other part of CytoLoop depends on it.

    Raises
    ------
    ModelError
        CytoDL is not installed.
    """
    try:
        package = importlib.import_module("cyto_dl.train")  # registers CytoDL's resolvers
    except ImportError as error:
        raise ModelError("format=cytodl", f"needs CytoDL: {error}", INSTALL_CYTODL) from error
    quiet_libraries()
    return Path(str(package.__file__)).parents[1] / "configs"


@contextmanager
def _hydra_configs(configs: Path) -> Iterator[None]:
    """Let Hydra compose from another config folder in the block; restore its state afterwards."""
    from hydra import initialize_config_dir

    with separate_hydra(), initialize_config_dir(str(configs), version_base="1.3"):
        yield


def _replace_normalization(chain: DictConfig, rule: Mapping[str, Any]) -> None:
    """Replace CytoDL's normalization in a chain of transforms with the one of a rule."""
    steps = OmegaConf.to_container(chain.transforms)
    replaced: list[Any] = []
    for step in steps if isinstance(steps, list) else ():
        if str(step.get("_target_", "")).endswith(_NORMALIZE):
            replaced += [{**one, "keys": step["keys"]} for one in _to_transforms(rule)]
        else:
            replaced.append(step)
    chain.transforms = replaced


def _to_transforms(rule: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the MONAI transforms that are equal to a normalization rule: one, or none."""
    ends = {"b_min": 0, "b_max": 1, "clip": False}
    transforms: dict[str, list[tuple[str, dict[str, Any]]]] = {
        "none": [],
        "zscore": [(_NORMALIZE, {"channel_wise": True})],
        "minmax": [("ScaleIntensityd", {"minv": 0, "maxv": 1, "channel_wise": True})],
        "range": [
            (
                "ScaleIntensityRanged",
                {"a_min": rule.get("minimum"), "a_max": rule.get("maximum"), **ends},
            )
        ],
        "percentile": [
            (
                "ScaleIntensityRangePercentilesd",
                {"lower": rule.get("lower"), "upper": rule.get("upper"), "channel_wise": True}
                | ends,
            )
        ],
    }
    return [
        {"_target_": f"monai.transforms.{name}", **arguments}
        for name, arguments in transforms[str(rule["method"])]
    ]


def _build_module(cfg: Any) -> nn.Module:
    """Return CytoDL's module, built from the config as `cyto_dl.train` does."""
    import hydra

    model = OmegaConf.create({**cfg})
    OmegaConf.resolve(model.model)
    with open_dict(model):
        del model.model["_aux"]
    return hydra.utils.instantiate(model.model, _recursive_=False)


def _save_checkpoint(module: nn.Module, file: Path) -> None:
    """Save the module as a complete Lightning checkpoint."""
    from lightning import LightningModule, Trainer

    if not isinstance(module, LightningModule):
        raise TypeError(f"{type(module).__name__} is not a LightningModule")
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, barebones=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.strategy.connect(module)
    trainer.save_checkpoint(file)
