"""Exporters: the exported model has the same output, or is refused."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cytoloop.errors import ConfigError, MissingPackageError, ModelError, OutputError
from cytoloop.intensity.normalization import intensity_statistics, normalize
from cytoloop.model.checkpoint import build_network, read_checkpoint
from cytoloop.model.exporters import EXPORTERS, About, export_model, graphs, weights_and_config

Make = Callable[..., Path]
RULES = [
    {"method": "percentile", "lower": 1.0, "upper": 99.8},
    {"method": "zscore"},
    {"method": "minmax"},
    {"method": "range", "minimum": 100.0, "maximum": 4000.0},
    {"method": "none"},
]


def logits(network: Any, image: Tensor) -> Tensor:
    with torch.inference_mode():
        return network(image)


def noise(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ours(path: Path) -> nn.Module:
    return build_network(read_checkpoint(path))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["method"])
def test_folder_has_the_same_logits_and_image_settings(
    tmp_path: Path, make_model: Make, rule: dict[str, Any]
) -> None:
    tuned = {"threshold": 0.37, "seed_smoothing": 2.0, "min_depth": 0.1}
    path = make_model(2, normalization=rule, tuned=tuned, object_voxels=81.5)
    about = About("nuclei", scores={"test/dice": 0.9})
    assert export_model(read_checkpoint(path), "folder", tmp_path / "out", about) == 0
    first, again = read_checkpoint(path), read_checkpoint(tmp_path / "out")
    assert again.image == first.image
    image = noise(1, 1, 40, 48)
    assert torch.equal(logits(ours(tmp_path / "out"), image), logits(ours(path), image))
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["scores"] == {"test/dice": 0.9} and results["model_sha256"] == first.sha256


@pytest.mark.parametrize("ndim", [2, 3])
def test_cytodls_module_has_the_same_logits(tmp_path: Path, make_model: Make, ndim: int) -> None:
    import cyto_dl.train  # noqa: F401  # registers the resolvers of its configs
    from cyto_dl.models.im2im import MultiTaskIm2Im
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    path = make_model(ndim, normalization=RULES[ndim - 2])
    folder = tmp_path / "experiment"
    assert export_model(read_checkpoint(path), "cytodl", folder, About("nuclei")) == 0
    files = sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())
    assert files == ["checkpoints/epoch_000.ckpt", "train_config.yaml"]

    cfg = OmegaConf.load(folder / "train_config.yaml")
    OmegaConf.resolve(cfg.model)
    del cfg.model["_aux"]
    module = instantiate(cfg.model, _recursive_=False)
    assert isinstance(module, MultiTaskIm2Im)
    content = torch.load(folder / "checkpoints" / "epoch_000.ckpt", weights_only=True)
    module.load_state_dict(content["state_dict"], strict=True)
    assert {"pytorch-lightning_version", "epoch", "global_step", "loops"} & set(content)
    image = noise(2, 1, *(16, 40, 44)[-ndim:])
    with torch.inference_mode():
        found = module.eval()(image, ["seg"])["seg"]
    assert torch.equal(found, logits(ours(path), image)) and found.std() > 0.01

    # its transforms are equal to our normalization
    steps = cfg.data.transforms.predict.transforms
    step = next(s for s in steps if "Intensity" in s._target_)
    grey = np.random.default_rng(0).integers(100, 4000, (1, 40, 44)).astype(np.float32)
    given = instantiate({**step, "keys": "raw"})({"raw": torch.as_tensor(grey)})["raw"]
    expected = normalize(grey, *intensity_statistics(grey, RULES[ndim - 2]))
    np.testing.assert_allclose(np.asarray(given), expected, rtol=1e-3, atol=1e-3)
    assert read_checkpoint(folder).image["normalization"] == RULES[ndim - 2]


@pytest.mark.parametrize(("form", "ndim"), [("torchscript", 3), ("pt2", 2), ("onnx", 2)])
def test_graphs_have_the_same_logits_at_any_size(
    tmp_path: Path, make_model: Make, form: str, ndim: int
) -> None:
    path = make_model(ndim, channels=2, outputs=3)
    if form == "onnx":
        runtime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
        pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    difference = export_model(read_checkpoint(path), form, tmp_path / "out", About())
    if form == "torchscript":
        run: Any = torch.jit.load(tmp_path / "out" / "model.ts.pt")
    elif form == "pt2":
        run = torch.export.load(tmp_path / "out" / "model.pt2").module()
    else:
        session = runtime.InferenceSession(tmp_path / "out" / "model.onnx")

        def run(image: Tensor) -> Tensor:
            return torch.from_numpy(session.run(None, {"image": image.numpy()})[0])

    for batch, sides in ((1, (8, 32, 32)), (3, (6, 40, 64))):
        image = noise(batch, 2, *sides[-ndim:])
        wanted = logits(ours(path), image)
        assert wanted.shape[1] == 3
        torch.testing.assert_close(logits(run, image), wanted, rtol=1e-4, atol=1e-4)
    assert difference < 1e-4
    metadata = json.loads((tmp_path / "out" / "model.json").read_text())
    assert metadata["input"]["axes"] == "BC" + "ZYX"[-ndim:]
    assert metadata["input"]["sides_multiples_of"] == [2] * ndim
    assert metadata["output"]["channels"] == 3
    assert metadata["image"]["normalization"]["method"] == "percentile"


@pytest.mark.parametrize(
    ("ndim", "rule"),
    [(2, RULES[0]), *(pytest.param(3, rule, marks=pytest.mark.slow) for rule in RULES[1:])],
)
def test_zoo_package_is_valid_and_reproduces_its_output(
    tmp_path: Path, make_model: Make, ndim: int, rule: dict[str, Any]
) -> None:
    spec = pytest.importorskip("bioimageio.spec", reason="the extra bioimageio is not installed")
    core = pytest.importorskip("bioimageio.core", reason="the extra bioimageio is not installed")
    path = make_model(ndim, normalization=rule)
    about = About("nuclei", "finds nuclei", ["A. Person"], "CC-BY-4.0")
    assert export_model(read_checkpoint(path), "bioimageio", tmp_path / "out", about) < 1e-3
    # the zoo's test turns deterministic algorithms on, which fill new memory with NaN
    assert not torch.are_deterministic_algorithms_enabled()
    package = tmp_path / "out" / "model.bioimageio.zip"
    assert list(package.parent.iterdir()) == [package]
    model = spec.load_model_description(package)
    assert model.validation_summary.status in ("passed", "valid-format")
    assert model.name == "nuclei" and str(model.license) == "CC-BY-4.0"
    assert model.authors[0].name == "A. Person"

    # the zoo's runner normalizes grey levels as we do, and returns our probability
    from bioimageio.core.digest_spec import get_test_input_sample

    sample = get_test_input_sample(model)
    grey = np.asarray(sample.members["image"].data)
    with core.create_prediction_pipeline(model, devices=["cpu"]) as pipeline:
        given = pipeline.predict_sample_without_blocking(
            sample, skip_input_padding=True, skip_output_cropping=True
        )
    found = np.asarray(given.members["probability"].data)
    image = normalize(grey[0], *intensity_statistics(grey[0], rule))
    wanted = logits(ours(path), torch.from_numpy(image)[None]).sigmoid().numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_invalid_license_is_refused(tmp_path: Path, make_model: Make) -> None:
    pytest.importorskip("bioimageio.core", reason="the extra bioimageio is not installed")
    checkpoint = read_checkpoint(make_model(2))
    with pytest.raises(ModelError, match="license"):
        export_model(checkpoint, "bioimageio", tmp_path / "out", About(license="mine"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "heads", [["foreground", "distance"], ["foreground", "distance", "contour"]]
)
def test_training_leaves_best_model_pth_config_json_results_json_of_several_outputs(
    tmp_path: Path, make_model: Make, heads: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The seed: "`best_model.pth`, `config.json`, `results.json`", for every recipe."""
    tuned = {"threshold": 0.4, "min_depth": 0.1}
    path = make_model(2, outputs=len(heads), heads=heads, tuned=tuned)
    assert export_model(read_checkpoint(path), "folder", tmp_path / "out", About()) == 0
    again, image = read_checkpoint(tmp_path / "out"), noise(1, 1, 40, 48)
    assert again.image == read_checkpoint(path).image
    expected = logits(ours(path), image)
    assert torch.equal(logits(build_network(again), image), expected)
    # as other programs read it: one output
    (tmp_path / "out/all_outputs.pth").unlink()
    alone = read_checkpoint(tmp_path / "out")
    assert "heads" not in alone.image and alone.image["tuned"] == {"threshold": 0.4}
    assert "all_outputs.pth: is missing; only the foreground is predicted" in caplog.text
    torch.testing.assert_close(logits(build_network(alone), image), expected[:, :1])
    caplog.clear()
    export_model(read_checkpoint(path), "cytodl", tmp_path / "cytodl", About())
    torch.testing.assert_close(logits(ours(tmp_path / "cytodl"), image), expected[:, :1])
    assert f"left out: {', '.join(heads[1:])}" in caplog.text


def test_classes_are_kept(tmp_path: Path, make_model: Make) -> None:
    path = make_model(2, outputs=2, heads=["class_nucleus", "class_spindle"])
    assert export_model(read_checkpoint(path), "folder", tmp_path / "out", About()) == 0
    assert json.loads((tmp_path / "out/config.json").read_text())["classes"] == [
        "nucleus",
        "spindle",
    ]
    again = tmp_path / "again"
    assert export_model(read_checkpoint(tmp_path / "out"), "folder", again, About()) == 0
    with pytest.raises(ModelError, match=r"predicts classes \(nucleus, spindle\)"):
        export_model(read_checkpoint(path), "cytodl", tmp_path / "cytodl", About())


def test_cytodl_refuses_models_of_several_channels(tmp_path: Path, make_model: Make) -> None:
    with pytest.raises(ModelError, match="has 2 input channels; Segmenter ML reads one"):
        export_model(read_checkpoint(make_model(2, channels=2)), "cytodl", tmp_path / "o", About())
    assert not list(tmp_path.iterdir())


def test_export_with_another_output_is_removed(
    tmp_path: Path, make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = read_checkpoint(make_model(2))
    other = read_checkpoint(make_model(2, seed=1))
    monkeypatch.setattr(weights_and_config, "read_exported", lambda folder: other)
    with pytest.raises(ModelError, match=r"its output differs from the model's by \d"):
        export_model(checkpoint, "folder", tmp_path / "out", About())
    loaded = build_network(other)
    monkeypatch.setattr(graphs.torch.jit, "load", lambda path: loaded)
    with pytest.raises(
        ModelError, match=r"differs from the model's by .*, expected at most 0.0003"
    ):
        export_model(checkpoint, "torchscript", tmp_path / "out", About())
    assert not list(tmp_path.iterdir())


def test_export_with_other_image_settings_is_removed(
    tmp_path: Path, make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = read_checkpoint(make_model(2, normalization=RULES[1]))
    monkeypatch.setattr(weights_and_config, "read_exported", lambda folder: other)
    with pytest.raises(ModelError, match="normalization is imported as"):
        export_model(read_checkpoint(make_model(2)), "folder", tmp_path / "out", About())


def test_missing_extra_is_reported(
    tmp_path: Path, make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        MissingPackageError, match=r"\(onnxruntime\)\nInstall it: pip install 'cytoloop\[onnx\]'"
    ):
        export_model(read_checkpoint(make_model(2)), "onnx", tmp_path / "out", About())
    assert not list(tmp_path.iterdir())


def test_missing_cytodl_is_reported(
    tmp_path: Path, make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cyto_dl", "cyto_dl.train"):
        monkeypatch.setitem(sys.modules, name, None)  # makes the import fail
    with pytest.raises(ModelError, match=r"format=cytodl: needs CytoDL: .*cyto_dl") as error:
        export_model(read_checkpoint(make_model(2)), "cytodl", tmp_path / "out", About())
    assert "pip install --no-deps cyto-dl==0.6.2" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_output_that_is_not_empty_is_kept(tmp_path: Path, make_model: Make) -> None:
    checkpoint = read_checkpoint(make_model(2))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not empty"):
        export_model(checkpoint, "folder", tmp_path, About())
    assert (tmp_path / "notes.txt").read_text() == "mine"
    export_model(checkpoint, "folder", tmp_path, About(), overwrite=True)
    assert (tmp_path / "best_model.pth").is_file() and not (tmp_path / "notes.txt").exists()
    with pytest.raises(ConfigError, match=f"Expected {', '.join(EXPORTERS)}"):
        export_model(checkpoint, "keras", tmp_path / "x", About())


def test_round_trip_logs_nothing(
    tmp_path: Path, make_model: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "cytoloop"):
        export_model(read_checkpoint(make_model(2)), "folder", tmp_path / "out", About())
    assert not [one for one in caplog.records if one.name.startswith("cytoloop")]
