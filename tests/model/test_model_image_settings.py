"""A checkpoint whose numbers are wrong is refused before it predicts anything."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cytoloop.errors import ModelError
from cytoloop.inference.postprocess.training_facts import MODEL_FILE, TrainingFacts
from cytoloop.inference.windows.predictor import Predictor
from cytoloop.model.checkpoint import read_checkpoint
from cytoloop.model.image_settings import check_image_settings, require_image_settings

VALID: dict[str, Any] = {
    "spatial_dims": 3,
    "channels": 1,
    "spacing_um": [1.0, 0.5, 0.5],
    "patch_size": [8, 32, 32],
    "normalization": {"method": "percentile", "lower": 1.0, "upper": 99.8},
    "object_voxels": 100.0,
}


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("object_voxels", math.inf, "object_voxels is inf"),
        ("object_voxels", math.nan, "object_voxels is nan"),
        ("object_voxels", -1, "object_voxels is -1"),
        ("object_voxels", "many", "object_voxels is 'many'"),
        ("spacing_um", [0.0, 0.5, 0.5], r"spacing_um is \[0\.0, 0\.5, 0\.5\]"),
        ("spacing_um", [math.nan] * 3, "spacing_um is"),
        ("spacing_um", [0.5, 0.5], "spacing_um is"),
        ("spacing_um", 0.5, "spacing_um is 0.5"),
        ("spatial_dims", 4, "spatial_dims is 4, expected 2 or 3"),
        ("channels", 0, "channels is 0"),
        ("channels", 1.5, "channels is 1.5"),
        ("channels", True, "channels is True"),
        ("patch_size", [32, 32], "expected 3 sides"),
        ("patch_size", [8, 32, 0], "patch size"),
        ("zoom", [1.0, -2.0, 1.0], "zoom is"),
        ("channel_names", [1], "channel_names is"),
        ("normalization", None, "normalization is missing"),
        ("normalization", {}, "normalization names no method"),
        ("normalization", "minmax", "normalization is 'minmax'"),
        ("normalization", {"method": "range", "minimum": 5, "maximum": 5}, "not above"),
        ("normalization", {"method": "percentile", "lower": math.nan}, "normalization.lower"),
        ("patch_size", None, "patch_size is missing"),
    ],
)
def test_wrong_image_settings_are_refused(name: str, value: Any, problem: str) -> None:
    check("best.ckpt", VALID)
    with pytest.raises(ModelError, match=problem):
        check("best.ckpt", {**VALID, name: value})


def check(where: str, image: dict[str, Any]) -> None:
    check_image_settings(where, image)
    require_image_settings(where, image)


def test_all_wrong_settings_are_named_at_once() -> None:
    with pytest.raises(ModelError) as error:
        check_image_settings("best.ckpt", {"channels": 0, "spacing_um": [0, 0, 0]})
    assert len(error.value.problems) == 2
    with pytest.raises(ModelError) as error:
        require_image_settings("best.ckpt", {"channels": 1})
    assert len(error.value.problems) == 3


def test_an_assumed_value_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    require_image_settings("best.ckpt", {**VALID, "normalization": {"method": "percentile"}})
    assert "its normalisation lacks percentiles: lower=" in caplog.text
    tuned = {"threshold": math.nan, "min_depth": 0.2}
    assert TrainingFacts.from_checkpoint({**VALID, "tuned": tuned}).tuned is None
    assert "the tuned post-processing is out of range (threshold=nan" in caplog.text


def test_a_checkpoint_is_checked_when_it_is_read(make_model: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match="object_voxels is inf"):
        read_checkpoint(make_model(object_voxels=math.inf))
    with pytest.raises(ModelError, match="normalization names no method"):
        Predictor([read_checkpoint(make_model(normalization={}))])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is not JSON"),
        ("[]", "holds no facts"),
        (json.dumps({"spacing_um": [1, 0, 1]}), "spacing_um is"),
        ('{"object_voxels": Infinity}', "object_voxels is inf"),
    ],
)
def test_damaged_facts_of_predictions_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / MODEL_FILE).write_text(text)
    with pytest.raises(ModelError, match=problem):
        TrainingFacts.read(tmp_path)
