"""`cytoloop study` and `report` without a training: plans, faults, outside predictions."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import make_images, write_tiff
from mlflow import MlflowClient
from tifffile import imread

from cytoloop.__main__ import main
from cytoloop.studies.identity import RESULTS_VERSION

CONFIGS = Path(__file__).parents[2] / "configs"
BASE = "base=[experiment=nuclei_2d,model/size=small,trainer.max_steps=2]"


@pytest.fixture
def dataset(project: Path) -> Path:
    images = make_images(project / "images", 12, (40, 40))
    words = [f"raw={images}/raw", f"seg1={images}/seg", "output=dataset", "test=0.5", "valid=0.1"]
    assert main(["curate", *words]) == 0
    return project / "dataset"


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def predict_by_hand(dataset: Path, folder: Path, shift: int) -> Path:
    """Write the truth of the test images, moved, as another tool's predictions."""
    for row in read_rows(dataset / "test.csv"):
        labels = imread(dataset / row["seg1"])
        write_tiff(folder / f"{row['id']}.tif", np.roll(labels, shift, 1))
    return folder


def test_outside_predictions_are_scored_ranked_and_reported(
    dataset: Path, project: Path, store: str, capfd: pytest.CaptureFixture[str]
) -> None:
    good, bad = (
        predict_by_hand(dataset, project / name, s) for name, s in (("good", 0), ("bad", 2))
    )
    (project / "experiments/study").mkdir(parents=True)
    (project / "experiments/study/tools.yaml").write_text(
        "# @package _global_\nfactors:\n  tool:\n"
        f"    good: {{predictions: {good}}}\n    bad: {{predictions: {bad}}}\n"
    )
    words = ["study", "study=tools", f"data.path={dataset}", "output=out", "score=seg"]
    assert main(words) == 0
    text = capfd.readouterr()
    assert "2 runs: 2 to do, 2 now" in text.err and "2 of 2 runs finished" in text.out
    out = project / "out"
    rows = read_rows(out / "runs.csv")
    assert [(row["tool"], row["status"], row["seed"]) for row in rows] == [
        ("good", "done", ""),
        ("bad", "done", ""),
    ]
    assert float(rows[0]["seg"]) == 1 > float(rows[1]["seg"])
    (effect,) = read_rows(out / "effects.csv")
    assert float(effect["difference"]) < -0.1 and effect["verdict"] == "no evidence"  # no seeds
    assert [row["tool"] for row in read_rows(out / "ranking.csv")] == ["good", "bad"]
    assert {path.name for path in (out / "figures").iterdir()} == {
        *("score_tool.png", "f1_tool.png", "cost.png"),
    }
    page = (out / "report.html").read_text()
    assert "No verdict" in page and "<script" not in page
    run = MlflowClient(store).get_run((out / "run_id").read_text().strip())
    assert run.info.status == "FINISHED"

    assert main(words) == 0  # nothing is done again
    assert "2 runs: 0 to do, 0 now" in capfd.readouterr().err
    assert "Images to label next" not in page
    (out / "next").mkdir()
    columns = "review_rank,id,order,disagreement,uncertainty,novelty"
    (out / "next/next.csv").write_text(f"{columns}\n1,pool <7>,mixed,0.42,0.1,2.5\n")
    assert main(["report", f"study={out}"]) == 0
    page = (out / "report.html").read_text()
    assert "Images to label next" in page and "pool &lt;7&gt;" in page and "<td>0.42" in page
    assert "2 of 2 runs finished" in capfd.readouterr().out


def test_a_plan_lists_the_runs_and_trains_none(
    dataset: Path, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["study", "study=images", f"data.path={dataset}", "output=out", BASE, "max_runs=0"]
    assert main([*words, "seeds=2"]) == 0
    assert "8 runs: 8 to do, 0 now" in capfd.readouterr().err
    rows = read_rows(project / "out/runs.csv")
    assert [row["seed"] for row in rows] == ["1"] * 4 + ["2"] * 4
    assert [row["train_images"] for row in rows[:4]] == ["5", "3", "2", "1"]
    assert len({row["run"] for row in rows}) == 8

    assert main([*words, "seeds=3", "+factors.images.third={train_fraction: 0.5}"]) == 2
    assert "images third, seed 1 is the same training as images half" in capfd.readouterr().err
    factor = "+factors.lr={normal: [], low: ['model.optimizer.lr=1e-4']}"
    assert main([*words, "seeds=3", factor]) == 0
    known = {row["run"] for row in rows}
    more = read_rows(project / "out/runs.csv")
    assert known <= {row["run"] for row in more} and len(more) == 5 * 3


@pytest.mark.parametrize("name", ["architecture", "factors", "start"])
def test_levels_of_the_package_are_different_trainings_with_the_same_start(
    name: str, dataset: Path, project: Path
) -> None:
    """A shipped model fits one network and one normalisation: others would start from scratch."""
    plan = ["study", f"study={name}", f"data.path={dataset}", "output=out", "max_runs=0"]
    assert main([*plan, "base=[experiment=nuclei_2d]", "seeds=1"]) == 0
    study = yaml.safe_load((CONFIGS / f"study/{name}.yaml").read_text())
    changing = ("model", "normalization")
    for factor, levels in study["factors"].items():
        words = {level: given for level, given in levels.items() if isinstance(given, list)}
        if any(word.startswith(changing) for own in words.values() for word in own):
            assert all("init_from=none" in own for own in words.values()), factor


def test_faults_are_named_before_anything_is_trained(
    dataset: Path, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["study", "study=augmentation", f"data.path={dataset}", "output=out"]
    cases = {
        "base=[augmentation=nope,foo=1]": ["augmentation=nope: no such option", "foo: unknown key"],
        "+factors.augmentation.odd=[augmentation=nope]": ["augmentation odd: augmentation=nope"],
        "+factors.augmentation.same=[]": ["same, seed 1 is the same training as augmentation def"],
        "+factors.part={all: [], c: {where: {group: c}}}": ["part c: no training image has"],
        "base=[data.patch_size=[32,32]]": ["'32]' is not an override", "quote one that holds comm"],
        "seeds=0": ["seeds=0: expected a number of seeds"],
        "workers=0": ["workers: is 0, expected 1 to 256"],
        "study=nope": ["study=nope: no such option, expected one of architecture"],
    }
    for word, expected in cases.items():
        assert main([*words, word]) == 2
        text = capfd.readouterr().err
        assert all(one in text for one in expected), (word, text)
        assert "Traceback" not in text
    assert not (project / "out/runs").exists()

    main(["curate", "raw=images/raw", "seg1=images/seg", "output=whole", "test=0"])
    capfd.readouterr()
    assert main([*words[:2], "data.path=whole", "output=out"]) == 2
    assert "has no test images of its own" in capfd.readouterr().err
    assert main(["report", f"study={project}"]) == 2
    assert "holds no study" in capfd.readouterr().err


def test_faults_of_keys_launcher_data_and_levels_are_named_at_once(
    dataset: Path, project: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(project))  # without sbatch
    of_data = ["study=augmentation", "data.path=nowhere", "output=s"]
    of_levels = ["study=augmentation", f"data.path={dataset}", "output=s", "base=[foo=1]"]
    cases: list[tuple[list[str], list[str]]] = [
        (
            [*of_data, "design=magic", "launcher=moon", "workers=0"],
            ["design=magic", "launcher is moon", "workers is 0", "nowhere"],
        ),
        ([*of_levels, "launcher=dask"], ["foo: unknown key", "scheduler= is missing"]),
        ([*of_levels, "launcher=slurm"], ["foo: unknown key", "sbatch was not found"]),
    ]
    for words, expected in cases:
        assert main(["study", *words]) == 2
        text = capfd.readouterr().err
        assert all(part in text for part in expected), text
    assert not (project / "s" / "runs.csv").exists()


def test_a_finished_run_is_known_by_what_was_asked(
    dataset: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planned(base: str, seeds: str = "1") -> dict[str, dict[str, str]]:
        common = ["study=augmentation", f"data.path={dataset}", "output=out", "max_runs=0"]
        assert main(["study", *common, f"seeds=[{seeds}]", base]) == 0
        return {row["augmentation"]: row for row in read_rows(project / "out/runs.csv")}

    first = planned(BASE)
    place = project / "out" / first["none"]["folder"]
    for name in ("test/evaluation", ""):
        (place / name).mkdir(parents=True, exist_ok=True)
    (place / "test/evaluation/metrics.csv").write_text("id,group,f1_50\na,,0.5\n")
    (place / "test/evaluation/summary.json").write_text('{"mean": {}, "pooled": {"f1_50": 0.5}}')
    (place / "finished").write_text('{"val/pq": 0.5}')
    (place / "study_run.json").write_text('{"seconds": 1}')
    folders = place.parent.iterdir
    assert planned(BASE)["none"]["status"] == "done" and len(list(folders())) == 1
    keys = json.loads((place / "study_key.json").read_text())

    # a key of the package that nobody set is new: the config is another one, the request the same
    monkeypatch.setattr("cytoloop.cli.commands.study._NOT_OF_THE_RUN", ())
    assert planned(BASE)["none"]["status"] == "done"
    reordered = BASE.replace(
        "model/size=small,trainer.max_steps=2", "trainer.max_steps=2,model/size=small"
    )
    assert planned(reordered)["none"]["status"] == "done"
    assert planned(BASE.replace("max_steps=2", "max_steps=3"))["none"]["status"] == "open"
    assert planned(BASE, "2")["none"]["status"] == "open"
    monkeypatch.undo()
    monkeypatch.chdir(project)
    monkeypatch.setattr("cytoloop.studies.identity.RESULTS_VERSION", RESULTS_VERSION + 1)
    assert planned(BASE)["none"]["status"] == "open"  # trainings score otherwise
    monkeypatch.setattr("cytoloop.studies.identity.RESULTS_VERSION", RESULTS_VERSION)

    # a folder of an older version is named by its config and has no note
    (place / "study_key.json").unlink()
    place = place.rename(place.with_name(keys["config"]))
    assert planned(BASE)["none"]["folder"] == f"runs/{keys['config']}"
    assert json.loads((place / "study_key.json").read_text()) == keys


def test_the_content_of_the_sites_own_recipe_makes_another_run(
    dataset: Path, project: Path
) -> None:
    def keys(steps: int, comment: str = "") -> set[str]:
        folder = project / "experiments/experiment"
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (
            ("mine", f"# @package _global_\n{comment}\ndefaults: [parent]\n"),
            ("parent", f"# @package _global_\ndefaults: [nuclei_2d]\nbudget_minutes: {steps}\n"),
        ):
            (folder / f"{name}.yaml").write_text(text)
        words = [f"data.path={dataset}", "output=out", "max_runs=0", "base=[experiment=mine]"]
        assert main(["study", "study=images", "seeds=1", *words]) == 0
        return {row["run"] for row in read_rows(project / "out/runs.csv")}

    assert keys(1) == keys(1, "# a comment")
    assert not keys(1) & keys(2)
