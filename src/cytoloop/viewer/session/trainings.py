"""Trainings of this machine: found again from their files, with curves, and stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cytoloop.cli.background import LOG_FILE
from cytoloop.tracking.lock import list_processes
from cytoloop.tracking.output_folder import PROGRESS_FILE
from cytoloop.tracking.run_status import RunStatus, cancel_training, list_statuses

BEST_CHECKPOINT = "checkpoints/best.ckpt"
SHEETS = "snapshots"
"""Folder of sheets of sample fields."""
STATES = {
    "running": "is training",
    "finished": "has finished",
    "stopped": "was stopped; it can be continued",
    "ended": "ended before its first epoch",
}


@dataclass(frozen=True)
class Curves:
    """Loss and Dice of a training over its epochs.

    Attributes
    ----------
    training, validation : dict of str to list of (float, float)
        ``loss`` and ``dice`` to points (epoch, value).
    """

    training: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    validation: dict[str, list[tuple[float, float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingView:
    """What the panel shows of a training.

    Attributes
    ----------
    folder : Path
    state : str
        ``running``, ``finished``, ``stopped`` or ``ended``.
    text : str
        Epoch, step, scores and time left, in words.
    fraction : float
        Part of the budget that is spent, 0 to 1.
    scores : dict of str to float
        Final scores, empty before the end.
    curves : Curves
    sheet : Path or None
        The newest sheet of sample fields: image, truth, prediction.
    """

    folder: Path
    state: str
    text: str
    fraction: float
    scores: dict[str, float]
    curves: Curves
    sheet: Path | None = None


def find_trainings(runs_dir: str | Path = "runs") -> list[Path]:
    """Return the folders of the trainings of this project, the running and newest first."""
    return [status.folder for status in reversed(list_statuses(runs_dir))]


def finished_models(runs_dir: str | Path = "runs") -> list[Path]:
    """Return the folders of trained models, newest first."""
    return [folder for folder in find_trainings(runs_dir) if (folder / BEST_CHECKPOINT).is_file()]


def view_training(folder: Path) -> TrainingView:
    """Return the present state of a training, read from its files."""
    status = RunStatus(folder)
    last = status.last_event
    scores = {name: float(value) for name, value in status.final_scores.items()}
    fraction = 1.0 if status.state == "finished" else float(last.get("spent") or 0)
    curves = read_curves(folder / PROGRESS_FILE)
    text = _describe(status, curves)
    if status.state == "ended":
        text += _last_words(folder / LOG_FILE)
    sheets = sorted((folder / SHEETS).glob("epoch_*.png"))
    sheet = sheets[-1] if sheets else None
    return TrainingView(folder, status.state, text, fraction, scores, curves, sheet)


def who_trains() -> str:
    """Return a sentence about the training that holds an accelerator of this machine, or ""."""
    found = list_processes()
    if not found:
        return ""
    one = found[0]
    return (
        f"{', '.join(one.devices) or 'This machine'} is in use: process {one.pid} trains in "
        f"{one.folder}. One training at a time runs on each accelerator."
    )


def cancel(folder: Path) -> str:
    """Stop a training and return its state; what was learned stays.

    Raises
    ------
    ConfigError
        It does not run, or runs on another machine.
    """
    status = RunStatus(folder)
    for _ in cancel_training(status):
        pass
    return status.update().state


def read_curves(path: Path) -> Curves:
    """Return the curves in a ``progress.jsonl``; half a line at its end is left out."""
    curves = Curves()
    for event in _events(path):
        epoch = float(event.get("epoch") or 0)
        scores = event.get("scores") if isinstance(event.get("scores"), dict) else {}
        for name in ("loss", "dice"):
            if isinstance(event.get(name), float):
                step = float(event.get("step") or 0)
                curves.training.setdefault(name, []).append((step, event[name]))
            if isinstance(scores.get(f"val/{name}"), float):  # type: ignore[union-attr]
                step = float(event.get("step") or epoch)
                points = curves.validation.setdefault(name, [])
                points.append((step, scores[f"val/{name}"]))  # type: ignore[index]
    return curves


def _last_words(path: Path) -> str:
    """Return the last lines that a training in the background has printed, "" without any."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "\n" + "\n".join([line.rstrip() for line in lines if line.strip()][-8:])


def _events(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError:
        return
    for line in lines:
        if not line.endswith(b"\n"):
            return
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def _describe(status: RunStatus, curves: Curves) -> str:
    parts = [f"{status.folder.name} {STATES[status.state]}"]
    if status.epoch_text:
        parts.append(f"epoch {status.epoch_text}, step {status.last_event.get('step', 0)}")
    for name in ("loss", "dice"):
        lines = {"": curves.training, "validation ": curves.validation}
        found = [
            f"{of}{name} {line[name][-1][1]:.3f}" for of, line in lines.items() if line.get(name)
        ]
        parts.extend(found)
    left = status.last_event.get("seconds_left")
    if status.state == "running" and isinstance(left, (int, float)):
        parts.append(f"{max(left, 0) / 60:.0f} min left")
    return ", ".join(parts)
