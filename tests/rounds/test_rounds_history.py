"""The history of rounds, read from runs in a real store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cytoloop.__main__ import main
from cytoloop.errors import ConfigError, ModelError, OutputError
from cytoloop.manifest import write_manifest
from cytoloop.rounds.history import read_history
from cytoloop.rounds.history_display import check_history_file, history_tree, write_history
from cytoloop.terminal import stdout_console
from cytoloop.tracking.run import TrackedRun, start_run


def make_round(
    name: str, number: int, images: dict[str, str], parent: TrackedRun | None = None, **params: str
) -> TrackedRun:
    """Log a run as training does, without a model; `images` is id to hash."""
    run = start_run("exp", name)
    rows = [{"id": i, "raw": f"{i}.tif", "sha256": h} for i, h in images.items()]
    write_manifest(f"{name}/train.csv", rows)
    run.files([f"{name}/train.csv"], "data")
    parents = {"cytoloop.parent_run": parent.run_id} if parent else {}
    run.tags({"cytoloop.round": number, "cytoloop.data_hash": repr(images), **parents})
    run.tags({"cytoloop.output": f"/out/{name}", "cytoloop.data_set": name})
    run.dataset(name, "d", "/x", json.dumps({"train": len(images)}))
    run.params({"lr": "0.1", "output": name, "callbacks.x.folder": f"/out/{name}/x", **params})
    run.metrics({"val/dice": 0.5 + number / 10}, 1)
    run.metrics({"val/dice": 0.4}, 2)
    return run


def test_history_has_data_scores_and_changes(project: Path) -> None:
    first = make_round("r0", 0, {"a": "1", "b": "2"})
    second = make_round("r1", 1, {"a": "1", "c": "3", "renamed": "4"}, first, lr="0.01")
    make_round("other", 1, {"a": "1", "b": "2"}, first)
    third = make_round("r2", 2, {"a": "1", "c": "3", "renamed": "4"}, second, lr="0.01", more="1")
    third.tags({"cytoloop.data_hash": "other labels"})
    make_round("stranger", 0, {"a": "1"})
    root, own = read_history(f"runs:/{second.run_id}")
    assert own == second.run_id
    assert [(d, one.name) for d, one in root.walk()] == [
        (0, "r0"),
        (1, "r1"),
        (2, "r2"),
        (1, "other"),
    ]
    r1 = root.children[0]
    assert (r1.added, r1.removed, r1.relabelled) == (["c", "renamed"], ["b"], False)
    assert r1.changed == {"lr": ("0.1", "0.01")}
    assert r1.scores == {"val/dice": 0.6} and r1.counts == {"train": 3}
    r2 = r1.children[0]
    assert r2.relabelled and not r2.added and r2.changed == {"more": ("-", "1")}
    with stdout_console.capture() as shown:
        stdout_console.print(history_tree(root, own))
    text = shown.get()
    assert "+2: c, renamed; -1: b" in text and "lr: 0.1 -> 0.01" in text
    assert text.count("<- this model") == 1 and "other labels" in text
    page = write_history(root, own, project / "h.html").read_text()
    assert "2 image(s) added: c, renamed" in page and "data:image/png;base64," in page
    assert page.count("<article") == 4 and "http" not in page.replace("http-equiv", "")
    assert write_history(root, own, project / "h.png").read_bytes()[:4] == b"\x89PNG"


def test_history_replaces_a_file_only_with_overwrite(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = make_round("r0", 0, {"a": "1"})
    words = ["history", f"checkpoint=runs:/{run.run_id}", "output=h.png"]
    Path("h.png").write_text("mine")
    assert main(words) == 2
    assert "h.png: exists already" in capfd.readouterr().err
    assert Path("h.png").read_text() == "mine"
    assert main([*words, "overwrite=true"]) == 0
    assert Path("h.png").read_bytes()[:4] == b"\x89PNG"


def test_history_escapes_names_of_runs(project: Path) -> None:
    run = make_round("r0", 0, {"<b>[red]": "1"})
    child = make_round("r1", 1, {"<script>": "2"}, run, more="<u>")
    root, own = read_history(f"runs:/{child.run_id}")
    page = write_history(root, own, project / "h.html").read_text()
    assert "<script>" not in page and "<u>" not in page and "&lt;script&gt;" in page
    with stdout_console.capture() as shown:
        stdout_console.print(history_tree(root, own))
    assert "[red]" in shown.get()


def test_a_missing_parent_ends_the_tree(project: Path) -> None:
    run = make_round("r1", 1, {"a": "1"})
    run.tags({"cytoloop.parent_run": "0" * 32})
    root, _ = read_history(f"runs:/{run.run_id}")
    assert root.run_id == run.run_id and root.children == []
    run.tags(
        {"cytoloop.parent_run": run.run_id}
    )  # a run cannot be its own parent, but reading must end
    assert read_history(f"runs:/{run.run_id}")[0].children == []


def test_history_of_unknown_models_is_refused(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match="no such run"):
        read_history("runs:/" + "0" * 32)
    (project / "x.ckpt").touch()
    with pytest.raises(ModelError, match="the run of this file is unknown"):
        read_history("x.ckpt")
    with pytest.raises(ConfigError, match="expected .html or .png"):
        check_history_file(Path("x.txt"))
    Path("x.html").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        check_history_file(Path("x.html"))
    check_history_file(Path("x.html"), overwrite=True)
    Path("folder.png").mkdir()
    with pytest.raises(OutputError, match="is a folder, expected a file"):
        check_history_file(Path("folder.png"), overwrite=True)
    assert main(["history"]) == 2
    assert "checkpoint=... is missing" in capfd.readouterr().err
