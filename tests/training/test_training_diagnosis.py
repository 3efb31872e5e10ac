"""The diagnosis of a training: each finding from a made history, none from a healthy one."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cytoloop.__main__ import main
from cytoloop.data.cached_image import CachedImage
from cytoloop.tracking.output_folder import read_findings, write_findings
from cytoloop.training.data_facts import contrast
from cytoloop.training.diagnosis import DataFacts, as_json, diagnose, is_poor

PQ = "val/pq"
GOOD = [0.2, 0.4, 0.55, 0.62, 0.66, 0.68, 0.69, 0.70]
LOW = [0.1, 0.2, 0.3, 0.31, 0.305, 0.30, 0.31, 0.3]
FALLING = [float(one) for one in 2 * np.exp(-np.arange(48) / 12) + 0.4]
FACTS = DataFacts("ds", 300, 0.1, (64, 64), (20.0, 20.0), (512, 512), 2.0)


def history(
    losses: Sequence[float], scores: Sequence[float], validation: Sequence[float] = ()
) -> list[dict[str, Any]]:
    """Return the lines of a training: a logged step every 10, validations evenly between."""
    lines: list[dict[str, Any]] = [{"event": "start", "step": 0}]
    lines += [{"event": "step", "step": 10 * n, "loss": v} for n, v in enumerate(losses, 1)]
    count = max(len(scores), len(validation))
    for number in range(count):
        found = {"val/pq": scores[number]} if len(scores) else {}
        found |= {"val/loss": validation[number]} if len(validation) else {}
        step = 10 * len(losses) * (number + 1) // count
        lines.append({"event": "validation", "step": step, "scores": found})
    return lines


def names(lines: list[dict[str, Any]], facts: DataFacts | None = FACTS, monitor: str = PQ) -> Any:
    return [one.name for one in diagnose(lines, monitor, "runs/a b", 0.003, facts)]


NOISY = [one * (1 + 0.2 * math.sin(3 * n)) for n, one in enumerate(FALLING)]
CONFIDENT = [1.0, 0.8, 0.7, 0.72, 0.8, 0.85, 0.9, 0.95]  # rises while the score does as well


@pytest.mark.parametrize("lines, facts", [
    (history(FALLING, GOOD), FACTS),
    (history(NOISY, GOOD, CONFIDENT), FACTS),
    (history([0.4 + 0.02 * math.sin(n) for n in range(48)], [0.8, 0.82, 0.81, 0.82] * 2), FACTS),
    (history(FALLING[:3], [0.1]), replace(FACTS, objects=300)),  # seconds
    (history([], []), None),
    (history(FALLING, GOOD), replace(FACTS, objects=5, foreground=0.001, contrast=0.0)),
    (history(FALLING, GOOD), replace(FACTS, patch=(16, 16), image=(16, 16))),
])  # fmt: skip
def test_a_healthy_training_has_no_finding(lines: Any, facts: DataFacts | None) -> None:
    assert names(lines, facts) == []


@pytest.mark.parametrize("losses, scores, validation, expected", [
    # the seed: "Training loss not decreasing: learning rate too high or data issue"
    ([1.0 + 0.05 * math.sin(n) for n in range(48)], LOW, (), "loss_not_decreasing"),
    ([0.5 + 0.05 * n for n in range(48)], LOW, (), "divergence"),
    ([*FALLING[:-1], math.nan], GOOD, (), "divergence"),
    (FALLING, GOOD, [1.0, 0.9, 0.8, 0.7, 0.7, 0.7, 0.7, math.inf], "divergence"),
    (FALLING, GOOD, [1.0, 0.9, 0.8, 0.7, 0.7, 0.7, 0.7, math.nan], "divergence"),
    (FALLING, [0.3, 0.6, 0.65, 0.66, 0.6, 0.58, 0.55, 0.54],
     [1.0, 0.8, 0.7, 0.75, 0.9, 1.0, 1.1, 1.2], "overfitting"),
    (FALLING, LOW, (), "plateau"),
    (FALLING, [0.02, 0.05, 0.1, 0.15, 0.2, 0.26, 0.32, 0.38], (), "too_short"),
])  # fmt: skip
def test_a_finding_on_the_curves(
    losses: list[float], scores: list[float], validation: list[float], expected: str
) -> None:
    assert names(history(losses, scores, validation)) == [expected]


@pytest.mark.parametrize("change, expected", [
    # the seed: "Poor segmentation quality: insufficient training data"
    ({"objects": 6}, ["few_objects"]), ({"objects": 6, "instances": False}, []),
    ({"foreground": 0.001}, ["imbalance"]), ({"contrast": 0.05}, ["masks_do_not_fit"]),
    ({"patch": (16, 64)}, ["small_patch"]), ({"contrast": None}, []),
])  # fmt: skip
def test_a_finding_on_the_data(change: dict[str, Any], expected: list[str]) -> None:
    found = names(history(FALLING, LOW), replace(FACTS, **change))
    assert found == (expected or ["plateau"])
    good = names(history(FALLING, GOOD), replace(FACTS, **change))
    assert good == [one for one in expected if one == "small_patch"]


def test_a_training_that_has_only_a_loss_is_diagnosed_by_it() -> None:
    flat = history([1.0] * 48, [])
    assert names(flat, None, "val/loss") == ["loss_not_decreasing"]
    assert not is_poor(flat, "val/loss") and is_poor(history(FALLING, LOW), PQ)


def test_each_finding_has_a_command_that_train_takes() -> None:
    (found,) = diagnose(history([1.0] * 48, LOW), PQ, "runs/a b", 0.003)
    assert found.next == "cytoloop train rerun='runs/a b' model.optimizer.lr=0.0006"
    (found,) = diagnose(history(FALLING, LOW), PQ, "r")
    assert found.next == "cytoloop train rerun=r model/size=large"
    assert "stopped rising at 0.310" in found.text


def test_masks_that_do_not_fit_have_no_contrast(blobs: Callable) -> None:
    raw, labels = blobs((60, 60), 6, 0)
    one = CachedImage("a", raw[None], labels, labels >= 0, np.zeros((0, 2)), np.zeros(1))
    fits = contrast(one)
    assert fits is not None and fits > 5
    noise = np.random.default_rng(0).normal(500, 60, raw.shape)
    random = contrast(replace(one, image=noise[None]))
    assert random is not None and random < 0.2
    assert contrast(replace(one, labels=np.zeros_like(labels))) is None


def test_status_shows_the_findings_of_a_training(
    project: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture
) -> None:
    folder = project / "m"
    folder.mkdir()
    findings = as_json(diagnose(history([1.0] * 48, LOW), PQ, "m", 0.003))
    write_findings(folder, findings)
    assert read_findings(folder) == findings and json.loads((folder / "diagnosis.json").read_text())
    with caplog.at_level(logging.INFO):
        assert main(["status", f"run={folder}"]) == 0
    output = caplog.text + capfd.readouterr().err
    assert "training loss is not decreasing" in output
    assert "cytoloop train rerun=m model.optimizer.lr=0.0006" in output
    (folder / "diagnosis.json").write_text("[3, {}]")
    assert read_findings(folder) == []
