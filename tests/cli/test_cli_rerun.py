"""Overrides of earlier trainings: repeating, resuming, and what is refused from a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from cytoloop.__main__ import main
from cytoloop.cli.overrides import quote_overrides, text_of
from cytoloop.cli.rerun import expand_overrides, read_overrides, select_overrides
from cytoloop.errors import ConfigError, ModelError
from cytoloop.rounds.config_differences import is_location_key, log_differences
from cytoloop.tracking.run import start_run


def write_overrides(folder: Path, words: object) -> Path:
    (folder / ".hydra").mkdir(parents=True)
    path = folder / ".hydra" / "overrides.yaml"
    path.write_text(yaml.safe_dump(words))
    return path


def test_rerun_takes_the_overrides_and_typed_ones_replace_them(project: Path) -> None:
    words = ["experiment=nuclei_3d", "data.path='ds'", "seed=1", "output='m0'", "~model.x"]
    path = write_overrides(project / "m0", words)
    got = expand_overrides(["rerun='m0'", "seed=2", "output=m1", "--cfg", "job"])
    assert got == [
        *("experiment=nuclei_3d", "data.path='ds'", "seed=2", "~model.x", "rerun='m0'"),
        *("output=m1", "--cfg"),
        "job",
    ]
    run = start_run("exp", "r")
    with pytest.raises(ModelError, match="has no overrides.yaml"):
        read_overrides(f"runs:/{run.run_id}")
    run.files([path])
    assert read_overrides(f"runs:/{run.run_id}") == words
    assert expand_overrides(["seed=1", "rerun=null"]) == ["seed=1", "rerun=null"]


@pytest.mark.parametrize(
    "word",
    [
        "model.backbone._target_=os.system",
        "+model.x={_target_:os.system}",
        "callbacks.best._target_=subprocess.run",
        "model.backbone._target_=monai.networks.nets.DynUNet(os.system)",
        "model._target_=cytoloop.model.module.SegmentationModule.__init__.__globals__",
        "seed=${oc.env:HOME}",
        "experiment=../../evil",
        "model=/etc/evil",
        "trainer=file:///etc/evil",
        "--config-dir=/etc",
        "x" * 5000 + "=1",
        "a b=1",
    ],
)
def test_classes_resolvers_and_paths_of_a_run_are_refused(word: str) -> None:
    with pytest.raises(ConfigError, match=r"runs:/x: "):
        select_overrides(["seed=1", word], "runs:/x")


@pytest.mark.parametrize(
    "word",
    [
        "hydra.searchpath=[file:///evil]",
        "hydra/launcher=evil",
        "hydra.run.dir=/etc",
        "logger.mlflow.tracking_uri=http://evil",
        "paths.runs_dir=/evil",
        "callbacks.best.dirpath=/evil",
        "callbacks.progress.path=/evil",
        "callbacks.snapshots.folder=/evil",
        "trainer.default_root_dir=/evil",
        "data.cache_dir=/evil",
        "output=/evil",
    ],
)
def test_places_to_write_to_are_not_taken_from_a_run(word: str) -> None:
    assert select_overrides(["seed=1", word], "runs:/x") == ["seed=1"]


@pytest.mark.parametrize(
    "word",
    [
        "data.path=/data/set",
        "init_from='runs:/0123'",
        "model.backbone._target_=monai.networks.nets.SegResNet",
        "+model.backbone.init_filters=16",
        "~model.backbone.strides",
        "data.patch_size=[8,32,32]",
        "model/size=small",
    ],
)
def test_safe_overrides_are_taken(word: str) -> None:
    assert select_overrides([word], "runs:/x") == [word]


def test_all_problems_of_a_run_are_reported_together() -> None:
    words = ["seed=${a}", "model=../x", "model.y._target_=os.system"]
    with pytest.raises(ConfigError, match="3 problems"):
        select_overrides(words, "runs:/x")
    with pytest.raises(ConfigError, match="has 400 overrides, expected 300"):
        select_overrides(["seed=1"] * 400, "runs:/x")


def test_unknown_or_damaged_runs_are_refused(project: Path) -> None:
    with pytest.raises(ModelError, match="no overrides.yaml in nowhere"):
        expand_overrides(["rerun=nowhere"])
    with pytest.raises(ModelError, match="not a run URI"):
        expand_overrides(["rerun=runs:/123"])
    with pytest.raises(ModelError, match="no such run"):
        expand_overrides(["rerun=runs:/" + "0" * 32])
    for number, text in enumerate(({"a": 1}, [1, 2], "!!python/object/apply:os.system [x]")):
        path = write_overrides(project / f"bad{number}", text)
        if isinstance(text, str):
            path.write_text(text)
        with pytest.raises(ModelError, match="is damaged"):
            expand_overrides([f"rerun=bad{number}"])


def test_a_requeued_slurm_job_is_resumed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_overrides(project / "m0", ["seed=1", "output='m0'"])
    words = ["seed=1", "output='m0'"]
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert expand_overrides(words) == words  # nothing was saved yet
    (project / "m0" / "checkpoints").mkdir()
    (project / "m0" / "checkpoints" / "last.ckpt").touch()
    assert set(expand_overrides(words)) == {*words, "resume='m0'"}
    (project / "m0" / "finished").touch()
    assert expand_overrides(words) == words


def test_location_keys() -> None:
    assert not any(
        map(is_location_key, ("data.path", "seed", "model.optimizer.lr", "target.pathology"))
    )
    assert all(map(is_location_key, ("paths.runs_dir", "trainer.default_root_dir", "output")))


THEN = {
    "seed": 1,
    "model": {"optimizer": {"lr": 1e-5}, "dropout": 0.1},
    "data": {"patch_size": [8, 32], "path": "then"},
    "paths": {"output_dir": "/then"},
    "callbacks": {"note": "/then/note", "best": {"dirpath": "/then/x"}},
}
NOW = {
    "seed": 1,
    "model": {"optimizer": {"lr": 1e-4}, "loss": "dice"},
    "data": {"patch_size": [8, 32], "path": "now"},
    "paths": {"output_dir": "/now"},
    "callbacks": {"note": "/now/note", "best": {"dirpath": "/now/x"}},
    "rerun": "m0",
}


@pytest.mark.parametrize("of_a_run", [True, False])
def test_changed_config_values_are_logged(
    project: Path, caplog: pytest.LogCaptureFixture, of_a_run: bool
) -> None:
    (project / "m0").mkdir()
    OmegaConf.save(OmegaConf.create(THEN), project / "m0" / "config.yaml")
    source = "m0"
    if of_a_run:
        run = start_run("exp", "r")
        run.files([project / "m0" / "config.yaml"])
        source = f"runs:/{run.run_id}"
    with caplog.at_level("INFO", "cytoloop"):
        log_differences(source, OmegaConf.create(NOW))
    own = [one for one in caplog.records if one.name.startswith("cytoloop")]
    lines = [one.getMessage().strip() for one in own]
    assert lines == [
        f"3 config value(s) differ from {source}",
        "model.dropout: removed (was 0.1)",
        "model.loss: dice (new key)",
        "model.optimizer.lr: 0.0001 (was 1e-05)",
    ]
    caplog.clear()
    with caplog.at_level("INFO", "cytoloop"):
        log_differences(source, OmegaConf.create(THEN))
    assert caplog.messages == [f"the config does not differ from {source}"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "FileNotFoundError"),
        ("a: &a [1]\nb: [*a, *a]\n", "it has YAML aliases"),
        ("- 1\n", "it has no keys"),
        ("a: [", "while parsing"),
        ("a: " + "x" * 1_000_001, "the file is larger than 1000000 bytes"),
        ("a: !!python/object/apply:os.system [exit]\n", "could not determine a constructor"),
    ],
)
def test_an_unreadable_config_stops_no_training(
    project: Path, caplog: pytest.LogCaptureFixture, content: str | None, reason: str
) -> None:
    (project / "m0").mkdir()
    if content is not None:
        (project / "m0" / "config.yaml").write_text(content)
    log_differences("m0", OmegaConf.create(NOW))
    assert "differences from m0 are unknown" in caplog.text and reason in caplog.text


def test_control_characters_of_a_run_do_not_reach_the_terminal(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (project / "m0").mkdir()
    content = {"seed": "\x1b[2J" + "x" * 500, "\x1b]0;key": 1}
    (project / "m0" / "config.yaml").write_text(yaml.safe_dump(content))
    with caplog.at_level("INFO", "cytoloop"):
        log_differences("m0", OmegaConf.create({"seed": 1}))
    assert "\x1b" not in caplog.text and max(map(len, caplog.messages)) < 120


def test_a_key_that_no_longer_exists_is_refused(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_overrides(project / "m0", ["data.path=ds", "data.of_long_ago=1"])
    assert main(["train", "rerun=m0", "output=m1"]) == 2
    text = capfd.readouterr().err
    assert "of_long_ago: unknown key" in text and "type the other overrides without rerun=" in text


def test_typed_folders_of_any_sign_are_found_on_resume(project: Path) -> None:
    with pytest.raises(ModelError, match=r"^it's \(mine\), #1/"):
        expand_overrides(
            quote_overrides("train", ["resume=true", "paths.runs_dir=it's (mine), #1"])
        )
    folder = project / "m (a), 'b'"
    path = write_overrides(folder, ["seed=1", "run_name=old spelling"])
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").touch()
    words = quote_overrides("train", [f"resume={folder}", "run_name=old spelling"])
    found = expand_overrides(words)  # an earlier version wrote the same text without quotes
    assert text_of(next(w for w in found if w.startswith("output="))) == str(folder)
    assert path.is_file()
