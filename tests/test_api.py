"""The verbs as Python functions: a whole loop, values, errors, and the state of the process."""

from __future__ import annotations

import logging
import os
import random
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cytoloop
from cytoloop import terminal
from cytoloop.__main__ import main
from cytoloop.api.overrides import to_overrides, to_text
from cytoloop.errors import ConfigError, CytoloopError, ImageError, OutputError

DOCS = Path(__file__).parents[1] / "docs" / "reference" / "python.md"
TINY = {
    "data.path": "dataset",
    "model/size": "small",
    "data.patch_size": [32, 32],
    "data.batch_size": 2,
    "data.steps_per_epoch": 4,
    "trainer.max_epochs": 1,
}
"""A training of four steps."""


def process_state() -> dict[str, Any]:
    """Return what a call must not change."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.version import VersionBase

    loggers = {name: logging.getLogger(name) for name in ("", "cytoloop", "lightning", "mlflow")}
    return {
        "environment": dict(os.environ),
        "arguments": list(sys.argv),
        "folder": os.getcwd(),
        "loggers": {n: (list(one.handlers), one.level) for n, one in loggers.items()},
        "warnings": (list(warnings.filters), warnings.showwarning),
        "signals": [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)],
        "hydra": (GlobalHydra.instance().hydra, HydraConfig.instance().cfg),
        "version base of hydra": VersionBase.instance().version_base,
    }


def random_state() -> tuple[Any, ...]:
    """Return the states of the random number generators."""
    import torch

    return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory, store: str) -> Iterator[dict[str, Any]]:
    """The variables of the example in docs/reference/python.md, and states around the run."""
    from conftest import make_images

    code = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)[0]
    short = '"data.patch_size": [32, 32], "data.batch_size": 2, "data.steps_per_epoch": 4'
    budget = '"trainer.max_epochs": 50'
    assert budget in code
    code = code.replace(budget, f'"trainer.max_epochs": 2, {short}')
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("python")
        patch.chdir(make_images(folder / "project" / "images", 6, (48, 56)).parent)
        patch.setenv("MLFLOW_TRACKING_URI", store)
        import cytoloop.rounds.run_training  # noqa: F401 - libraries change the state when imported

        variables: dict[str, Any] = {"before": (process_state(), random_state())}
        exec(compile(code, str(DOCS), "exec"), variables)
        variables["after"] = (process_state(), random_state())
        yield variables


@pytest.mark.slow
def test_curate_returns_counts_and_table(loop: dict[str, Any]) -> None:
    data = loop["data"]
    assert data.folder == Path.cwd() / "dataset"
    assert (data.counts["images"], data.counts["train"]) == (
        6,
        len(pd.read_csv("dataset/train.csv")),
    )
    assert sorted(data.table["id"]) == [f"img_{n}" for n in range(6)]
    assert Path.cwd() / "dataset/dataset.csv" in data.files


@pytest.mark.slow
def test_train_returns_run_checkpoint_and_scores(loop: dict[str, Any]) -> None:
    model = loop["model"]
    assert re.fullmatch("[0-9a-f]{32}", model.run_id)
    assert model.checkpoint == Path.cwd() / "model/checkpoints/best.ckpt"
    assert model.checkpoint.is_file() and model.folder == Path.cwd() / "model"
    assert 0 <= model.scores["val/pq"] <= 1 and "test/dice" in model.scores
    log = (model.folder / "train.log").read_text()
    assert f"MLflow run {model.run_id}" in log


@pytest.mark.slow
def test_predict_returns_the_table_of_files_or_the_arrays_of_an_image(loop: dict[str, Any]) -> None:
    table = loop["files"].table
    assert list(table["status"]) == ["done"] * len(pd.read_csv("dataset/test.csv"))
    assert (loop["files"].folder / table["labels"][0]).is_file()
    assert set(table["run_id"]) == {loop["model"].run_id}
    found = loop["found"]
    assert found.labels.shape == found.mask.shape == loop["image"].data[0].shape
    assert {len(column) for column in found.objects.values()} == {found.labels.max()}


@pytest.mark.slow
def test_evaluate_and_compare_return_scores_and_verdict(loop: dict[str, Any]) -> None:
    tuned, result = loop["tuned"], loop["result"]
    assert tuned.summary["mean"]["dice"] == pytest.approx(tuned.metrics["dice"].mean(), abs=1e-5)
    assert (result.verdict, result.exit_status) == ("no evidence", 3)
    assert "too few" in result.reason
    dice = result.scores.set_index("score").loc["dice"]
    assert dice["of_first"] == pytest.approx(tuned.summary["mean"]["dice"])
    assert dice["difference"] == pytest.approx(dice["of_second"] - dice["of_first"])
    assert set(result.table["first"]) == {"a"} and list(result.table["id"]) == list(
        tuned.metrics["id"]
    )


@pytest.mark.slow
def test_check_returns_facts(loop: dict[str, Any]) -> None:
    facts = cytoloop.check(experiment="nuclei_2d", **{"data.path": "dataset"})
    assert (facts.spatial_dims, facts.spacing_um) == (2, pytest.approx((1.0, 0.3, 0.3)))
    assert facts.counts == {name: loop["data"].counts[name] for name in ("train", "valid", "test")}


@pytest.mark.slow
def test_a_loop_leaves_the_process_as_it_was(loop: dict[str, Any]) -> None:
    before, after = loop["before"], loop["after"]
    for name, value in before[0].items():
        assert after[0][name] == value, name
    assert after[1] == before[1]


@pytest.mark.slow
def test_results_are_frozen(loop: dict[str, Any]) -> None:
    with pytest.raises(AttributeError, match="cannot assign to field 'run_id'"):
        loop["model"].run_id = "x"


@pytest.mark.parametrize(
    "value",
    [
        *("[a]", "a=b", "1e3", "null", "TRUE", "inf", "", " a ", "it's", 'say "a"', "a\\", "a\\'b"),
        *("x,y", "a b", "{a: 1}", "a\nb", "µm", "$a", "~", "-1", "choice(a,b)", "dataset/", "a.b"),
        *(
            None,
            True,
            3,
            0.1,
            1e-5,
            1e30,
            float("inf"),
            [8, None, "x,y", [True]],
            {"a": {"b": "1"}},
        ),
    ],
)
def test_a_value_arrives_as_it_is(value: Any) -> None:
    from hydra import compose, initialize_config_module

    with initialize_config_module("cytoloop.configs", version_base="1.3"):
        found = compose("train", [f"task={to_text(value)}"])["task"]
    assert found == value and type(found).__name__.replace("Config", "").lower() in (
        type(value).__name__.lower()
    )


def test_paths_tuples_and_numpy_values_become_plain_ones() -> None:
    values = {"a": Path("x y"), "b": (1, 2), "c": np.float32(0.5), "+d": np.arange(2), "~e": None}
    expected = ["a='x y'", "b=[1,2]", "c=0.5", "+d=[0,1]", "~e"]
    assert to_overrides("train", values) == expected


def test_keys_and_values_that_cannot_be_overrides_are_all_named() -> None:
    with pytest.raises(ConfigError, match="3 problems") as found:
        cytoloop.train(**{"--help": True, "task": object(), "classes": {"a b": 1}})
    text = str(found.value)
    assert "'--help' is not a key" in text
    assert "task: has the type object, expected None, bool" in text
    assert "classes: the key 'a b' of a dict is not a plain name" in text


def test_unknown_keys_are_reported_as_on_the_command_line(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="3 problems") as found:
        cytoloop.train(experiment="nuclei_4d", **{"data.pth": "x", "trainer.max_epoch": 3})
    assert main(["train", "experiment=nuclei_4d", "data.pth=x", "trainer.max_epoch=3"]) == 2
    assert f"ConfigError: {found.value}\n" in capfd.readouterr().err
    assert "did you mean data.path?" in str(found.value)
    with pytest.raises(ConfigError, match=r"data\.path=\.\.\. is missing"):
        cytoloop.train()


def test_errors_are_exceptions_and_leave_the_process_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").touch()
    before = process_state()
    with pytest.raises(CytoloopError, match="nowhere: no such file or folder"):
        cytoloop.curate(raw="nowhere", seg1="nowhere", output="dataset")
    with pytest.raises(OutputError, match="Choose another output="):
        cytoloop.train(output=tmp_path / "a_file" / "model", **{"data.path": "nowhere"})
    with pytest.raises(ConfigError, match="checkpoint=... is missing"):
        cytoloop.predict("nowhere", output="predictions")
    with pytest.raises(ConfigError, match="checkpoint=... is missing"):
        cytoloop.predict(np.zeros((8, 8)))
    assert process_state() == before


@pytest.mark.slow
def test_failed_images_are_named_after_the_others_are_done(loop: dict[str, Any]) -> None:
    folder = Path("some")
    folder.mkdir()
    (folder / "img_0.tif").symlink_to(Path("images/raw/img_0.tif").absolute())
    (folder / "broken.tif").write_bytes(b"II*\0 rubbish")
    with pytest.raises(ImageError, match=r"broken: .*\n?.*The other 1 are done"):
        cytoloop.predict(folder, [loop["model"].checkpoint], output="some_predictions")
    table = pd.read_csv("some_predictions/predictions.csv")
    assert dict(zip(table["id"], table["status"], strict=True)) == {
        "broken": "failed",
        "img_0": "done",
    }


@pytest.mark.slow
def test_the_log_files_and_hydra_of_the_user_go_on(loop: dict[str, Any], tmp_path: Path) -> None:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    (tmp_path / "own.yaml").write_text("x: 1\n")
    handler = logging.FileHandler(tmp_path / "own.log", mode="w")
    logging.getLogger().addHandler(handler)
    try:
        initialize_config_dir(str(tmp_path), version_base="1.2")
        cytoloop.check(experiment="nuclei_2d", **{"data.path": "dataset"})
        assert compose("own").x == 1
        logging.getLogger().warning("after the call")
    finally:
        logging.getLogger().removeHandler(handler)
        GlobalHydra.instance().clear()
    text = (tmp_path / "own.log").read_text()
    assert "dataset: no problems" in text and "after the call" in text


@pytest.mark.slow
def test_training_works_in_a_thread(loop: dict[str, Any]) -> None:
    found: list[Any] = []

    def work() -> None:
        try:
            settings = {**TINY, "tune": False, "score_test": False}
            found.append(cytoloop.train(experiment="nuclei_2d", output="threaded", **settings))
        except BaseException as error:
            found.append(error)

    before = process_state()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert isinstance(found[0], cytoloop.api.TrainResult), found[0]
    assert found[0].checkpoint == Path.cwd() / "threaded/checkpoints/best.ckpt"
    assert process_state() == before


@pytest.mark.slow
def test_an_interrupt_saves_and_raises_keyboard_interrupt(
    loop: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cytoloop.training.stopping import SaveOnStop

    def interrupt(self: Any, *args: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(SaveOnStop, "on_train_batch_start", interrupt)
    before, numbers = process_state(), random_state()
    with pytest.raises(KeyboardInterrupt, match=r"resume with: cytoloop train resume=stopped"):
        cytoloop.train(experiment="nuclei_2d", output="stopped", **TINY)
    assert Path("stopped/checkpoints/last.ckpt").is_file()
    assert process_state() == before and random_state() == numbers


def test_import_is_fast_and_lists_the_functions() -> None:
    code = (
        "import sys, cytoloop\n"
        "names = {m.split('.')[0] for m in sys.modules}\n"
        "print(names & {'torch', 'lightning', 'mlflow', 'hydra', 'pandas', 'numpy', 'rich'})\n"
        "print([n for n in dir(cytoloop) if callable(getattr(cytoloop, n))])\n"
        "print({m.split('.')[0] for m in sys.modules} & {'torch', 'lightning', 'mlflow', 'pandas'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, functions, second = done.stdout.splitlines()
    assert (first, second) == ("set()", "set()")
    assert all(name in functions for name in ("curate", "check", "train", "predict", "evaluate"))


@pytest.mark.parametrize("installed", [True, False])
def test_bars_in_jupyter_need_ipywidgets(monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    monkeypatch.setattr(terminal.stderr_console, "is_jupyter", True)
    spec = object() if installed else None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    assert terminal.can_show_progress() is installed
