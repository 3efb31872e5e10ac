"""A search by Optuna: what it asks, what it ends early, and that it goes on after a kill."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from cytoloop.__main__ import main
from cytoloop.cli.sweeps import study_line
from cytoloop.studies.design import Combination
from cytoloop.studies.runs import PRUNED, SCORES, Run
from cytoloop.studies.search import Search, validation_scores
from cytoloop.studies.settings import StudySettings, read_settings

LEVELS = {f"l{n}": [f"x={n}"] for n in range(4)}


def settings(samples: int) -> StudySettings:
    factors = {"a": LEVELS, "b": LEVELS}
    config = {"factors": factors, "design": "optuna", "base": [], "seeds": 1, "score": "f1_50"}
    return read_settings(config | {"samples": samples})


def run_of(one: Combination, folder: Path) -> Run:
    key = "_".join(one.names.values())
    return Run(one, 1, key, folder / "runs" / key, (), folder, 4)


def finish(run: Run, score: float) -> Run:
    """Write what a finished training leaves."""
    scores = run.folder / SCORES
    scores.parent.mkdir(parents=True)
    scores.touch()
    (run.folder / "finished").write_text(json.dumps({"val/pq": score, "test/pq": 0.1}))
    return run


def quality(one: Combination) -> float:
    return 0.2 * int(one.names["a"][1]) - 0.01 * int(one.names["b"][1])


def test_a_search_tries_the_base_first_and_the_best_more_often_than_chance(tmp_path: Path) -> None:
    search, tried = Search(settings(11), tmp_path), []
    while asked := search.ask(2):
        tried += asked
        search.tell([finish(run_of(one, tmp_path), quality(one)) for one in asked])
    assert tried[0].names == {"a": "l0", "b": "l0"}
    assert len(tried) == len({one.title for one in tried}) == 11
    assert max(map(quality, tried)) == pytest.approx(0.6)
    assert max(map(quality, tried[:3])) < 0.6  # not by luck at the start
    assert Search(settings(11), tmp_path).ask(2) == []  # the journal knows that it is over


def test_a_search_that_was_killed_asks_for_the_same_again(tmp_path: Path) -> None:
    first = Search(settings(6), tmp_path)
    asked = first.ask(2)
    first.tell([finish(run_of(asked[0], tmp_path), 0.5)])  # the other one is not told
    again = Search(settings(6), tmp_path)
    assert asked[1].title in [one.title for one in again.ask(2)]
    assert {one.title for one in asked} <= {one.title for one in again.known}


def test_trainings_that_fall_behind_are_ended(tmp_path: Path) -> None:
    search = Search(settings(16), tmp_path)
    while len(search.known) < 7:
        for one in search.ask(1):
            run = run_of(one, tmp_path)
            run.folder.mkdir(parents=True)
            is_last = len(search.known) == 7
            level = 0.1 if is_last else 0.5
            lines = [
                {"event": "validation", "scores": {"val/pq": level + 0.01 * step}}
                for step in range(4)
            ]
            text = "\n".join([json.dumps({"event": "step"}), *map(json.dumps, lines), '{"ev'])
            (run.folder / "progress.jsonl").write_text(text)
            assert len(validation_scores(run.folder)) == 4
            assert search.is_hopeless(run) == is_last
            if is_last:
                (run.folder / PRUNED).touch()
                run.note(1, pruned=True)
                assert run.status == PRUNED
                search.tell([run])
            else:
                search.tell([finish(run, level)])
    assert not search.trials


def test_a_sweep_by_optuna_is_answered_with_the_study_that_does_it(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["-m", "hydra/sweeper=optuna", "experiment=nuclei_2d", "data.path=d", "layers=3,4"]
    words += ["model.optimizer.lr=tag(log,interval(1e-4,1e-1))"]
    assert main(["train", *words]) == 2
    text = capfd.readouterr().err
    expected = [
        *("cytoloop", "study", "design=optuna", "data.path=d", "output=study/"),
        "base=[experiment=nuclei_2d]",
        "factors={layers: {3: [layers=3], 4: [layers=4]}, lr: {0.0001: [model.optimizer.lr=0.0001],"
        " 0.001: [model.optimizer.lr=0.001], 0.01: [model.optimizer.lr=0.01],"
        " 0.1: [model.optimizer.lr=0.1]}}",
    ]
    assert shlex.split(study_line(words)) == expected
    assert "design=optuna" in text and "Traceback" not in text
    assert main(["train", "hparams_search=mnist", "data.path=d"]) == 2
    assert "hparams_search=mnist: Hydra's Optuna sweeper" in capfd.readouterr().err
