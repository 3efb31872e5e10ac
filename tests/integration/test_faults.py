"""Faults at random moments of each verb: afterwards the state is that of an unbroken run.

Each verb is killed before random writes, spread over its phases and seeded, and runs on a full
disk. Then the same command (for a training: ``resume=``) runs again. ``--campaign 30`` kills each
verb 30 times.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cytoloop.io.read import read_image

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]

TRAIN = [
    *("train", "experiment=nuclei_2d", "model/size=small", "data.batch_size=2", "seed=1"),
    *("data.steps_per_epoch=3", "trainer.precision=32", "augmentation=light", "tune=false"),
    *("data.patch_size=[32,32]", "data.path=ds", "output=out", "trainer.accelerator=cpu"),
    *("score_test=false", "callbacks.snapshots.max_sheets=0", "lock=false"),
]
COMMANDS: dict[str, list[str]] = {
    "curate": ["curate", "raw=images/raw", "seg1=images/seg", "output=out", "materialize=true"],
    "annotate": ["annotate", "data.path=ds", "output=out", "format=labels"],
    "predict": ["predict", "checkpoint=best.ckpt", "input=images/raw", "output=out"],
    "evaluate": [
        "evaluate",
        "predictions=images/seg",
        "truth=images/seg",
        "output=out",
        "overlays=1",
    ],
    "compare": ["compare", "a=eval", "b=eval", "output=out"],
    "export": ["models", "export", "checkpoint=best.ckpt", "format=folder", "output=out"],
    "steps": [*TRAIN, "trainer.max_steps=12"],
    "epochs": [*TRAIN, "trainer.max_epochs=4"],
}
EXPECTED = {"compare": 3}
"""Exit status of a whole run, where it is not 0: no evidence of a difference."""

_VOLATILE = {"seconds", "time", "model", "run_id"}
"""Columns that differ between two runs."""


class Server:
    """The process that forks a child for each command."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("fault_server.py"))]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def run(self, folder: Path, words: list[str], **fault: Any) -> dict[str, Any]:
        """Run a command in a folder with a fault: ``kill_at``, ``limit`` or ``env``."""
        request = {"words": words, "cwd": str(folder), "env": {}, "kill_at": None, "limit": None}
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request | fault) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.process.stdin.close()  # type: ignore[union-attr]
    one.process.wait()


@pytest.fixture(scope="module")
def template(
    tmp_path_factory: pytest.TempPathFactory, server: Server, make_model: Callable[..., Path]
) -> Path:
    """A folder with images, a data set, a model and an evaluation; each trial works on a copy."""
    from conftest import make_images

    folder = tmp_path_factory.mktemp("faults") / "template"
    make_images(folder / "images", 3, (48, 56))
    shutil.copy(make_model(2, seed=1), folder / "best.ckpt")
    for words in (
        ["curate", "raw=images/raw", "seg1=images/seg", "output=ds"],
        ["evaluate", "predictions=images/seg", "truth=images/seg", "output=eval", "overlays=0"],
        ["models", "list"],  # creates the MLflow store
    ):
        assert server.run(folder, words)["status"] == 0
    return folder


@pytest.fixture(scope="module")
def whole(server: Server, template: Path) -> Callable[[str], tuple[int, dict[str, Any]]]:
    """Function that returns the number of writes of a verb, and the state that it leaves."""
    known: dict[str, tuple[int, dict[str, Any]]] = {}

    def of(verb: str) -> tuple[int, dict[str, Any]]:
        if verb not in known:
            folder = copy_of(template, f"whole_{verb}")
            found = server.run(folder, COMMANDS[verb])
            assert found["status"] == EXPECTED.get(verb, 0), found["text"]
            known[verb] = found["writes"], state_of(folder / "out")
        return known[verb]

    return of


def copy_of(template: Path, name: str) -> Path:
    folder = template.parent / name
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(template, folder))


def state_of(folder: Path) -> dict[str, Any]:
    """Return the content of all files that a user sees, without what differs between two runs."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") for part in Path(name).parts)
        if path.is_file() and not hidden and (content := content_of(path)) is not None:
            found[name] = json.loads(json.dumps(content).replace(str(folder.parent), "FOLDER"))
    return found


def content_of(path: Path) -> Any:
    """Return what a file holds, in a form that can be compared; None for logs."""
    if path.suffix in (".jsonl", ".log", ".png", ".html") or path.name in ("run_id", "finished"):
        return None
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return [{k: v for k, v in row.items() if k not in _VOLATILE} for row in rows]
    if path.suffix in (".tif", ".tiff"):
        return read_image(path).data.tolist()
    if path.suffix == ".ckpt":
        import torch

        content = torch.load(path, weights_only=True)
        return {k: v.tolist() for k, v in content["state_dict"].items()} | {
            "step": content["global_step"]
        }
    if path.parent.name == "metadata":
        found = json.loads(path.read_text())
        return {k: v for k, v in found.items() if k not in ("date", "seconds")}
    if path.suffix in (".yaml", ".pth"):
        return np.size(path.read_bytes()) and True  # paths and zip times differ
    return path.read_text()


def strata(seed: str, writes: int, count: int) -> list[int]:
    """Return random numbers of writes, one from each of equal parts of a run."""
    rng = random.Random(seed)
    edges = np.linspace(1, writes + 1, count + 1).astype(int)
    return [rng.randrange(a, max(b, a + 1)) for a, b in itertools.pairwise(edges.tolist())]


def again(verb: str, folder: Path) -> list[str]:
    """Return the command that a user gives after a fault."""
    out = folder / "out"
    if verb in ("steps", "epochs"):
        saved = any((out / "checkpoints" / name).exists() for name in ("last.ckpt", "last-1.ckpt"))
        return ["train", "resume=out"] if saved else [*COMMANDS[verb], "overwrite=true"]
    replaces = verb in ("annotate", "export") and out.exists() and any(out.iterdir())
    return [*COMMANDS[verb], *(["overwrite=true"] if replaces else [])]


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_killed_verb_is_repeated_as_if_nothing_had_happened(
    verb: str,
    server: Server,
    template: Path,
    whole: Callable[[str], tuple[int, dict[str, Any]]],
    campaign: int,
) -> None:
    if verb == "epochs" and campaign <= 3:
        pytest.skip("test_loop kills a training with a budget in epochs; --campaign 30 does here")
    writes, expected = whole(verb)
    kills = 2 if verb == "steps" and campaign == 3 else campaign  # a training takes seconds
    for place in strata(f"{verb} {campaign}", writes, kills):
        folder = copy_of(template, verb)
        killed = server.run(folder, COMMANDS[verb], kill_at=place)
        assert killed["status"] == -9, f"write {place} of {writes}: {killed['text']}"
        if verb not in ("steps", "epochs"):  # a training has files of its steps
            for name, content in state_of(folder / "out").items():
                whole_file = content == expected.get(name) or name == "predictions.csv"
                assert whole_file, f"{name} is not whole after a kill at write {place}"
        repeated = server.run(folder, again(verb, folder))
        where = f"write {place} of {writes}"
        assert repeated["status"] == EXPECTED.get(verb, 0), f"{where}: {repeated['text']}"
        found = state_of(folder / "out")
        assert set(found) == set(expected), where
        different = [name for name in expected if found[name] != expected[name]]
        assert not different, f"{where}: {different}"
        left = [p.name for p in (folder / "out").rglob(".*") if p.name != ".hydra"]
        assert not left, f"{where}: {left}"


@pytest.mark.parametrize("verb", sorted({*COMMANDS} - {"epochs"}))
def test_a_full_disk_is_an_answer_and_loses_nothing(
    verb: str,
    server: Server,
    template: Path,
    whole: Callable[[str], tuple[int, dict[str, Any]]],
) -> None:
    _, expected = whole(verb)
    folder = copy_of(template, f"full_{verb}")
    limit = 1_000
    if verb == "steps":  # the disk is full at the first checkpoint
        last = template.parent / "whole_steps/out/checkpoints/last.ckpt"
        limit = last.stat().st_size - 1_000
    full = server.run(folder, COMMANDS[verb], limit=limit)
    assert full["status"] == 2, full["text"]
    assert "Traceback" not in full["text"] and "bug" not in full["text"]
    repeated = server.run(folder, again(verb, folder))
    assert repeated["status"] == EXPECTED.get(verb, 0), repeated["text"]
    assert state_of(folder / "out") == expected


def test_a_store_that_is_away_loses_no_scores(server: Server, template: Path) -> None:
    away = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    folder = copy_of(template, "away")
    found = server.run(folder, COMMANDS["steps"], env=away)
    assert found["status"] == 2 and "MLflow store http://127.0.0.1:9" in found["text"]
    assert not (folder / "out/checkpoints").exists()
    assert server.run(folder, COMMANDS["evaluate"], env=away)["status"] == 0  # from no run
    assert (folder / "out/metrics.csv").is_file()
