"""Predictions of a model of classes: a map with a channel per class, and a class image."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cytoloop.errors import ConfigError, ModelError
from cytoloop.inference.inputs.list_inputs import list_inputs
from cytoloop.inference.model_source import ModelSource
from cytoloop.inference.postprocess.segment_maps import class_threshold
from cytoloop.inference.postprocess.settings import PostprocessSettings
from cytoloop.inference.postprocess.training_facts import TrainingFacts
from cytoloop.inference.predict_rows import predict_rows
from cytoloop.inference.reprocess import reprocess_table
from cytoloop.inference.settings import OutputSettings, PredictionSettings
from cytoloop.inference.windows.map_names import map_names
from cytoloop.io.labels import read_labels
from cytoloop.io.read import read_image
from cytoloop.manifest import Row, read_manifest
from cytoloop.model.checkpoint import read_checkpoint
from cytoloop.model.exporters import About, bioimage_description, export_model
from cytoloop.training.tuning import best_threshold, tune
from cytoloop.truth.classes import class_image

NAMES = ("nucleus", "spindle")
HEADS = [f"class_{name}" for name in NAMES]
Make = Callable[..., Path]


def predicted(
    folder: Path,
    model: Path,
    output: str,
    postprocess: PostprocessSettings | None = None,
    **of_output: Any,
) -> Row:
    """Predict an image of noise; return its row."""
    settings = PredictionSettings(
        postprocess=postprocess or PostprocessSettings(), output=OutputSettings(**of_output)
    )
    rows = list_inputs(folder / "raw")
    predict_rows(rows, ModelSource((str(model),), "m"), folder / output, settings)
    (row,) = read_manifest(folder / output / "predictions.csv", ("id",))
    assert row["status"] == "done", row["reason"]
    return row


@pytest.fixture
def folder(tmp_path: Path, tiff: Callable[[Path, np.ndarray], Path]) -> Path:
    raw = np.random.default_rng(0).normal(500, 100, (40, 48)).astype(np.uint16)
    tiff(tmp_path / "raw" / "a.tif", raw)
    return tmp_path


@pytest.fixture
def model(make_model: Make) -> Path:
    return make_model(2, outputs=2, heads=HEADS, tuned={"threshold_nucleus": 0.3})


@pytest.mark.parametrize("file_format", ["ome-tiff", "ome-zarr"])
@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_maps_are_channels_and_the_mask_follows_from_them(
    folder: Path, model: Path, file_format: str, dtype: str
) -> None:
    row = predicted(folder, model, "out", format=file_format, probability_dtype=dtype)
    assert row["classes"] == "nucleus spindle" and row["threshold"] == "0.3 0.5"
    assert not row["labels"] and not row["objects_table"] and not row["distance"]
    found = read_image(row.file("probability") or "")
    assert found.channels == NAMES and found.data.shape == (2, 40, 48)
    assert found.spacing_um == pytest.approx((1.0, 0.3, 0.3))
    full = 255 if dtype == "uint8" else 1
    wanted = class_image(list(found.data), [0.3 * full, 0.5 * full])
    np.testing.assert_array_equal(read_labels(row.file("mask") or ""), wanted)
    assert len(np.unique(wanted)) > 1
    facts = json.loads((folder / "out" / "model.json").read_text())
    assert facts["classes"] == list(NAMES)


def test_thresholds_are_tuned_given_or_found_in_the_image(folder: Path, model: Path) -> None:
    training = TrainingFacts.from_checkpoint(read_checkpoint(model).image)
    assert training.classes == NAMES
    tuned = [class_threshold(PostprocessSettings(), training, name) for name in NAMES]
    assert tuned == [0.3, 0.5]
    given = predicted(folder, model, "o", PostprocessSettings(threshold=0.7))
    assert given["threshold"] == "0.7 0.7"
    found = predicted(folder, model, "o", PostprocessSettings(threshold="otsu"))["threshold"]
    assert len(found.split()) == 2 and all(0.1 <= float(t) <= 1 for t in found.split())
    assert not predicted(folder, model, "o", PostprocessSettings(instances=False))["mask"]


def test_outputs_that_a_model_of_classes_lacks_are_refused(folder: Path, model: Path) -> None:
    with pytest.raises(ConfigError, match="predicts classes .nucleus, spindle., not objects"):
        predicted(folder, model, "out", save=("labels", "objects"))
    predicted(folder, model, "out", save=("probability",))
    with pytest.raises(ConfigError, match="not objects"):
        reprocess_table(folder / "out" / "predictions.csv", folder / "again",
                        PredictionSettings(output=OutputSettings(("labels",))))  # fmt: skip


@pytest.mark.parametrize(
    "heads", [["foreground", "class_a"], ["class_a"], ["class_../../x", "class_b"], "class_a"]
)
def test_heads_that_are_not_classes_are_refused(heads: Any) -> None:
    assert map_names({"heads": HEADS}) == tuple(HEADS)
    with pytest.raises(ModelError, match="or classes"):
        map_names({"heads": heads})


def test_tuned_values_out_of_range_are_ignored() -> None:
    image = {"heads": HEADS, "tuned": {"threshold_nucleus": 7.0, "threshold_other": 0.2}}
    assert TrainingFacts.from_checkpoint(image).tuned is None


class Example:
    """An image with its truth."""

    def __init__(self, image: np.ndarray, labels: np.ndarray) -> None:
        self.id, self.image, self.labels = "a", image, labels
        self.valid, self.spacing_um = np.ones(labels.shape, bool), None


def test_the_threshold_of_each_class_is_tuned_and_stored(model: Path) -> None:
    image = np.random.default_rng(1).normal(500, 100, (1, 40, 48)).astype(np.float32)
    labels = np.zeros((40, 48), np.uint8)
    labels[10:20] = 1  # no image has a spindle
    found = tune(model, [Example(image, labels)], PostprocessSettings())
    assert set(found) == {"threshold_nucleus", "threshold_spindle", "dice", "dice_nucleus",
                          "dice_spindle"}  # fmt: skip
    assert found["threshold_spindle"] == 0.5
    kept = TrainingFacts.from_checkpoint(read_checkpoint(model).image).tuned
    assert kept == {n: found[n] for n in ("threshold_nucleus", "threshold_spindle")}


def test_training_images_help_few_validation_images_to_choose_the_threshold(model: Path) -> None:
    image = np.random.default_rng(1).normal(500, 100, (1, 40, 48)).astype(np.float32)
    some, all_of_it = np.zeros((40, 48), np.uint8), np.ones((40, 48), np.uint8)
    some[10:20] = 1

    def threshold(valid: int, train: int) -> float:
        examples, more = [Example(image, all_of_it)] * valid, [Example(image, some)] * train
        return float(tune(model, examples, PostprocessSettings(), more)["threshold_nucleus"])

    assert threshold(4, 12) == threshold(1, 0) != threshold(1, 12)


def test_the_threshold_of_a_class_has_the_best_dice() -> None:
    labels = np.repeat([0, 1, 2, 2], 25).reshape(10, 10)
    levels = np.repeat([20, 60, 200, 220], 25).astype(np.uint8).reshape(10, 10)
    example = Example(levels[None], labels)
    threshold, dice = best_threshold([levels], [example], value=2)
    assert 60 / 255 < threshold < 200 / 255 and dice == 1
    assert best_threshold([levels], [example])[0] < 60 / 255


def test_an_exported_graph_names_its_classes(tmp_path: Path, model: Path) -> None:
    export_model(read_checkpoint(model), "torchscript", tmp_path / "out", About())
    facts = json.loads((tmp_path / "out" / "model.json").read_text())
    assert facts["output"]["heads"] == facts["image"]["heads"] == HEADS
    run = torch.jit.load(tmp_path / "out" / "model.ts.pt")
    assert run(torch.zeros(1, 1, 32, 32)).shape == (1, 2, 32, 32)


def test_a_bioimage_package_gives_the_probability_of_each_class(model: Path) -> None:
    v0_5 = pytest.importorskip("bioimageio.spec.model.v0_5", reason="an extra is not installed")
    checkpoint = read_checkpoint(model)
    assert bioimage_description.has_probability_output(checkpoint)
    assert bioimage_description._output_axes(v0_5, checkpoint, True)[1].channel_names == HEADS
    assert "1 = nucleus, 2 = spindle" in bioimage_description.readme_text(checkpoint, About())
