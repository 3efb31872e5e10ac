"""An experiment of CytoDL, as Segmenter ML lists it: ``train_config.yaml`` and a checkpoint.

The config is composed of CytoDL's own (``experiment=im2im/segmentation_plugin``), the checkpoint
saved by Lightning from CytoDL's own module.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import Tensor, nn

from cytoloop.errors import ModelError
from cytoloop.model.checkpoint import Checkpoint, build_network
from cytoloop.model.exporters.metadata import About
from cytoloop.model.exporters.parity import check_same, probes
from cytoloop.model.exporters.weights_and_config import check_image, check_one_logit, read_again
from cytoloop.terminal import quiet_libraries

CONFIG, CHECKPOINT = "train_config.yaml", "checkpoints/epoch_000.ckpt"
_HEAD = "seg"
_NORMALIZE = "NormalizeIntensityd"


def write_cytodl(checkpoint: Checkpoint, folder: Path, about: About) -> float:
    """Write an experiment folder; CytoDL's own module gives the same bits from it.

    Raises
    ------
    ModelError
        A network or images that CytoDL's segmentation has no place for.
    """
    check_one_logit(checkpoint, "cytodl")
    if checkpoint.image["channels"] != 1:
        raise ModelError(
            f"format=cytodl, {checkpoint.path}",
            f"takes {checkpoint.image['channels']} channels; Segmenter ML reads one of a file",
            "onnx, torchscript, pt2, bioimageio, folder and pyfunc hold any number.",
        )
    cfg = _config(checkpoint, about)
    OmegaConf.save(cfg, folder / CONFIG)
    file = folder / CHECKPOINT
    file.parent.mkdir()
    module = _module(cfg)
    module.load_state_dict(checkpoint.weights)
    _save(module, file)
    again, network = read_again(folder), build_network(checkpoint)
    check_image(CONFIG, checkpoint, again)
    module = _module(OmegaConf.load(folder / CONFIG))
    module.load_state_dict(torch.load(file, weights_only=True)["state_dict"])
    module.eval()

    def run(image: Tensor) -> Tensor:
        return module(image, [_HEAD])[_HEAD]

    return check_same(file.name, probes(checkpoint, network), network, run, share=0.0)


def _config(checkpoint: Checkpoint, about: About) -> DictConfig:
    """Return CytoDL's config of a segmentation with this network and these images."""
    from hydra import compose

    image = checkpoint.image
    configs = _cytodl_configs()
    words = ["experiment=im2im/segmentation_plugin", f"spatial_dims={image['spatial_dims']}"]
    with _hydra_of(configs):
        cfg = compose("train", words)
    backbone = {k: v for k, v in checkpoint.backbone.items() if k == "_target_" or k[0] != "_"}
    with open_dict(cfg):
        cfg.experiment_name = cfg.run_name = about.name
        cfg.raw_im_channels = 1
        cfg.model.backbone = backbone
        cfg.model._aux.filters = backbone.get("filters")
        cfg.data._aux.patch_shape = list(image["patch_size"])
        cfg.data.batch_size = 1  # AUTO makes its prediction fail
        cfg.data.num_workers = 0
        cfg.extras.enforce_tags = cfg.extras.print_config = False
        for chain in cfg.data.transforms.values():
            _normalise(chain, image["normalization"])
    return cfg


def _cytodl_configs() -> Path:
    """Return the folder of CytoDL's configs, their resolvers registered.

    Raises
    ------
    ModelError
        CytoDL is not installed.
    """
    try:
        package = importlib.import_module("cyto_dl.train")  # registers its resolvers
    except ImportError as error:
        raise ModelError(
            "format=cytodl", f"needs CytoDL: {error}", "pip install --no-deps cyto-dl==0.6.2"
        ) from error
    quiet_libraries()
    return Path(str(package.__file__)).parents[1] / "configs"


@contextmanager
def _hydra_of(configs: Path) -> Iterator[None]:
    """Compose from other configs; the Hydra app that we run in is as before afterwards."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    former = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(configs), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = former


def _normalise(chain: DictConfig, rule: Mapping[str, Any]) -> None:
    """Put our rule in the place of CytoDL's normalisation."""
    steps = OmegaConf.to_container(chain.transforms)
    done: list[Any] = []
    for step in steps if isinstance(steps, list) else ():
        if str(step.get("_target_", "")).endswith(_NORMALIZE):
            done += [{**one, "keys": step["keys"]} for one in _transform(rule)]
        else:
            done.append(step)
    chain.transforms = done


def _transform(rule: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the transform of MONAI's that does what a rule of ours does."""
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


def _module(cfg: Any) -> nn.Module:
    """Return CytoDL's module as its own `train` builds it."""
    import hydra

    model = OmegaConf.create({**cfg})
    OmegaConf.resolve(model.model)
    with open_dict(model):
        del model.model["_aux"]
    return hydra.utils.instantiate(model.model, _recursive_=False)


def _save(module: nn.Module, file: Path) -> None:
    """Let Lightning save the module, with all that its `Trainer` asks of a checkpoint."""
    from lightning import LightningModule, Trainer

    if not isinstance(module, LightningModule):
        raise TypeError(f"{type(module).__name__} is no LightningModule")
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, barebones=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.strategy.connect(module)
    trainer.save_checkpoint(file)
