"""Runs, checkpoints by URI, scores and resuming, in a real store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cytoloop.errors import ConfigError, ModelError
from cytoloop.rounds.config_differences import flatten_config
from cytoloop.tracking.checkpoints import locate_checkpoint
from cytoloop.tracking.output_folder import FINISHED_FILE
from cytoloop.tracking.resume import add_training_folder, find_run_to_resume
from cytoloop.tracking.run import closing_run, open_run, start_run
from cytoloop.tracking.scores import fetch_scores, record_scores
from cytoloop.tracking.store import connect, ensure_experiment, page_of_trainings, tracking_uri


def test_the_default_store_is_a_file_of_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert tracking_uri() == "http://127.0.0.1:1"
    assert tracking_uri("sqlite:///x.db") == "sqlite:///x.db"


def test_a_store_that_does_not_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ConfigError, match="127.0.0.1:9.*cannot be used"):
        connect("http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="cannot be used"):
        connect("file:///somewhere/mlruns")  # MLflow 3 refuses plain file stores


@pytest.mark.slow
def test_two_processes_create_one_new_store_together(tmp_path: Path) -> None:
    code = "import sys; from cytoloop.tracking.store import connect; print('up', flush=True); "
    code += "sys.stdin.readline(); connect('sqlite:///new.db')"
    pipe = subprocess.PIPE
    both = [
        subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdin=pipe, stdout=pipe,
                         stderr=pipe, text=True)
        for _ in range(2)
    ]  # fmt: skip
    for one in both:
        assert one.stdout is not None and one.stdout.readline() == "up\n"
    for one in both:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    for one in both:
        _, errors = one.communicate()
        assert one.returncode == 0, errors


def test_a_run_holds_params_metrics_tags_and_files(project: Path, store: str) -> None:
    run = start_run("exp", "first")
    run.params({"a.b": 1, "long": "x" * 7000, **{f"p{i}": i for i in range(150)}})
    run.params({"a.b": 2})  # a resumed run logs them again
    run.metrics({"val/dice": 0.5, "nan": float("nan")}, step=3)
    run.tags({"note": "hello", "none": None})
    (project / "table.csv").write_text("a")
    run.files(["table.csv", "missing.csv"], "tables")
    data = run.client.get_run(run.run_id).data
    assert data.params["a.b"] == "1" and len(data.params) == 152
    assert data.metrics == {"val/dice": 0.5} and data.tags["note"] == "hello"
    assert [f.path for f in run.client.list_artifacts(run.run_id, "tables")] == ["tables/table.csv"]
    folder = Path(store.removeprefix("sqlite:///")).parent / "mlartifacts"
    assert list(folder.rglob("table.csv"))


@pytest.mark.parametrize(
    "error, status", [(None, "FINISHED"), (SystemExit, "KILLED"), (ValueError, "FAILED")]
)
def test_a_run_ends_with_the_status_of_its_training(
    project: Path, error: type[BaseException] | None, status: str
) -> None:
    run = start_run("exp", "ends")
    (project / "last.ckpt").write_text("weights")
    try:
        with closing_run(run, project):
            if error:
                raise error("the reason")
    except BaseException as caught:
        assert type(caught) is error
    ended = run.client.get_run(run.run_id)
    assert ended.info.status == status
    reason = "ValueError: the reason" if status == "FAILED" else None
    assert ended.data.tags.get("cytoloop.failure") == reason
    located = locate_checkpoint(f"runs:/{run.run_id}/last")
    assert located.path.read_text() == "weights" and located.run_id == run.run_id
    with pytest.raises(ModelError, match=r"no checkpoints/best.ckpt.*\n.*/last"):
        locate_checkpoint(f"runs:/{run.run_id}")


@pytest.mark.parametrize(
    "uri, reason",
    [
        ("runs:/" + "0" * 32, "no such run"),
        ("runs:/xyz", "not a run URI"),
        ("models:/none/1", "not in the registry"),
        ("models:/none@best", "not in the registry"),
        ("models:/none", "not a model URI"),
        ("none.ckpt", "no such checkpoint"),
        (".", "has no best.ckpt"),
    ],
)
def test_missing_checkpoints_are_refused(project: Path, uri: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        locate_checkpoint(uri)


def test_the_run_of_a_file_in_an_output_folder_is_found(project: Path) -> None:
    (project / "checkpoints").mkdir()
    (project / "checkpoints" / "best.ckpt").touch()
    assert locate_checkpoint(str(project)).run_id is None
    (project / "run_id").write_text("a" * 32 + "\n")
    assert locate_checkpoint(str(project)).run_id == "a" * 32
    (project / "run_id").write_text("../../etc")
    assert locate_checkpoint(str(project)).run_id is None


def test_a_folder_of_another_tool_is_returned_as_a_folder(project: Path) -> None:
    experiment, pair = project / "experiment", project / "pair"
    for file in (experiment / "checkpoints" / "epoch_000.ckpt", pair / "best_model.pth"):
        file.parent.mkdir(parents=True)
        file.touch()
        located = locate_checkpoint(str(file.parent.parent if file.suffix == ".ckpt" else pair))
        assert located.path in (experiment, pair) and located.run_id is None
    (experiment / "run_id").write_text(
        "a" * 32 + "\n"
    )  # a training of CytoLoop without a best checkpoint
    with pytest.raises(ModelError, match=r"has no best.ckpt, no checkpoints/\*.ckpt"):
        locate_checkpoint(str(experiment))


def test_the_newest_stopped_run_is_resumed(project: Path) -> None:
    with pytest.raises(ModelError, match="lists no stopped training to resume"):
        find_run_to_resume("true")
    for age, name in enumerate(("c", "b", "a")):
        last = project / "runs/train" / name / "checkpoints" / "last.ckpt"
        last.parent.mkdir(parents=True)
        last.touch()
        os.utime(last, (1e9 - age, 1e9 - age))
        add_training_folder(Path("runs/train") / name, "runs")
    assert find_run_to_resume("true").name == "c"
    (project / "runs/train/c" / FINISHED_FILE).touch()
    assert find_run_to_resume("true").name == "b"
    assert find_run_to_resume("runs/train/c").name == "c"
    with pytest.raises(ModelError, match=r"no checkpoints/last.ckpt"):
        find_run_to_resume("runs")


def test_a_run_is_resumed_by_its_id(project: Path) -> None:
    run = start_run("exp", "r")
    with pytest.raises(ModelError, match="no checkpoints/last.ckpt"):
        find_run_to_resume(f"runs:/{run.run_id}")
    (project / "out" / "checkpoints").mkdir(parents=True)
    (project / "out" / "checkpoints" / "last.ckpt").touch()
    run.tags({"cytoloop.output": project / "out"})
    assert find_run_to_resume(f"runs:/{run.run_id}") == project / "out"
    assert start_run("exp", "r", run_id=run.run_id).run_id == run.run_id


def test_mlflow_opens_the_experiment_on_its_trainings(project: Path) -> None:
    """New, made by another program without a kind, and with a kind that somebody has chosen."""
    client = connect(None)
    client.create_experiment("bare")
    client.create_experiment("chosen", tags={"mlflow.experimentKind": "genai_development"})
    kinds = {}
    for name in ("new", "bare", "chosen"):
        found = client.get_experiment(ensure_experiment(client, name))
        kinds[name] = found.tags["mlflow.experimentKind"]
    trainings = "custom_model_development"
    assert kinds == {"new": trainings, "bare": trainings, "chosen": "genai_development"}


def test_the_ui_opens_on_the_trainings_of_the_latest_experiment(project: Path) -> None:
    client = connect(None)
    found = ensure_experiment(client, "used last")
    page = f"/#/experiments/{found}/runs?workflowType=machine_learning&viewStateShareKey=cytoloop"
    assert page_of_trainings(client) == page
    view = client.get_experiment(found).tags["mlflow.sharedViewState.cytoloop"]
    assert "metrics.`test/dice`" in json.loads(view)["selectedColumns"]


def test_a_deleted_experiment_is_refused(project: Path) -> None:
    run = start_run("gone", "r")
    run.client.delete_experiment(run.client.get_run(run.run_id).info.experiment_id)
    with pytest.raises(ConfigError, match="was deleted"):
        start_run("gone", "r")


def test_scores_go_into_the_run_that_made_the_model(project: Path) -> None:
    run = start_run("exp", "scores")
    rows = [{"id": "a", "run_id": run.run_id}]
    record_scores(rows, {"dice": 0.9, "f1_50": None}, [])
    assert open_run(run.run_id).client.get_run(run.run_id).data.metrics == {"test/dice": 0.9}
    record_scores([{"id": "a"}], {"dice": 0.9}, [])  # no run: predictions of another tool


def test_a_second_evaluation_keeps_the_first(project: Path) -> None:
    run = start_run("exp", "twice")
    rows, table = [{"id": "a", "run_id": run.run_id}], project / "metrics.csv"
    table.write_text("first")
    record_scores(rows, {"dice": 0.9, "ece": 0.1}, [table], "dataset/test.csv")
    table.write_text("second")
    record_scores(rows, {"dice": 0.7}, [table], "https://ann:key@host/new/*.tif?token=1")
    found = run.client.get_run(run.run_id).data
    assert found.metrics["test/dice"] == 0.7
    history = run.client.get_metric_history(run.run_id, "test/dice")
    assert [(one.step, one.value) for one in history] == [(1, 0.9), (2, 0.7)]
    assert fetch_scores(f"runs:/{run.run_id}").read_text() == "second"
    assert fetch_scores(f"runs:/{run.run_id}/1_dataset_test").read_text() == "first"
    assert found.tags["cytoloop.evaluation"] == "evaluation/2_new"
    assert found.tags["cytoloop.evaluation.1"] == "evaluation/1_dataset_test: dataset/test.csv"
    assert "key" not in found.tags["cytoloop.evaluation.2"]
    with pytest.raises(ModelError, match="has no evaluation 3_other"):
        fetch_scores(f"runs:/{run.run_id}/3_other")
    with pytest.raises(ModelError, match="not a run URI"):
        fetch_scores(f"runs:/{run.run_id}/../1_dataset_test")


def test_an_evaluation_of_an_earlier_version_is_found(project: Path) -> None:
    run = start_run("exp", "old")
    run.text("old", "evaluation/metrics.csv")
    assert fetch_scores(f"runs:/{run.run_id}").read_text() == "old"


def test_flattening_keeps_lists_whole() -> None:
    assert dict(flatten_config({"a": {"b": [1, 2], "c": {}}, "d": None})) == {
        "a.b": [1, 2],
        "a.c": {},
        "d": None,
    }


def test_stored_scores_of_a_run_are_fetched(project: Path) -> None:
    run = start_run("exp", "scored")
    with pytest.raises(ModelError, match="the run has no evaluation"):
        fetch_scores(f"runs:/{run.run_id}")
    (project / "metrics.csv").write_text("id,dice\na,0.5\n")
    record_scores([{"id": "a", "run_id": run.run_id}], {"dice": 0.5}, ["metrics.csv"])
    assert fetch_scores(f"runs:/{run.run_id}").read_text() == "id,dice\na,0.5\n"
    with pytest.raises(ModelError, match="no such run"):
        fetch_scores(f"runs:/{'0' * 32}")
    with pytest.raises(ModelError, match="not a run URI"):
        fetch_scores("runs:/123")
