"""Plans of real files: what the images say, what the user says, what a run leaves."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from cytoloop.__main__ import main
from cytoloop.data.cached_image import CachedImage
from cytoloop.data.image_cache import ImageCache
from cytoloop.errors import ConfigError
from cytoloop.manifest import write_manifest
from cytoloop.pretrained.shipped import find_shipped
from cytoloop.tracking.artifacts import find_artifact
from cytoloop.tracking.run import start_run
from cytoloop.training.prepare.dataset import read_checked_dataset
from cytoloop.training.prepare.plan.choice import Choice
from cytoloop.training.prepare.plan.cost import step_cost
from cytoloop.training.prepare.plan.file import read_plan
from cytoloop.training.prepare.plan.fingerprint import Fingerprint, fingerprint
from cytoloop.training.prepare.plan.fixed_values import PlanFile
from cytoloop.training.prepare.plan.machine import Machine, free_memory
from cytoloop.training.prepare.plan.network import plan_network
from cytoloop.training.prepare.plan.resolve_auto import dynunet_of, resolve_auto
from cytoloop.training.prepare.plan.rules import multiples_of
from cytoloop.training.prepare.plan.training_values import plan_values

LAPTOP = Machine("cpu", "bf16-mixed", 100e9, 3e9)
GPU = Machine("cuda", "bf16-mixed", 3e12, 16e9)


def planned(
    found: Fingerprint, machine: Machine = LAPTOP, **settled: Any
) -> tuple[dict[str, Any], list[Choice]]:
    """Return the values of a plan of DynUNet and its choices."""
    known = {"data.patch_size": [None] * found.dims, **settled}
    network, chosen = plan_network(found, found.shape[0], known, machine)
    multiples = multiples_of(network.strides, found.dims)
    cost = step_cost(dynunet_of(network, found.spacing), multiples)
    assert cost is not None
    _, more = plan_values(found, found.shape[0], known, machine, cost, multiples)
    choices = [*chosen, *more]
    return {one.key: one.value for one in choices}, choices


def rows_of_files(folder: Path, count: int, spacing: str = "") -> list[dict[str, str]]:
    rows = [
        {"id": f"img_{n}", "raw": f"raw/img_{n}.tif", "seg1": f"seg/img_{n}.tif"}
        for n in range(count)
    ]
    return [{**row, "spacing_um": spacing} for row in rows] if spacing else rows


@pytest.fixture
def dataset(images_3d: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with three training and two validation stacks of 12 x 40 x 40; the working folder."""
    monkeypatch.chdir(images_3d)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    rows = rows_of_files(images_3d, 5)
    write_manifest(images_3d / "train.csv", rows[:3])
    write_manifest(images_3d / "valid.csv", rows[3:])
    return images_3d


def settled(*words: str, file: Path | None = None, **kwargs: Any) -> tuple[DictConfig, Any]:
    """Return the config of `train` with its plan filled in, and the plan."""
    with initialize_config_module("cytoloop.configs", version_base="1.3"):
        cfg = compose("train", ["data.path=.", "paths.output_dir=out", *words])
    rows, facts = read_checked_dataset(".")
    plan_file = PlanFile(file, str(file)) if file else None
    return resolve_auto(cfg, rows, facts, plan_file, **kwargs)


def test_the_fingerprint_of_known_images() -> None:
    labels = np.zeros((8, 20, 30), np.uint16)
    labels[2:6, 4:10, 4:12] = 7
    labels[2:6, 10:12, 4:8] = 900  # touches it
    labels[0, 0, 29] = 3
    valid = np.ones(labels.shape, bool)
    valid[:, :, 29] = False  # object 3 does not count
    image = np.arange(labels.size, dtype=np.float32).reshape(1, *labels.shape)
    entry = CachedImage(
        "a", image, labels, valid, np.zeros((0, 3)), np.zeros(1), spacing_um=(2.0, 0.5, 0.5)
    )
    found = fingerprint([entry, entry])
    assert (found.images, found.channels, found.dims) == (2, 1, 3)
    assert found.shape == ((8, 20, 30),) * 3 and found.spacing_um == (2.0, 0.5, 0.5)
    assert found.objects == 4 and found.objects_per_image == (2, 2, 2) and found.touching == 1
    assert found.diameter[1] == (4, 4, 6) and found.anisotropy == 4
    assert found.object_voxels == (4 * 6 * 8 + 4 * 2 * 4) / 2
    assert found.foreground == pytest.approx(2 * found.object_voxels / (8 * 20 * 29))
    assert found.levels[0][1] == pytest.approx((labels.size - 1) / 2)


def test_an_image_without_objects_has_a_plan(dataset: Path) -> None:
    entry = CachedImage(
        "a", np.ones((1, 40, 40), np.uint8), np.zeros((40, 40), np.uint8),
        np.ones((40, 40), bool), np.zeros((0, 2)), np.zeros(1),
    )  # fmt: skip
    found = fingerprint([entry])
    assert found.diameter == () and found.objects == 0
    values, _ = planned(found)
    assert values["data.patch_size"] == [40, 40]


def test_an_image_is_measured_once(dataset: Path) -> None:
    rows = read_checked_dataset(".")[0]["train"]
    store = ImageCache(dataset / "store")
    first = fingerprint(store.entries(list(rows)))
    (note, *_) = sorted((dataset / "store").glob("*/fingerprint_*.json"))
    content = json.loads(note.read_text())
    note.write_text(json.dumps({**content, "objects": content["objects"] + 100}))
    assert fingerprint(store.entries(list(rows))).objects == first.objects + 100


def test_the_same_images_have_the_same_plan_and_every_value_a_reason(dataset: Path) -> None:
    first, plan = settled("trainer.precision=32")
    shutil.rmtree(".cytoloop")
    again, other = settled("trainer.precision=32")
    assert plan.choices == other.choices and first.model == again.model
    assert all(len(choice.reason) > 10 for choice in plan.choices)
    keys = [choice.key for choice in plan.choices]
    assert len(keys) == len(set(keys)) and "data.patch_size" in keys
    assert "auto" not in first.model.backbone.values()
    assert first.model.backbone.strides == [1, [1, 2, 2], 2]  # voxels twice as long as wide
    assert first.model.backbone.upsample_kernel_size == [[1, 2, 2], 2]
    assert first.model.backbone.filters == [16, 32, 64] and first.normalization.upper == 99.5


def test_what_the_user_says_stays_and_the_plan_adapts(dataset: Path) -> None:
    cfg, plan = settled("data.patch_size=24", "model/size=small", "data.batch_size=3")
    assert cfg.data.patch_size[1:] == [24, 24] and cfg.data.patch_size[0] % 2 == 0
    assert cfg.data.batch_size == 3 and cfg.model.backbone.filters[0] == 8
    assert not {"features", "data.batch_size"} & {choice.key for choice in plan.choices}
    cfg, _ = settled("layers=2", "features=12", "data.foreground_fraction=0.5")
    assert cfg.model.backbone.strides == [1, [1, 2, 2], 1]
    assert cfg.model.backbone.filters == [12, 24, 48] and cfg.data.foreground_fraction == 0.5
    cfg, _ = settled("normalization=zscore")
    assert "upper" not in cfg.normalization
    cfg, _ = settled("data.patch_size=[auto,40,16]")
    assert cfg.data.patch_size[1:] == [40, 16]
    filters = "model.backbone.filters=[4,6,8,10]"
    with pytest.raises(ConfigError, match="layers: is 4, but patches of 8 x 16 x 16 can be halved"):
        settled(filters, "data.patch_size=[8,16,16]", "layers=4")


def test_every_patch_size_and_number_of_layers_of_the_segmentation_module_goes_together() -> None:
    """Each pair builds, or is refused with the number of layers that fits."""
    found = Fingerprint(
        images=3, channels=1, shape=((512, 512),) * 3, spacing_um=(0.5, 0.5), objects=300,
        objects_per_image=(100, 100, 100), diameter=((10, 10), (12, 12), (16, 16)),
        object_voxels=110.0, touching=0.1, foreground=0.2, levels=((1.0, 50.0, 200.0),),
        outlines=(), outlined=0,
    )  # fmt: skip
    refused = []
    for patch in (32, 48, 64, 96, 128, 256):
        for layers in (2, 3, 4, 5, 6):
            given = {"data.patch_size": [patch, patch], "layers": layers, "features": 64}
            try:
                values, _ = planned(found, **given)
            except ConfigError as error:
                assert "can be halved" in str(error)
                refused.append((patch, layers))
                continue
            multiples = multiples_of(values["model.backbone.strides"], 2)
            assert all(patch % step == 0 for step in multiples)
    assert refused == [(32, 5), (32, 6), (48, 5), (48, 6), (64, 6), (96, 6)]  # 4 voxels are left


def test_a_patch_that_cannot_be_is_refused_axis_by_axis(dataset: Path) -> None:
    with pytest.raises(ConfigError, match="3 problems") as caught:
        settled("data.patch_size=[14,30,44]")
    text = str(caught.value)
    assert "Z = 14 is larger than the smallest image" in text and "largest that fits: 12" in text
    assert "Y = 30 is not divisible by 4" in text and "nearest: 28 or 32" in text
    assert "X = 44 is larger than" in text and "largest that fits: 40" in text
    with pytest.raises(ConfigError, match="has 2 numbers but the images are 3D"):
        settled("data.patch_size=[32,32]")


def test_what_is_fully_given_is_not_planned(dataset: Path) -> None:
    words = ["data.patch_size=[8,32,32]", "data.batch_size=2", "data.foreground_fraction=0.3"]
    words += [
        "model/size=small",
        "layers=3",
        "normalization.lower=1",
        "normalization.upper=99",
        "model.image.object_voxels=9",
    ]
    net = {"strides": "[1,2,2]", "kernel_size": "[3,3,3]", "upsample_kernel_size": "[2,2]"}
    net |= {"filters": "[4,8,8]", "dropout": "0", "res_block": "false"}
    net["norm_name"] = "batch"
    words += [f"model.backbone.{name}={value}" for name, value in net.items()]
    _, plan = settled(*words)
    assert plan.choices == () and not Path(".cytoloop/images").exists()
    unscaled, plan = settled(*(word for word in words if "object_voxels" not in word))
    entries = ImageCache("store").entries(list(read_checked_dataset(".")[0]["train"]))
    measured = fingerprint(entries).object_voxels
    assert plan.choices == ()
    assert unscaled.model.image.object_voxels == pytest.approx(measured, abs=0.05)
    with pytest.raises(ConfigError, match="Y = 30 is not divisible by 4"):
        settled(*words, "data.patch_size=[8,30,32]")


@pytest.mark.parametrize("name", ["SegResNet", "BasicUNet"])
def test_any_network_of_monai_is_named_by_one_override(dataset: Path, name: str) -> None:
    from hydra.utils import instantiate

    cfg, plan = settled(f"model.backbone._target_=monai.networks.nets.{name}")
    assert "strides" not in cfg.model.backbone
    assert not any("backbone" in choice.key for choice in plan.choices)
    assert not {"features", "layers"} & {choice.key for choice in plan.choices}
    cfg.spatial_dims, cfg.in_channels = 3, 1
    assert instantiate(cfg.model.backbone)
    if name == "SegResNet":
        with pytest.raises(ConfigError, match="Y = 28 is not divisible by 8.*nearest: 24 or 32"):
            settled(
                f"model.backbone._target_=monai.networks.nets.{name}", "data.patch_size=[8,28,32]"
            )


@pytest.mark.parametrize(
    "words",
    [
        ["UNet", "+model.backbone.channels=[4,8,16]", "model.backbone.strides=[2,2]"],
        [
            *("AttentionUnet", "+model.backbone.channels=[4,8,16]"),
            *("model.backbone.strides=[2,2]", "model.backbone.kernel_size=3"),
        ],
    ],
)
def test_strides_of_another_network_are_its_own(
    dataset: Path, words: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    from hydra.utils import instantiate

    target, *rest = words
    with caplog.at_level(logging.WARNING):
        cfg, _ = settled(f"model.backbone._target_=monai.networks.nets.{target}", *rest)
    assert cfg.model.backbone.strides == [2, 2] and not caplog.records
    assert [side % 4 for side in cfg.data.patch_size] == [0, 0, 0]
    cfg.spatial_dims, cfg.in_channels = 3, 1
    assert instantiate(cfg.model.backbone)
    with caplog.at_level(logging.WARNING):
        settled(f"model.backbone._target_=monai.networks.nets.{target}", *rest, "features=16")
    assert f"features=16 is not used: {target} has its own arguments" in caplog.text


@pytest.mark.parametrize("key", ["strides", "kernel_size"])
@pytest.mark.parametrize("value", ["3", "[]", "many"])
def test_steps_that_are_no_list_are_refused(dataset: Path, key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: is .*, expected a list"):
        settled(f"model.backbone.{key}={value}")


def test_a_resolution_that_is_no_list_is_refused(dataset: Path) -> None:
    with pytest.raises(ConfigError, match="resolution: is 1, expected a list, a value for each a"):
        settled("model/network=residual_encoder", "model.backbone.resolution=1")


def test_the_residual_encoder_takes_features_layers_and_spacing(dataset: Path) -> None:
    import torch
    from hydra.utils import instantiate

    words = ["model/network=residual_encoder", "features=4", "layers=3"]
    cfg, plan = settled(*words)
    backbone = cfg.model.backbone
    assert (backbone.init_filters, backbone.blocks_down) == (4, [1, 2, 2])
    assert backbone.resolution == pytest.approx([0.6, 0.3, 0.3])
    assert "model.backbone.resolution" in {choice.key for choice in plan.choices}
    cfg.spatial_dims, cfg.in_channels = 3, 1
    net = instantiate(backbone)
    image = torch.zeros(1, 1, *cfg.data.patch_size)
    assert net(image).shape == image.shape
    with pytest.raises(ConfigError, match="Y = 30 is not divisible by 4"):
        settled(
            "model/network=residual_encoder", "features=4", "layers=3", "data.patch_size=[8,30,32]"
        )


@pytest.mark.parametrize("word", ["strides=[1,3,3]", "kernel_size=[4,4,4]"])
def test_strides_and_kernels_that_no_network_has_are_refused(dataset: Path, word: str) -> None:
    with pytest.raises(ConfigError, match="(?s)no network has strides .* odd kernels"):
        settled("model.backbone.strides=[1,2,2]", f"model.backbone.{word}")


def test_a_residual_encoder_of_thin_stacks_has_fewer_levels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiff: Callable
) -> None:
    monkeypatch.chdir(tmp_path)
    labels = np.zeros((6, 96, 96), np.uint8)
    labels[1:5, 20:76, 20:76] = 1  # large: many levels are wanted
    for number in range(3):
        tiff(tmp_path / f"raw/img_{number}.tif", labels * 100 + 20 + number)
        tiff(tmp_path / f"seg/img_{number}.tif", labels)
    rows = rows_of_files(tmp_path, 3)
    write_manifest(tmp_path / "train.csv", rows[:2])
    write_manifest(tmp_path / "valid.csv", rows[2:])
    cfg, plan = settled("model/network=residual_encoder", "features=4")
    assert cfg.layers == 4 and cfg.data.patch_size[0] == 4  # one more would take 8 planes
    reasons = {choice.key: choice.reason for choice in plan.choices}
    assert reasons["layers"] == "images of 6 along Z have no room for more"
    with pytest.raises(ConfigError, match="multiples of 8 along Z, and the smallest image has 6"):
        settled("model/network=residual_encoder", "features=4", "layers=5")


def test_fine_tune_iteratively_an_existing_segmentation_model_whatever_its_network(
    dataset: Path, make_model: Callable[..., Path]
) -> None:
    parent = make_model(patch=[8, 32, 32])  # strides 1, 1, 2; filters 4, 4, 8
    cfg, plan = settled(parent=parent)
    assert cfg.model.backbone.strides == [1, 1, 2] and cfg.features == 4
    reasons = {choice.key: choice.reason for choice in plan.choices}
    assert "to start from" in reasons["model.backbone.strides"]
    assert all(side % 2 == 0 for side in cfg.data.patch_size)
    assert (cfg.normalization.lower, cfg.normalization.upper) == (1.0, 99.8)
    assert "to start from" in reasons["normalization.upper"]


def test_a_shipped_model_gives_its_network_and_the_images_their_grey_levels(dataset: Path) -> None:
    cfg, plan = settled("experiment=nuclei_3d", parent=find_shipped("pretrained:nuclei_3d"))
    reasons = {choice.key: choice.reason for choice in plan.choices}
    assert "to start from" in reasons["model.backbone.strides"]
    planned, _ = settled("experiment=nuclei_3d", "init_from=none")
    assert cfg.normalization == planned.normalization
    assert "to start from" not in reasons["normalization.upper"]


def test_a_plan_of_other_axes_or_levels_is_refused(dataset: Path) -> None:
    Path("p.yaml").write_text(
        "data: {patch_size: [32, 32]}\nlayers: 4\n"
        "model: {backbone: {strides: [1, 2, [2, 2]], kernel_size: [3, 3]}}\n"
    )
    with pytest.raises(ConfigError, match="3 problems") as caught:
        settled(file=Path("p.yaml"))
    assert "different numbers of levels" in str(caught.value)
    assert "data.patch_size: 2 numbers, the images are 3D" in str(caught.value)


def test_kernels_alone_say_how_many_levels_there_are(dataset: Path) -> None:
    cfg, _ = settled("model.backbone.kernel_size=[3,3,3,3]")
    assert len(cfg.model.backbone.strides) == len(cfg.model.backbone.filters) == 4
    cfg, _ = settled("layers=2", "model.backbone.kernel_size=[3,3,3]")
    assert len(cfg.model.backbone.strides) == 3
    with pytest.raises(ConfigError, match="has 2 levels, the network has 3"):
        settled("layers=2", "model.backbone.kernel_size=[3,3]")


def test_a_value_of_a_plan_that_is_not_used_is_told(
    dataset: Path, make_model: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    Path("p.yaml").write_text("features: 12\nnormalization: {upper: 99.0}\n")
    with caplog.at_level(logging.WARNING):
        cfg, _ = settled("features=6", file=Path("p.yaml"))
    assert cfg.model.backbone.filters[0] == 6 and cfg.normalization.upper == 99.0
    assert "features: 12 of p.yaml is not used, the config states 6" in caplog.text
    assert "99" not in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        settled(file=Path("p.yaml"), parent=make_model(patch=[8, 32, 32]))
    assert "features: 12 of p.yaml is not used, the model to start from states 4" in caplog.text


def test_several_processes_share_the_machine(dataset: Path) -> None:
    one, two = settled()[1].machine, settled("trainer=cpu", "trainer.devices=2")[1].machine
    assert two.macs == pytest.approx(one.macs / 2)
    assert two.memory == pytest.approx(one.memory / 2, rel=0.2)


def test_a_gpu_takes_more_and_little_memory_less(dataset: Path) -> None:
    found = fingerprint(ImageCache("store").entries(list(read_checked_dataset(".")[0]["train"])))
    laptop, gpu = planned(found)[0], planned(found, GPU)[0]
    assert (laptop["features"], gpu["features"]) == (16, 32)
    assert gpu["data.batch_size"] > laptop["data.batch_size"] >= 2
    tight = planned(found, Machine("cpu", "32", 100e9, 4e6))[0]
    assert np.prod(tight["data.patch_size"]) < np.prod(laptop["data.patch_size"])
    assert tight["data.batch_size"] == 1


def test_a_step_has_room_in_memory_or_it_is_told(
    dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = fingerprint(ImageCache("store").entries(list(read_checked_dataset(".")[0]["train"])))
    typed = {"data.patch_size": [8, 32, 32]}
    plan, choices = planned(found, Machine("cpu", "32", 1e15, 1e9), **typed)
    assert plan["data.batch_size"] > 2
    reason = next(one.reason for one in choices if one.key == "data.batch_size")
    kept = float(reason.split(", ")[1].split()[0]) / plan["data.batch_size"] * 2**20  # of one
    assert planned(found, Machine("cpu", "32", 1e15, kept * 1.5), **typed)[0][
        "data.batch_size"
    ] == 1  # fmt: skip
    assert "need about" not in caplog.text
    one = Machine("cpu", "32", 1e15, kept * 0.9)
    assert planned(found, one, **typed)[0]["data.batch_size"] == 1
    assert "patches of 8 x 32 x 32, 1 at a time, need about" in caplog.text
    assert "data.patch_size=[" in caplog.text and " fits" in caplog.text
    caplog.clear()
    planned(found, Machine("cpu", "32", 1e15, kept * 0.01), **typed)
    assert "take a smaller network (model/size=small)" in caplog.text


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("where", ["", "jobs/7"])
def test_the_memory_of_a_container_counts(tmp_path: Path, version: int, where: str) -> None:
    machine = free_memory(tmp_path, tmp_path / "own")
    limit, used = ("memory.max", "memory.current")
    folder, prefix, name = tmp_path / where, "", ""
    if version == 1:
        limit, used = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        folder, prefix, name = tmp_path / "memory" / where, "total_", "memory"
    folder.mkdir(parents=True, exist_ok=True)
    (tmp_path / "own").write_text(f"9:cpu:/elsewhere\n4:{name}:/jobs/7/task\n")
    (folder / limit).write_text("max\n")
    (folder / used).write_text("3000\n")
    assert free_memory(tmp_path, tmp_path / "own") == pytest.approx(machine, rel=0.2)
    (folder / limit).write_text("5000\n")
    assert free_memory(tmp_path, tmp_path / "own") == 2000
    lines = f"{prefix}inactive_file 1500\n{prefix}active_file 300\n{prefix}anon 9\n"
    (folder / "memory.stat").write_text(lines)
    assert free_memory(tmp_path, tmp_path / "own") == 3800


def test_check_shows_the_plan_and_trains_nothing(
    dataset: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "data.path=.", "plan=true"]) == 0
    told = capfd.readouterr()
    assert "data.patch_size" in told.out and "model.backbone.strides" in told.out
    assert "3 training images of 12 x 40 x 40" in told.err and not Path("mlflow.db").exists()
    assert main(["check", "data.path=.", "data.patch_size=[4,16,16]"]) == 0
    assert "Z = 4 is smaller than large objects, which are 9 long" in capfd.readouterr().err


@pytest.mark.slow
def test_a_run_leaves_its_plan_takes_an_edited_one_and_goes_on_by_its_own(
    dataset: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny = ["data.path=.", "data.steps_per_epoch=2", "trainer.max_epochs=1", "tune=false"]
    tiny += ["trainer.precision=32", "data.batch_size=2", "layers=2"]
    assert main(["train", *tiny, "data.patch_size=[8,32,32]", "output=a"]) == 0
    plan = read_plan(Path("a/plan.yaml"))
    assert plan["features"] == 16 and "data.patch_size" not in plan

    edited = Path("a/plan.yaml").read_text().replace("features: 16", "features: 8")
    Path("mine.yaml").write_text(edited + "  # by hand\n")
    assert main(["train", *tiny, "plan=mine.yaml", "data.patch_size=24", "output=b"]) == 0
    ran = OmegaConf.load("b/config.yaml")
    assert ran.model.backbone.filters[0] == 8 and ran.data.patch_size[1:] == [24, 24]
    assert "as in mine.yaml" in Path("b/plan.yaml").read_text()
    run_id = Path("b/run_id").read_text().strip()
    kept = find_artifact(f"runs:/{run_id}", "plan.yaml")
    assert kept.read_text() == Path("b/plan.yaml").read_text() and kept != Path("b/plan.yaml")
    capfd.readouterr()
    assert main(["check", "data.path=.", f"plan=runs:/{run_id}"]) == 0
    told = capfd.readouterr().out
    assert re.search(r"features +8 +as", told) and f"runs:/{run_id[:10]}" in told, told

    Path("mine.yaml").unlink()  # the run's own plan is enough
    assert main(["train", "resume=b", "trainer.max_epochs=2"]) == 0
    assert OmegaConf.load("b/config.yaml").data.patch_size == ran.data.patch_size
    own = Path("b/plan.yaml")
    own.write_text(own.read_text().replace("features: 8", "features: 12"))
    capfd.readouterr()
    assert main(["train", "resume=b", "trainer.max_epochs=3"]) == 2
    assert "features is 12 now, the run was started with 8" in capfd.readouterr().err


def test_a_run_without_a_plan_has_none_to_give(
    dataset: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = start_run("exp", "without")
    assert main(["check", "data.path=.", f"plan=runs:/{run.run_id}"]) == 2
    assert "the run has no plan.yaml" in capfd.readouterr().err
    assert main(["check", "data.path=.", "plan=runs:/else"]) == 2
    assert "not a run URI" in capfd.readouterr().err


def test_a_budget_in_steps(dataset: Path) -> None:
    words = ["data.path=.", "data.patch_size=[8,16,16]", "model/size=small", "layers=2"]
    words += [
        "data.steps_per_epoch=2",
        "data.batch_size=2",
        "trainer.max_steps=3",
        "trainer.precision=32",
    ]
    assert main(["train", *words, "tune=false", "output=c"]) == 0
    lines = Path("c/progress.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 3
    assert OmegaConf.load("c/config.yaml").model.backbone.strides == [1, [1, 2, 2], 1]


def real_rows(folder: Path, images: str, labels: str, names: Sequence[str], spacing: str) -> Path:
    rows = [
        {"id": n, "raw": str(folder / images / n), "seg1": str(folder / labels / n)} for n in names
    ]
    rows = [{**row, "spacing_um": spacing} if spacing else row for row in rows]
    write_manifest(Path("train.csv"), rows[:-1])
    write_manifest(Path("valid.csv"), rows[-1:])
    return Path()


@pytest.mark.realdata
def test_the_plan_of_nuclei_in_stacks(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [f"Emb0{e}_t{t}.tif" for e in (1, 2, 3) for t in (251, 401)]
    real_rows(real_data / "bbbc050", "images", "labels", names, "1.75 0.8 0.8")
    rows = read_checked_dataset(".")[0]["train"]
    values, _ = planned(fingerprint(ImageCache("store").entries(list(rows))))
    # known to be good: [32, 80, 80], two of them, 16 features, four levels
    assert values["data.patch_size"] == pytest.approx([32, 80, 80], rel=0.26)
    assert values["data.batch_size"] == 2 and values["features"] == 16
    assert values["model.backbone.strides"] == [1, [1, 2, 2], 2, 2]


@pytest.mark.realdata
def test_the_plan_of_nuclei_in_planes(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = sorted(path.name for path in (real_data / "dsb2018/images").glob("*.tif"))[:24]
    real_rows(real_data / "dsb2018", "images", "masks", names, "")
    rows = read_checked_dataset(".")[0]["train"]
    values, _ = planned(fingerprint(ImageCache("store").entries(list(rows))))
    assert values["data.patch_size"] == pytest.approx([128, 128], rel=0.26)
    assert 8 <= values["data.batch_size"] <= 12 and values["features"] == 32
