"""The settings of a prediction: validated when they are made, all faults at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from cytoloop.configs import __path__ as configs

from cytoloop.errors import ConfigError
from cytoloop.inference.postprocess.settings import PostprocessSettings
from cytoloop.inference.read_settings import array_settings, read_settings
from cytoloop.inference.settings import (
    OutputSettings,
    PredictionSettings,
    ReadingSettings,
    WindowSettings,
)
from cytoloop.workers.engine import Engine


def config(**values: Any) -> dict[str, Any]:
    """Return the values of configs/predict.yaml with some replaced."""
    with open(f"{configs[0]}/predict.yaml") as file:
        found = yaml.safe_load(file)
    with open(f"{configs[0]}/postprocess/tuned.yaml") as file:
        found["postprocess"] = yaml.safe_load(file)
    return {**found, **values}


def test_the_defaults_in_python_are_those_of_the_config() -> None:
    assert read_settings(config()) == (PredictionSettings(), Engine())
    assert array_settings(None, {}) == PredictionSettings()


@pytest.mark.parametrize(
    "make, name, value",
    [
        (ReadingSettings, "spacing_um", (1.0, 0.5)),
        (ReadingSettings, "spacing_um", (1.0, 0.5, float("nan"))),
        (ReadingSettings, "spacing_um", 0.5),
        (ReadingSettings, "pyramid_level", -1),
        (ReadingSettings, "pyramid_level", True),
        (ReadingSettings, "resample", "yes"),
        (WindowSettings, "window", "large"),
        (WindowSettings, "overlap", 1),
        (WindowSettings, "tta", "all"),
        (WindowSettings, "batch_size", 0),
        (WindowSettings, "batch_size", True),
        (WindowSettings, "skip_empty", 1),
        (WindowSettings, "accelerator", "tpu"),
        (WindowSettings, "precision", "64"),
        (OutputSettings, "save", ()),
        (OutputSettings, "save", ("logits",)),
        (OutputSettings, "format", "png"),
        (OutputSettings, "probability_dtype", "float64"),
        (Engine, "engine", "slurm"),
        (Engine, "workers", -1),
        (Engine, "scheduler", "tcp://host:8786"),
        (PostprocessSettings, "threshold", "high"),
        (PostprocessSettings, "threshold", 1.0),
        (PostprocessSettings, "min_depth", None),
        (PostprocessSettings, "seed_closing", -1),
        (PostprocessSettings, "border", "left"),
        (PostprocessSettings, "method", "cellpose"),
        (PostprocessSettings, "fill_holes", 1),
    ],
)
def test_a_wrong_value_is_refused_when_settings_are_made(make: Any, name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name}="):
        make(**{name: value})


def test_volumes_must_leave_an_object() -> None:
    with pytest.raises(ConfigError, match="max_volume_um3=2: is below min_volume_um3=5"):
        PostprocessSettings(min_volume_um3=5.0, max_volume_um3=2.0)


def test_faults_of_all_stages_are_reported_at_once() -> None:
    values = config(tta="all", save="logits", workers=-1, spacing_um=[1, 2], pyramid_level="x")
    values["postprocess"] = {"border": "left", "threshold": 2}
    with pytest.raises(ConfigError) as caught:
        read_settings(values, ["output=... is missing"])
    for part in ("output", "tta", "save", "workers", "spacing_um", "pyramid_level", "border"):
        assert sum(problem.split("=")[0].endswith(part) for problem in caught.value.problems) == 1
    assert len(caught.value.problems) == 8


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="treshold: unknown option, expected .*threshold"):
        array_settings(None, {"treshold": 0.5})
    with pytest.raises(ConfigError, match="postprocess.treshold: unknown key"):
        PostprocessSettings.from_config({"treshold": 0.5})


def test_options_of_python_reach_their_stage() -> None:
    found = array_settings((0.5, 0.25), {"tta": "flips", "precision": 32, "border": "xy"})
    assert found.reading.spacing_um == (1.0, 0.5, 0.25)
    assert (found.windows.tta, found.windows.precision) == ("flips", "32")
    assert found.postprocess.border == "xy"


def test_the_digest_changes_with_what_results_depend_on() -> None:
    one = PredictionSettings()
    other = replace(one, windows=WindowSettings(batch_size=2, accelerator="cpu"))
    assert one.digest() == other.digest() == PredictionSettings().digest()
    changed = [
        replace(one, windows=WindowSettings(tta="flips")),
        replace(one, reading=ReadingSettings(channel="DAPI")),
        replace(one, postprocess=PostprocessSettings(threshold=0.4)),
        replace(one, output=OutputSettings(("labels",))),
    ]
    assert len({one.digest(), *(each.digest() for each in changed)}) == 5
