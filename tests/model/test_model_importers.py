"""Importers: models of other tools are read exactly, or refused with the reason."""

from __future__ import annotations

import functools
import json
import logging
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from monai.networks import nets

from cytoloop.errors import ModelError
from cytoloop.inference.postprocess.settings import PostprocessSettings
from cytoloop.inference.postprocess.skeleton_maps import label_skeleton_maps
from cytoloop.inference.postprocess.training_facts import TrainingFacts
from cytoloop.inference.settings import WindowSettings
from cytoloop.inference.windows.predictor import Predictor
from cytoloop.intensity.normalization import intensity_statistics, normalize
from cytoloop.model.checkpoint import Checkpoint, build_network, read_checkpoint
from cytoloop.model.exporters import About, export_model
from cytoloop.model.heads import Head
from cytoloop.model.losses import DiceCELoss
from cytoloop.model.module import SegmentationModule
from cytoloop.training.callbacks.warm_start import WarmStart

FILTERS = "model.backbone.filters"
SHAPES = {2: [1, 1, 40, 44], 3: [1, 1, 8, 20, 24]}


def compose(folder: Path, dims: int, *words: str) -> Any:
    """Return CytoDL's own config of an experiment, composed by Hydra."""
    import cyto_dl.train  # registers the resolvers of its configs
    from hydra import compose, initialize_config_dir

    patch = ",".join(map(str, SHAPES[dims][2:]))
    if not words or not words[0].startswith("experiment="):
        words = ("experiment=im2im/segmentation_plugin", "model._aux.filters=[4,8,8]", *words)
    given = [
        *(f"spatial_dims={dims}", f"data._aux.patch_shape=[{patch}]"),
        *(f"paths.output_dir={folder}", f"data.path={folder}", "data.num_workers=0"),
    ]
    configs = Path(cyto_dl.__file__).parents[1] / "configs"
    with initialize_config_dir(str(configs), version_base="1.3"):
        return compose("train", [*given, *words])


def make_cytodl(folder: Path, dims: int, *words: str) -> tuple[Any, Path]:
    """Return CytoDL's own module, and its experiment folder as Lightning saves it."""
    module, made = _make_cytodl(dims, words)
    shutil.copytree(made.name, folder)
    return module, folder


@functools.cache
def _make_cytodl(dims: int, words: tuple[str, ...]) -> tuple[Any, Any]:
    """Return the module, and its temporary folder."""
    import hydra
    from lightning import Trainer
    from omegaconf import OmegaConf, open_dict

    made = tempfile.TemporaryDirectory()
    folder = Path(made.name)
    cfg = compose(folder, dims, *words)
    (folder / "checkpoints").mkdir()
    OmegaConf.save(cfg, folder / "train_config.yaml")  # unresolved, as the plugin writes it
    with open_dict(cfg):
        OmegaConf.resolve(cfg.model)
        del cfg.model._aux
    torch.manual_seed(dims)
    module = hydra.utils.instantiate(cfg.model, _recursive_=False)
    for value in module.parameters():
        torch.nn.init.normal_(value, std=1.0)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(folder / "checkpoints" / "epoch_000.ckpt")
    return module.eval(), made


def edit(file: Path, **changes: Any) -> dict[str, Any]:
    """Change values of a checkpoint; None removes a key."""
    content = torch.load(file, weights_only=True)
    content |= changes
    torch.save({key: value for key, value in content.items() if value is not None}, file)
    return content


def edit_config(folder: Path, key: str, value: Any) -> None:
    """Change a value of an experiment's config; remove hyper-parameters that would hide it."""
    edit(next(folder.glob("checkpoints/*.ckpt")), hyper_parameters=None)
    config = yaml.safe_load((folder / "train_config.yaml").read_text())
    *path, last = key.split(".")
    place = config
    for word in path:
        place = place[word]
    place[last] = value
    (folder / "train_config.yaml").write_text(yaml.safe_dump(config))


def logits(network: torch.nn.Module, image: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return network(image)


def cytodl_logits(module: Any, image: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return module(image, ["seg"])["seg"]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("source", ["checkpoint", "config", "shapes"])
def test_imported_cytodl_model_has_the_logits_of_cytodls_module(
    tmp_path: Path, dims: int, source: str
) -> None:
    module, folder = make_cytodl(tmp_path / "experiment", dims)
    file = folder / "checkpoints" / "epoch_000.ckpt"
    if source != "checkpoint":
        edit(file, hyper_parameters=None)
    if source == "shapes":
        (folder / "train_config.yaml").unlink()
    checkpoint = read_checkpoint(folder)
    assert checkpoint.path == file
    image = torch.randn(SHAPES[dims])
    expected = cytodl_logits(module, image)
    assert expected.std() > 0.1
    assert torch.equal(logits(build_network(checkpoint), image), expected)
    assert checkpoint.image["normalization"] == {"method": "zscore"}
    if source != "shapes":
        assert checkpoint.image["patch_size"] == SHAPES[dims][2:]


@pytest.mark.parametrize(
    "words",
    [
        ["model.backbone.res_block=False", "+model.backbone.trans_bias=True"],
        ["model.backbone.strides=[1,2,2,2]", "model.backbone.kernel_size=[3,1,3,3]"],
        ["+model.backbone.norm_name=BATCH", "raw_im_channels=2"],
        ["model.backbone.strides=[1,[1,2,2],2]", "model.backbone.upsample_kernel_size=[[1,2,2],2]"],
        ["+model.backbone.deep_supervision=True"],
    ],
)
def test_architecture_is_inferred_from_the_weights(tmp_path: Path, words: list[str]) -> None:
    if "2,2,2]" in words[0]:
        words = [*words, "model.backbone.upsample_kernel_size=[2,2,2]"]
        words += ["model._aux.filters=[4,6,8,8]", "data._aux.patch_shape=[8,16,24]"]
    module, folder = make_cytodl(tmp_path / "experiment", 3, *words)
    file = folder / "checkpoints" / "epoch_000.ckpt"
    edit(file, hyper_parameters=None)
    (folder / "train_config.yaml").unlink()
    checkpoint = read_checkpoint(file)
    image = torch.randn(1, checkpoint.image["channels"], 16, 24, 32)
    assert torch.equal(logits(build_network(checkpoint), image), cytodl_logits(module, image))


def test_images_are_normalized_as_in_cytodl(tmp_path: Path) -> None:
    import hydra

    _, folder = make_cytodl(tmp_path / "experiment", 3)
    rule = read_checkpoint(folder).image["normalization"]
    steps = compose(tmp_path, 3).data.transforms.predict.transforms
    step = next(s for s in steps if s._target_.endswith("NormalizeIntensityd"))
    image = np.random.default_rng(0).integers(100, 4000, (1, 8, 20, 24)).astype(np.uint16)
    expected = hydra.utils.instantiate(step)({"raw": torch.as_tensor(image.astype(np.float32))})
    found = normalize(image, *intensity_statistics(image, rule))
    np.testing.assert_allclose(found, expected["raw"].numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("step", "rule"),
    [
        (
            {"_target_": "monai.transforms.ScaleIntensityRanged", "a_min": 10, "a_max": 99.0}
            | {"b_min": 0, "b_max": 1},
            {"method": "range", "minimum": 10.0, "maximum": 99.0},
        ),
        (
            {"_target_": "monai.transforms.ScaleIntensityRangePercentilesd"}
            | {"lower": 1, "upper": 99, "b_min": 0, "b_max": 1},
            {"method": "percentile", "lower": 1.0, "upper": 99.0},
        ),
        ({"_target_": "monai.transforms.ScaleIntensityd"}, {"method": "minmax"}),
        ({"_target_": "monai.transforms.ToTensord"}, {"method": "none"}),
    ],
)
def test_normalization_rules_are_equal_to_cytodls_transforms(
    tmp_path: Path, step: dict[str, Any], rule: dict[str, Any]
) -> None:
    from hydra.utils import instantiate

    _, folder = make_cytodl(tmp_path / "experiment", 2)
    edit_config(folder, "data.transforms.predict.transforms", [step | {"keys": "raw"}])
    assert read_checkpoint(folder).image["normalization"] == rule
    image = np.random.default_rng(0).integers(0, 4000, (1, 40, 44)).astype(np.float32)
    found = normalize(image, *intensity_statistics(image, rule))
    expected = instantiate(step | {"keys": "raw"})({"raw": torch.as_tensor(image)})["raw"]
    np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-4, atol=1e-4)


def predicted_maps(checkpoint: Checkpoint, image: torch.Tensor) -> dict[str, np.ndarray]:
    predictor = Predictor([checkpoint], WindowSettings(accelerator="cpu", precision="32"))
    channel = np.zeros(1, np.float32), np.ones(1, np.float32)
    (maps,) = predictor.predict_batch(image.numpy(), [channel])
    return dict(zip(predictor.maps, maps, strict=True))


@pytest.mark.parametrize("dims", [2, 3])
def test_a_model_from_image_to_image_predicts_what_cytodl_predicts(
    tmp_path: Path, dims: int
) -> None:
    words = ("experiment=im2im/labelfree", "source_col=raw", "target_col=seg")
    module, folder = make_cytodl(tmp_path / "experiment", dims, *words, f"{FILTERS}=[4,8,8]")
    checkpoint, image = read_checkpoint(folder), torch.randn(SHAPES[dims])
    assert checkpoint.image["output"] == "intensity" and checkpoint.image["zoom"] == [0.25] * dims
    maps = predicted_maps(checkpoint, image)
    assert list(maps) == ["intensity"] and np.abs(maps["intensity"]).max() > 1
    np.testing.assert_allclose(maps["intensity"], cytodl_logits(module, image)[0, 0], atol=1e-4)
    with pytest.raises(ModelError, match="predicts intensity, not a probability"):
        plain = replace(checkpoint, image={**checkpoint.image, "zoom": None})
        export_model(plain, "onnx", tmp_path / "out", About())


@pytest.mark.parametrize("dims", [2, 3])
def test_a_model_of_skeletons_finds_the_objects_that_cytodl_finds(
    tmp_path: Path, dims: int
) -> None:
    words = ("experiment=im2im/instance_seg", "source_col=raw", "target_col=seg")
    module, folder = make_cytodl(tmp_path / "experiment", dims, *words, f"{FILTERS}=[4,8,8]")
    checkpoint, image = read_checkpoint(folder), torch.randn(SHAPES[dims])
    maps = predicted_maps(checkpoint, image)
    offsets = [f"offset_{axis}" for axis in "zyx"[-dims:]]
    assert list(maps) == ["skeleton", "probability", *offsets]
    fields = cytodl_logits(module, image)[0]
    for number, name in enumerate(maps):
        wanted = fields[number].sigmoid() if name == "probability" else fields[number]
        np.testing.assert_allclose(maps[name], wanted, atol=1e-4)

    # the fields that CytoDL learns, of objects that touch
    from cyto_dl.models.im2im.utils.instance_seg import InstanceSegCluster, InstanceSegPreprocessd

    shape = (10, 60, 70)[-dims:]
    labels = np.zeros(shape, np.int16)
    labels[..., 10:40, 8:33], labels[..., 10:40, 33:62] = 1, 2
    made = InstanceSegPreprocessd("seg", dim=dims)({"seg": torch.from_numpy(labels)[None]})["seg"]
    target = torch.as_tensor(made)
    fields = torch.cat([target[:2] - 0.5, target[2:]]).float()
    wanted = InstanceSegCluster(dim=dims, min_size=100, progress=False)(fields)
    assert len(np.unique(wanted)) == 3
    training = TrainingFacts.from_checkpoint(checkpoint.image)
    assert training.skeleton_rule["min_size"] == 100 and training.tuned == {"threshold": 0.5}
    given = {"skeleton": fields[0].numpy(), "probability": fields[1].sigmoid().numpy()}
    given |= {name: fields[2 + number].numpy() for number, name in enumerate(offsets)}
    found = label_skeleton_maps(given, PostprocessSettings(), training)["labels"]
    assert (np.asarray(found) == wanted).mean() > 0.999  # CytoDL computes in half precision
    for rule in ({"command": 1.0}, {"min_size": "many"}):
        damaged = replace(training, skeleton_rule=rule)
        with pytest.raises(ModelError, match="its skeleton_rule is"):
            label_skeleton_maps(given, PostprocessSettings(), damaged)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (
            "data.transforms.predict.transforms",
            [{"_target_": "monai.transforms.Zoomd", "keys": "raw", "zoom": 0.25}],
            r"images were transformed by Zoomd\(zoom=0.25\), which CytoLoop",
        ),
        (
            "data.transforms.predict.transforms",
            [{"_target_": "monai.transforms.NormalizeIntensityd", "nonzero": True}],
            "NormalizeIntensityd",
        ),
        ("model.task_heads.seg._target_", "cyto_dl.nn.ResBlocksHead", "is a 'ResBlocksHead'"),
        (
            "model.task_heads.seg.loss",
            {"_target_": "torch.nn.GaussianNLLLoss"},
            "was trained by GaussianNLLLoss, expected a loss with sigmoid or softmax",
        ),
        (
            "model.task_heads.seg",
            {
                "_target_": "cyto_dl.nn.BaseHead",
                "loss": {"_target_": "torch.nn.MSELoss"},
                "postprocess": {"prediction": {"activation": "torch.nn.Tanh"}},
            },
            "changes its prediction by activation=torch.nn.Tanh",
        ),
        (
            "model.backbone._target_",
            "monai.networks.nets.SwinUNETR",
            "is a SwinUNETR, expected AttentionUnet",
        ),
        ("model.backbone.filters", [4, 8, 16], r"has shape \(8, 8, 3, 3\), expected"),
        (
            "model.inference_args.roi_size",
            [40, 42],
            "42 is not a multiple of the network's total stride 4",
        ),
        ("model.inference_args.roi_size", [40], "patch size"),
        ("model.backbone.strides", [1, 0, 2], "strides: expected a list of whole numbers"),
        ("model.backbone.in_channels", "many", "in_channels: 'many', expected a whole number"),
        # hostile
        ("model.backbone._target_", "os.system", "names the class 'os.system'"),
        ("model.backbone._target_", "monai.networks.nets.os", "names the class"),
        ("model.backbone.spatial_dims", "${eval:'2'}", "is an interpolation"),
        ("model.backbone.norm_name", {"_target_": "os.system"}, "contains a nested class"),
        ("model.backbone.filters", [10**9, 10**9, 10**9], "1000000000 is more than 4096"),
        ("model.backbone.filters", [4096, 4096, 4096], "do not fit: .* expected"),
        ("model.backbone.filters", [4] * 10**4, "has more than 200 values"),
        ("model.backbone.dropout", float("nan"), "nan is not a finite number"),
        ("model.backbone.command", "touch exploded", "command: not an argument of DynUNet"),
        ("model.inference_args.roi_size", [10**9, 10**9], "has more than 134217728 voxels"),
        ("spatial_dims", "${spatial_dims}", "is an interpolation"),
    ],
)
def test_models_that_cannot_be_read_exactly_are_refused(
    tmp_path: Path, key: str, value: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, folder = make_cytodl(tmp_path / "experiment", 2)
    edit_config(folder, key, value)
    with pytest.raises(ModelError, match=reason):
        build_network(read_checkpoint(folder))
    assert not (tmp_path / "exploded").exists()


def test_heads_with_layers_are_refused(tmp_path: Path) -> None:
    _, folder = make_cytodl(tmp_path / "experiment", 2)
    file = folder / "checkpoints" / "epoch_000.ckpt"
    weights = torch.load(file, weights_only=True)["state_dict"]
    loss = {"task_heads.seg.loss.weight": torch.ones(1)}
    edit(file, state_dict=weights | loss)
    assert set(read_checkpoint(folder).weights) == set(weights)
    edit(file, state_dict=weights | {"task_heads.seg.model.0.weight": torch.ones(1)})
    with pytest.raises(ModelError, match=r"layers outside the network \(task_heads.seg.model\)"):
        read_checkpoint(folder)


def test_weights_of_a_compiled_cytodl_module_are_read(tmp_path: Path) -> None:
    module, folder = make_cytodl(tmp_path / "experiment", 2)
    file = folder / "checkpoints" / "epoch_000.ckpt"
    state = torch.load(file, weights_only=True)["state_dict"]
    edit(file, state_dict={k.replace("backbone.", "backbone._orig_mod."): state[k] for k in state})
    image = torch.randn(SHAPES[2])
    network = build_network(read_checkpoint(folder))
    assert torch.equal(logits(network, image), cytodl_logits(module, image))


def scored(value: float, mode: str = "min") -> dict[str, Any]:
    name = f"ModelCheckpoint{{'monitor': 'val/loss', 'mode': '{mode}'}}"
    return {name: {"current_score": torch.tensor(value)}}


def test_best_checkpoint_of_an_experiment_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, folder = make_cytodl(tmp_path / "experiment", 2)
    first = folder / "checkpoints" / "epoch_000.ckpt"
    second, last = first.with_name("epoch_007.ckpt"), first.with_name("last.ckpt")
    for copy in (second, last):
        copy.write_bytes(first.read_bytes())
    edit(first, callbacks=scored(0.2), global_step=1)
    edit(second, callbacks=scored(0.3), global_step=9)
    edit(last, callbacks=scored(0.1), global_step=10)
    with caplog.at_level(logging.INFO, "cytoloop"):
        assert read_checkpoint(folder).path == first
    assert "epoch_000.ckpt of 2 checkpoints has the best score" in caplog.text
    edit(first, callbacks=scored(0.2, "max"))
    edit(second, callbacks=scored(0.3, "max"))
    assert read_checkpoint(folder).path == second
    edit(first, callbacks=None)
    edit(second, callbacks=scored(float("nan")))
    assert read_checkpoint(folder).path == second  # most steps
    first.unlink(), second.unlink()
    assert read_checkpoint(folder).path == last
    last.unlink()
    with pytest.raises(ModelError, match=r"expected best_model.pth or checkpoints/\*.ckpt"):
        read_checkpoint(folder)


def save_pair(folder: Path, network: torch.nn.Module, **config: Any) -> Path:
    """Write best_model.pth and config.json; None removes a key."""
    folder.mkdir(exist_ok=True)
    torch.save(network.state_dict(), folder / "best_model.pth")
    config = {"architecture": type(network).__name__, "normalization": "minmax"} | config
    config = {"patch_size": 32} | config
    kept = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))
    return folder


NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("UNet", {"channels": [4, 8, 16], "strides": [2, 2], "num_res_units": 2}),
    ("UNet", {"channels": [4, 8], "strides": [2], "norm": ["GROUP", {"num_groups": 2}]}),
    ("BasicUNet", {"features": [4, 4, 8, 8, 8, 4]}),
    ("SegResNet", {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]}),
    ("AttentionUnet", {"channels": [4, 8], "strides": [2]}),
    (
        "DynUNet",
        {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2]}
        | {"filters": [4, 8, 8]},
    ),
]


@pytest.mark.parametrize(("name", "arguments"), NETWORKS)
@pytest.mark.parametrize("dims", [2, 3])
def test_weights_and_config_have_the_logits_of_their_network(
    tmp_path: Path, dims: int, name: str, arguments: dict[str, Any]
) -> None:
    arguments = {"spatial_dims": dims, "in_channels": 2, "out_channels": 1} | arguments
    torch.manual_seed(0)
    network = getattr(nets, name)(**arguments).eval()
    folder = save_pair(tmp_path / "pair", network, arguments=arguments)
    for given in (folder, folder / "best_model.pth"):
        checkpoint = read_checkpoint(given)
        image = torch.randn(1, 2, *[32] * dims)
        assert torch.equal(logits(build_network(checkpoint), image), logits(network, image))
    expected = {"channels": 2, "patch_size": [32] * dims, "normalization": {"method": "minmax"}}
    assert checkpoint.image.items() >= expected.items()


def test_config_with_features_and_layers_is_a_unet(tmp_path: Path) -> None:
    network = nets.UNet(2, 1, 1, [8, 16, 32, 64], [2, 2, 2], num_res_units=2).eval()
    sizes = {"num_features": 8, "num_layers": 4, "learning_rate": 1e-3, "augmentation": True}
    known = {"spacing_um": [1, 0.5, 0.5], "channel_names": ["DNA"], "object_voxels": 80}
    folder = save_pair(tmp_path / "pair", network, **sizes, **known)
    wrapped = {"model_state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}
    torch.save(wrapped | {"epoch": 3}, folder / "best_model.pth")
    checkpoint = read_checkpoint(folder)
    assert checkpoint.image.items() >= known.items()
    image = torch.randn(1, 1, 64, 64)
    assert torch.equal(logits(build_network(checkpoint), image), logits(network, image))


@pytest.mark.parametrize(("name", "arguments"), NETWORKS)
def test_softmax_of_background_and_foreground_becomes_one_logit(
    tmp_path: Path, name: str, arguments: dict[str, Any]
) -> None:
    arguments = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2} | arguments
    network = getattr(nets, name)(**arguments).eval()
    folder = save_pair(tmp_path / "pair", network, arguments=arguments, activation="softmax")
    image = torch.randn(1, 1, 32, 32)
    expected = logits(network, image).softmax(1)[:, 1:]
    found = logits(build_network(read_checkpoint(folder)), image).sigmoid()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "arguments"), NETWORKS)
@pytest.mark.parametrize("dims", [2, 3])
def test_model_configuration_architecture_classes(
    tmp_path: Path, dims: int, name: str, arguments: dict[str, Any]
) -> None:
    """The seed: "Model configuration (architecture, classes)"."""
    arguments = {"spatial_dims": dims, "in_channels": 1, "out_channels": 4} | arguments
    torch.manual_seed(1)
    network = getattr(nets, name)(**arguments).eval()
    classes = ["Background", "nucleus", "cell wall", "spindle"]
    folder = save_pair(tmp_path / "pair", network, arguments=arguments, classes=classes)
    checkpoint = read_checkpoint(folder)
    assert checkpoint.image["heads"] == ["class_nucleus", "class_cell_wall", "class_spindle"]
    image = torch.randn(1, 1, *[32] * dims)
    found, expected = logits(build_network(checkpoint), image), logits(network, image).softmax(1)
    highest = torch.where(found.max(1).values > 0, found.argmax(1) + 1, 0)
    assert (highest == expected.argmax(1)).float().mean() > 0.999
    odds = torch.log(expected[:, 1:] / expected[:, :1])
    torch.testing.assert_close(found, odds, rtol=1e-3, atol=1e-3)
    save_pair(folder, network, arguments=arguments, classes=[*"abcd"])  # each with a sigmoid
    checkpoint = read_checkpoint(folder)
    assert checkpoint.image["heads"] == [f"class_{name}" for name in "abcd"]
    assert torch.equal(logits(build_network(checkpoint), image), logits(network, image))


@pytest.mark.parametrize(
    ("config", "heads"),
    [
        ({"classes": ["nucleus", "spindle"]}, ["class_nucleus", "class_spindle"]),  # and background
        ({"activation": "softmax"}, ["class_c1", "class_c2"]),
        ({}, ["class_c1", "class_c2", "class_c3"]),
        ({"classes": ["a", "b", "c"]}, ["class_a", "class_b", "class_c"]),
    ],
)
def test_classes_without_names_or_background(
    tmp_path: Path, config: dict[str, Any], heads: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    arguments = {"spatial_dims": 2, "in_channels": 1, "out_channels": 3} | NETWORKS[2][1]
    folder = save_pair(tmp_path / "a", nets.BasicUNet(**arguments), arguments=arguments, **config)
    assert read_checkpoint(folder).image["heads"] == heads
    assert ("names no classes; they are called" in caplog.text) == ("classes" not in config)


def test_classes_that_do_not_fit_the_outputs_are_refused(tmp_path: Path) -> None:
    arguments = {"spatial_dims": 2, "in_channels": 1, "out_channels": 3} | NETWORKS[2][1]
    network = nets.BasicUNet(**arguments)
    folder = save_pair(tmp_path / "a", network, arguments=arguments, classes=[*"abcd"])
    with pytest.raises(ModelError, match="names 4 .*the network has 3 output channels"):
        read_checkpoint(folder)
    save_pair(folder, network, arguments=arguments, classes=["a", "", 3])
    with pytest.raises(ModelError, match="classes is .*expected a list of names"):
        read_checkpoint(folder)
    one = arguments | {"out_channels": 1}
    save_pair(folder, nets.BasicUNet(**one), arguments=one, activation="softmax")
    with pytest.raises(ModelError, match="one output channel with softmax"):
        read_checkpoint(folder)


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model", None])
@pytest.mark.parametrize("units", [0, 2])
def test_pairs_of_other_programs_are_completed_from_their_weights(
    tmp_path: Path, wrapper: str | None, units: int, caplog: pytest.LogCaptureFixture
) -> None:
    network = nets.UNet(3, 2, 3, [8, 16], [2], num_res_units=units, norm="BATCH").eval()
    missing = dict.fromkeys(("architecture", "normalization", "patch_size"))
    classes = ["background", "nucleus", "spindle"]
    sizes = {"num_features": 8, "num_layers": 2, "classes": classes}
    folder = save_pair(tmp_path / "pair", network, **sizes, **missing)
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, folder / "best_model.pth")
    checkpoint = read_checkpoint(folder)
    assert checkpoint.image.items() >= {"channels": 2, "patch_size": [16, 64, 64]}.items()
    assert checkpoint.image["normalization"] == {"method": "minmax"}
    for said in ("no architecture; it is read as a UNet", "no patch_size", "no normalization"):
        assert said in caplog.text
    image = torch.randn(1, 2, 8, 32, 32)
    whole = logits(network, image)
    expected = whole[:, 1:] - whole[:, :1]
    torch.testing.assert_close(
        logits(build_network(checkpoint), image), expected, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        (
            {"num_layers": None, "threshold": 0.5},
            ["'num_layers' is missing", "'threshold' is not known"],
        ),
        ({"architecture": "ResNet"}, ["architecture 'ResNet', expected one of AttentionUnet"]),
        ({"architecture": "BasicUNet"}, ["'arguments' is missing; only a UNet can have"]),
        ({"num_features": None, "num_layers": "4"}, ["'num_features' is", "expected a whole"]),
        ({"num_layers": 2}, ["weights and architecture do not fit: .* only in the file"]),
        ({"num_layers": 10**9}, ["Expected 1 to 1024 features and 2 to 8 layers"]),
        ({"num_features": 1024, "num_layers": 8}, ["131072 is more than 4096"]),
        ({"normalization": "mean"}, ["normalization 'mean', expected percentile, zscore"]),
        (
            {"normalization": {"method": "range"}},
            ["normalization range, expected with maximum and minimum"],
        ),
        (
            {"normalization": {"method": "range", "minimum": 2, "maximum": 1}},
            ["normalization maximum is"],
        ),
        (
            {"normalization": {"method": "percentile", "lower": 9, "upper": 200}},
            ["normalization upper is 200, expected a number, 0 to 100"],
        ),
        ({"patch_size": 30}, ["patch_size: .*30 is not a multiple of .* 4"]),
        ({"patch_size": [32]}, ["Expected 2 whole numbers"]),
        ({"activation": "relu"}, ["activation 'relu', expected sigmoid or softmax"]),
        (
            {"spacing_um": [1, 0, 1], "channel_names": "DNA", "object_voxels": -1},
            ["spacing_um: expected three", "channel_names: expected", "object_voxels: expected"],
        ),
        (
            {"arguments": {"spatial_dims": 2}},
            ["num_features, num_layers: not allowed together with"],
        ),
        ({"arguments": [1], "num_features": None}, ["'arguments' is not a mapping"]),
        (
            {"arguments": {"_target_": "os.system"}, "num_features": None, "num_layers": None},
            ["names the class 'os.system'"],
        ),
    ],
)
def test_faulty_config_is_refused(
    tmp_path: Path, changes: dict[str, Any], reasons: list[str]
) -> None:
    network = nets.UNet(2, 1, 1, [4, 8, 16], [2, 2], num_res_units=2)
    sizes = {"num_features": 4, "num_layers": 3}
    folder = save_pair(tmp_path / "pair", network, **(sizes | changes))
    for reason in reasons:
        with pytest.raises(ModelError, match=reason):
            build_network(read_checkpoint(folder))


def test_another_config_gives_another_hash(tmp_path: Path) -> None:
    network = nets.UNet(2, 1, 1, [4, 8, 16], [2, 2], num_res_units=2)
    sizes = {"num_features": 4, "num_layers": 3}
    first = read_checkpoint(save_pair(tmp_path / "pair", network, **sizes)).sha256
    assert read_checkpoint(save_pair(tmp_path / "pair", network, **sizes)).sha256 == first
    other = save_pair(tmp_path / "pair", network, **sizes, normalization="zscore")
    assert read_checkpoint(other).sha256 != first


def test_cytodl_checkpoint_beside_a_config_json_is_cytodls_unless_it_is_a_pth_file(
    tmp_path: Path,
) -> None:
    network = nets.UNet(2, 1, 1, [4, 8, 16], [2, 2], num_res_units=2)
    folder = save_pair(tmp_path / "pair", network, num_features=4, num_layers=3)
    state = {f"backbone.{k}": v for k, v in network.state_dict().items()}
    torch.save({"state_dict": state}, folder / "best_model.pth")
    assert read_checkpoint(folder).image["patch_size"] == [32, 32]
    torch.save({"state_dict": state}, folder / "model.ckpt")
    with pytest.raises(ModelError, match="the weights are not those of a DynUNet"):
        read_checkpoint(folder / "model.ckpt")


def test_weights_without_architecture_are_refused(tmp_path: Path) -> None:
    torch.save(nets.UNet(2, 1, 1, [4, 8], [2]).state_dict(), tmp_path / "model.pth")
    with pytest.raises(ModelError, match="has no config.json beside it"):
        read_checkpoint(tmp_path / "model.pth")
    state = {f"backbone.{k}": v for k, v in nets.UNet(2, 1, 1, [4, 8], [2]).state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "model.ckpt")
    with pytest.raises(ModelError, match="the weights are not those of a DynUNet"):
        read_checkpoint(tmp_path / "model.ckpt")


@pytest.mark.parametrize("dims", [2, 3])
def test_training_starts_with_all_weights_of_a_cytodl_model(
    tmp_path: Path, dims: int, caplog: pytest.LogCaptureFixture
) -> None:
    module, folder = make_cytodl(tmp_path / "experiment", dims)
    checkpoint = read_checkpoint(folder)
    arguments = {k: v for k, v in checkpoint.backbone.items() if k != "_target_"}
    ours = SegmentationModule(
        backbone=nets.DynUNet(**arguments),
        task_heads={"seg": Head(DiceCELoss())},
        inferer=None,
        image={"normalization": {"method": "percentile", "lower": 1.0, "upper": 99.8}},
    )
    with caplog.at_level(logging.INFO, "cytoloop"):
        WarmStart(folder).setup(SimpleNamespace(), ours, "fit")  # type: ignore[arg-type]
    assert f"{len(module.backbone.state_dict())} weights loaded unchanged" in caplog.text
    assert "zscore, this training uses percentile 1.0 99.8; set normalization=zscore" in caplog.text
    for name, value in module.backbone.state_dict().items():
        assert torch.equal(ours.backbone.state_dict()[name], value)
    ours.backbone = nets.DynUNet(**(arguments | {"filters": [4, 8, 16]}))
    with pytest.raises(ModelError, match="DynUNet for .*, channels 1, features 4 8 8"):
        WarmStart(folder).setup(SimpleNamespace(), ours, "fit")  # type: ignore[arg-type]


@pytest.mark.parametrize("dims", [2, 3])
def test_config_of_the_plugin_is_read(tmp_path: Path, dims: int) -> None:
    from cyto_dl.api.cyto_dl_model import SegmentationPluginModel

    module, folder = make_cytodl(tmp_path / "experiment", dims)
    edit(folder / "checkpoints" / "epoch_000.ckpt", hyper_parameters=None)
    plugin = SegmentationPluginModel.from_default_config(spatial_dims=dims)
    plugin._set_cfg("model._aux.filters", [4, 8, 8])
    plugin._set_cfg("data._aux.patch_shape", SHAPES[dims][2:])
    plugin.set_input_channel(2)
    plugin.save_config(folder / "train_config.yaml")
    checkpoint = read_checkpoint(folder)
    assert checkpoint.image["patch_size"] == SHAPES[dims][2:]
    assert checkpoint.backbone["spatial_dims"] == dims  # a reference to another key in the config
    image = torch.randn(SHAPES[dims])
    assert torch.equal(logits(build_network(checkpoint), image), cytodl_logits(module, image))


def test_config_in_the_docs_is_read(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "models.md").read_text()
    config = json.loads(text.partition("```json")[2].partition("```")[0])
    network = nets.UNet(2, 1, 1, [64, 128, 256, 512], [2, 2, 2], num_res_units=2)
    checkpoint = read_checkpoint(save_pair(tmp_path / "pair", network, **config))
    assert build_network(checkpoint) and checkpoint.image["patch_size"] == [64, 64]
