"""Every primary config with every experiment composes, and what it names can be built."""

from __future__ import annotations

from pathlib import Path

import cytoloop.configs
import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from cytoloop.__main__ import main
from cytoloop.training.prepare.bounds import check_bounds
from cytoloop.training.prepare.classes import set_class_heads
from cytoloop.training.prepare.complete import complete
from cytoloop.training.prepare.dataset import DatasetFacts

ROOT = Path(__file__).parents[1]
CONFIGS = Path(cytoloop.configs.__file__).parent
VERBS = (
    *("curate", "annotate", "combine", "check", "train", "predict", "evaluate", "compare"),
    *("models", "history", "status", "cancel", "synthesize", "classic", "study", "rank", "view"),
)
EXPERIMENTS = sorted(path.stem for path in (CONFIGS / "experiment").glob("*.yaml"))


def composed(name: str, *overrides: str) -> DictConfig:
    with initialize_config_module("cytoloop.configs", version_base="1.3"):
        cfg = compose(name, [*overrides, "hydra.runtime.output_dir=out"], return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


@pytest.mark.parametrize("verb", VERBS)
def test_primary_config_composes(verb: str) -> None:
    assert composed(verb)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("verb", ["train", "check"])
def test_experiment_composes_and_leaves_the_rest_to_the_plan(verb: str, experiment: str) -> None:
    cfg = composed(verb, f"experiment={experiment}", "data.path=x", "spatial_dims=2")
    cfg.in_channels = 1
    assert not OmegaConf.missing_keys(cfg)
    expected = (64, 8, 4) if experiment == "segmentation_module" else ("auto", "auto", "auto")
    assert (cfg.data.patch_size, cfg.data.batch_size, cfg.layers) == expected
    assert cfg.model.backbone._target_.startswith("monai.networks.nets.")
    features = {"auto": "auto", "nuclei_2d": 32, "segmentation_module": 64}
    assert cfg.features == features.get(experiment, 16)
    OmegaConf.resolve(cfg)


MODELS, NETWORKS = (
    sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))
    for group in ("model", "model/network")
)


@pytest.mark.parametrize(
    "experiment, model, network",
    [
        *((experiment, model, "dynunet") for experiment in EXPERIMENTS for model in MODELS),
        *(
            ("nuclei_3d", model, network)
            for model in MODELS
            for network in NETWORKS
            if network != "dynunet"
        ),
    ],
)
def test_every_recipe_works_with_every_model_and_network(
    experiment: str, model: str, network: str
) -> None:
    words = [f"experiment={experiment}", f"model={model}", f"model/network={network}"]
    words += ["classes=[a,b]"] if model == "semantic" else []
    cfg = composed("train", "data.path=x", "data.patch_size=64", *words)
    check_bounds(cfg)
    cfg = set_class_heads(cfg)
    facts = DatasetFacts(("DNA",), {"a": (64, 64)}, None)
    cfg = complete(cfg, facts)  # refuses heads, targets and channels that differ
    assert len(cfg.model.task_heads) == cfg.model.backbone.out_channels
    kinds = {"dynunet": "DynUNet", "residual_encoder": "SegResNetDS", "fpn": "FPN"}
    kinds |= {"pretrained_encoder": "FlexibleUNet", "unetplusplus": "UNetPlusPlus"}
    kind = kinds.get(network, "DeepLabV3Plus")
    assert cfg.model.backbone._target_.rpartition(".")[2] == kind
    assert ("strides" in cfg.model.backbone) == (network == "dynunet")


@pytest.mark.parametrize("recipe, heads, losses, fill_holes", [
    ("structures", ["foreground"], ["DiceCELoss"], "auto"),
    ("filaments", ["foreground"], ["DiceCELoss", "CenterlineDiceLoss"], False),
    ("shells", ["foreground"], ["DiceCELoss", "TverskyLoss"], False),
    ("cells", ["foreground", "distance"], ["DiceCELoss"], "auto"),
])  # fmt: skip
def test_a_recipe_each_for_filled_structures_thin_structures_and_shells(
    recipe: str, heads: list[str], losses: list[str], fill_holes: bool | str
) -> None:
    cfg = composed("train", f"experiment={recipe}", "data.path=x")
    assert list(cfg.model.image.heads) == heads
    loss = cfg.model.task_heads.seg.loss
    parts = loss.losses.values() if "losses" in loss else [loss]
    assert [part._target_.rpartition(".")[2] for part in parts] == losses
    assert cfg.model.image.fill_holes == cfg.postprocess.fill_holes == fill_holes
    check_bounds(cfg)


@pytest.mark.parametrize("size, features", [("small", 8), ("medium", 16), ("large", 32)])
def test_sizes_are_those_of_the_segmenter_plugin(size: str, features: int) -> None:
    assert composed("train", f"model/size={size}").features == features
    assert composed("train", "experiment=nuclei_2d", f"model/size={size}").features == features


@pytest.mark.parametrize(
    "group",
    [
        *("augmentation", "normalization", "trainer", "model", "data"),
        *("optimizer", "schedule", "callbacks", "model/size", "model/network", "logger"),
    ],
)
def test_every_option_of_a_group_composes(group: str) -> None:
    for path in (CONFIGS / group).glob("*.yaml"):
        assert composed("train", f"{group}={path.stem}")


def test_every_config_opens_with_what_it_is_and_its_command() -> None:
    for path in CONFIGS.rglob("*.yaml"):
        lines = path.read_text().splitlines()
        what, command = [line for line in lines if not line.startswith("# @package")][:2]
        assert what.startswith("# ") and command.startswith("# "), path
        assert "cytoloop" in command or "Used by" in command or "override" in command, path
        assert "Costs nothing" not in path.read_text(), path


def test_no_config_knows_a_path_of_a_machine() -> None:
    for path in CONFIGS.rglob("*.yaml"):
        assert "/home" not in path.read_text() and "/mnt" not in path.read_text(), path


@pytest.mark.parametrize("experiment", sorted((ROOT / "experiments/experiment").glob("*.yaml")))
def test_the_overlay_of_a_site_adds_experiments(
    experiment: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["train", f"experiment={experiment.stem}", "--cfg", "job"]) == 0
    assert "monai.networks.nets.DynUNet" in capfd.readouterr().out


def test_cytodl_groups_can_be_chosen_and_replace_none_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", "data.path=x", "--cfg", "job"]
    assert main([*words, "trainer=mps"]) == 0  # CytoDL's, over our trainer/default
    text = capfd.readouterr().out
    assert "accelerator: mps" in text and "gradient_clip_val: 5.0" in text
    assert main([*words, "trainer=gpu"]) == 0
    assert "accelerator: gpu" in capfd.readouterr().out


def test_quality_limits_are_the_same_in_code_and_config() -> None:
    from cytoloop.curation.checks.quality_limits import DEFAULT_LIMITS

    text = OmegaConf.load(CONFIGS / "curate.yaml").quality
    assert OmegaConf.to_container(text) == {
        name: one.to_record() for name, one in DEFAULT_LIMITS.items()
    }
