"""The registry: versions, which MLflow serves, and promotion of the champion."""

from __future__ import annotations

import csv
import io
import os
import re
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import mlflow
import numpy as np
import pytest
import scipy.ndimage
import tifffile
import torch

import cytoloop
from cytoloop.__main__ import main
from cytoloop.errors import ConfigError, ModelError
from cytoloop.inference.pyfunc import PyFunc, served_model
from cytoloop.io.folder_lock import lock_folder
from cytoloop.manifest import read_manifest
from cytoloop.model.convert import converted_checkpoint
from cytoloop.tracking.checkpoints import locate_checkpoint
from cytoloop.tracking.mlflow_model import write_mlflow_model
from cytoloop.tracking.register_model import register_model
from cytoloop.tracking.registry import check_model_name, find_version, list_versions
from cytoloop.tracking.run import open_run, start_run
from cytoloop.tracking.scores import record_scores

Make = Callable[..., Path]
Models = Callable[..., str]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db"


@pytest.fixture
def project(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(store)
    yield tmp_path
    mlflow.set_tracking_uri(None)  # the environment variable counts again, also in later tests


@pytest.fixture
def models(project: Path, capfd: pytest.CaptureFixture[str]) -> Models:
    """Return a function that runs `cytoloop models` and returns its output."""

    def run(*words: str, status: int = 0) -> str:
        capfd.readouterr()
        found = main(["models", *words])
        text = "".join(capfd.readouterr())
        assert found == status, text
        assert "Traceback" not in text
        return text

    return run


def trained(checkpoint: Path, **tags: str) -> str:
    """Return the id of a new run with a checkpoint, as after a training."""
    run = start_run("exp", "trained")
    run.files([checkpoint], "checkpoints")
    run.text("seed: 1\n", "config.yaml")
    run.tags({"cytoloop.data_hash": "abcdef0123456789", **tags})
    run.metrics({"val/dice": 0.8})
    run.end("FINISHED")
    return run.run_id


def evaluated(run_id: str, scores: Iterable[float], folder: Path, name: str = "img") -> Path:
    """Write metrics.csv of an evaluation and store it with the run."""
    folder.mkdir(exist_ok=True)
    text = io.StringIO()
    rows = csv.writer(text)
    columns = ["id", "group", "run_id", "n_truth", "voxels_true", "dice", "f1_50"]
    rows.writerow([*columns, "truth_is_binary", "unit"])
    for number, score in enumerate(scores):
        rows.writerow([f"{name}{number}", "", run_id, 5, 900, score, score, False, "um"])
    (folder / "metrics.csv").write_text(text.getvalue())
    record_scores([{"run_id": run_id}], {"f1_50": 0.5}, [folder / "metrics.csv"])
    return folder


def registered(make_model: Make, name: str, seed: int) -> tuple[str, str]:
    """Return the URI of a new version and its run."""
    path = make_model(2, seed=seed)
    run_id = trained(path)
    return register_model(name, served_model(path), run_id).uri, run_id


def test_a_version_has_checkpoint_config_scores_and_tags(
    project: Path, make_model: Make, models: Models
) -> None:
    path = make_model(2, tuned={"threshold": 0.4}, channel_names=["DNA"])
    run_id = trained(path, **{"cytoloop.parent_run": "f" * 32})
    text = models("register", f"checkpoint=runs:/{run_id}", "name=nuclei")
    assert "registered models:/nuclei/1" in text and "promote checkpoint=models:/nuclei/1" in text
    version = find_version("models:/nuclei/1")
    assert version.run_id == run_id and version.scores == {"val/dice": 0.8}
    assert version.tags["cytoloop.data_hash"] == "abcdef0123456789"
    assert version.tags["cytoloop.parent_run"] == "f" * 32
    assert version.tags["cytoloop.channels"] == "DNA"
    located = locate_checkpoint("models:/nuclei/1")
    assert located.path.read_bytes() == path.read_bytes() and located.run_id == run_id
    beside = {file.name: file.read_text() for file in located.path.parent.glob("*.[jy]*")}
    assert beside["config.yaml"] == "seed: 1\n" and '"val/dice": 0.8' in beside["scores.json"]
    package = located.path.parents[2]
    names = {file.name for file in package.rglob("*")}
    assert {"MLmodel", "input_example.json"} <= names
    assert not [name for name in names if name.endswith((".pkl", ".lock", ".toml"))]
    assert "loader_module: cytoloop.inference.pyfunc" in (package / "MLmodel").read_text()

    assert "this model is registered already: models:/nuclei/1" in models(
        "register", f"checkpoint=runs:/{run_id}", "name=nuclei"
    )
    assert len(list_versions("nuclei")) == 1
    assert "nuclei" in models("list") and "0.800" in models("list", "name=nuclei")
    shown = models("show", "checkpoint=nuclei")
    assert "models:/nuclei/1" in shown and run_id in shown and "abcdef" in shown


def test_mlflow_predicts_like_cytoloop(project: Path, make_model: Make) -> None:
    path = make_model(2, tuned={"threshold": 0.75})
    uri = register_model("served", served_model(path), trained(path)).uri
    model = mlflow.pyfunc.load_model(uri)
    image = np.random.default_rng(0).integers(0, 4000, (48, 56))
    for dtype in (np.uint16, np.float32, np.int64):
        expected = cytoloop.predict(image.astype(dtype), path)
        found = model.predict(image.astype(dtype))
        assert found.dtype == np.int32 and np.array_equal(found, expected.labels)
        probability = model.predict(image.astype(dtype), params={"output": "probability"})
        assert np.array_equal(probability, expected.probability)
    mask = model.predict(image, params={"output": "mask", "threshold": 0.6})
    assert np.array_equal(mask, probability > 0.6) and 0 < mask.mean() < 1
    example = model.input_example
    assert model.predict(example).shape == example.shape
    assert model.metadata.metadata["axes"] == "YX"


def test_wrong_inputs_through_mlflow_are_refused(make_model: Make) -> None:
    model = PyFunc(make_model(2, channels=2))
    with pytest.raises(ConfigError, match="'maps' is unknown\nExpected labels, probability, mask"):
        model.predict(np.zeros((2, 40, 40)), {"output": "maps"})
    with pytest.raises(ValueError, match=r"has shape \(40, 40\), the model takes CYX"):
        model.predict(np.zeros((40, 40)))
    with pytest.raises(ValueError, match="is not an array of numbers"):
        model.predict([[["a", "b"]]])
    with pytest.raises(ConfigError, match="Give all of spacing_z_um"):
        model.predict(np.zeros((2, 40, 40)), {"spacing_y_um": 0.5})
    spaced = {"spacing_y_um": 0.5, "spacing_x_um": 0.5}
    assert model.predict(np.zeros((2, 40, 40)).tolist(), spaced).shape == (40, 40)


def test_only_a_better_version_becomes_champion(
    project: Path, make_model: Make, models: Models
) -> None:
    first, run = registered(make_model, "race", 0)
    assert "first champion of race, without a comparison" in models("promote", "checkpoint=race")
    assert find_version("models:/race@champion").uri == first
    assert "is the champion already" in models("promote", f"checkpoint={first}")
    assert "no such version" in models("show", "checkpoint=models:/race@best", status=2)

    second, other = registered(make_model, "race", 1)
    text = models("promote", f"checkpoint={second}", status=2)
    assert f"{first}: the run has no evaluation" in text
    assert f"cytoloop predict checkpoint={first} input=... output=preds/" in text
    evaluated(run, np.linspace(0.5, 0.6, 8), project / "first")
    assert f"{second}: the run has no evaluation" in models(
        "promote", f"checkpoint={second}", status=2
    )

    evaluated(other, np.linspace(0.4, 0.55, 8), project / "second")
    text = models("promote", f"checkpoint={second}", status=4)
    assert f"{first} stays the champion. {second}: worse than version 1" in text
    assert find_version("race").uri == first
    assert find_version(second).tags["cytoloop.verdict"].startswith("worse than version 1; f1_50")

    evaluated(other, [0.9, *np.linspace(0.5, 0.6, 8)[1:]], project / "second")
    text = models("promote", f"checkpoint={second}", status=3)
    assert "no evidence of a difference from version 1" in text
    assert find_version("race").uri == first

    evaluated(other, np.linspace(0.7, 0.8, 8), project / "second")
    assert f"{second} is the champion now, better than" in models("promote", "checkpoint=race")
    verdict = find_version("models:/race@champion").tags
    assert verdict["cytoloop.verdict"].startswith("better than version 1; ")
    assert "min_units=6, 8 images" in verdict["cytoloop.verdict"]
    assert verdict["cytoloop.compared_with"] == first

    # the first version again: worse, then forced
    words = ["promote", f"checkpoint={first}", f"a={project / 'second'}", f"b={project / 'first'}"]
    assert ": worse than version 2" in models(*words, status=4)
    assert "forced: worse than version 2" in models(*words, "force=true")
    assert find_version("race").uri == first
    listed = models("list", "name=race")
    assert re.search(r"race +2 .*better", listed) and re.search(r"1 +champion .*forced", listed)
    assert "forced: worse than version 2; f1_50" in " ".join(
        models("show", "checkpoint=race").split()
    )


def test_evaluations_of_other_models_are_refused(
    project: Path, make_model: Make, models: Models
) -> None:
    first, run = registered(make_model, "own", 0)
    models("promote", "checkpoint=own")
    second, other = registered(make_model, "own", 1)
    better = evaluated(other, np.linspace(0.7, 0.8, 8), project / "better")
    worse = evaluated(run, np.linspace(0.5, 0.6, 8), project / "worse")
    text = models("promote", f"checkpoint={second}", f"a={better}", f"b={worse}", status=2)
    assert f"scores predictions of run {other}, not of {run}" in text
    far = evaluated(other, [0.9] * 8, project / "far", name="strange")
    text = models("promote", f"checkpoint={second}", f"a={worse}", f"b={far}", status=2)
    assert "shares no image with" in text
    assert find_version("own").uri == first
    third = register_model("own", served_model(make_model(2, seed=2)), other).uri
    models("promote", f"checkpoint={second}", f"b={better}")
    text = models("promote", f"checkpoint={third}", status=2)
    assert "has the same run as" in text and "give a= and b=" in text
    text = models("promote", f"checkpoint={third}", "force=true")
    assert "forced and without a comparison" in text and find_version("own").uri == third


def annotated(folder: Path, model: Path, count: int = 6) -> Path:
    """Write images with a model's labels as their truth; return the table."""
    lines = ["id,raw,seg1"]
    for number in range(count):
        rng = np.random.default_rng(number)
        image = scipy.ndimage.gaussian_filter(rng.random((48, 56)), 3)
        image = (image * 50_000).astype(np.uint16)
        for kind, data in (("raw", image), ("seg", cytoloop.predict(image, model).labels)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(folder / kind / f"img_{number}.tif", data.astype(np.uint16))
        lines.append(f"img_{number},raw/img_{number}.tif,seg/img_{number}.tif")
    (folder / "test.csv").write_text("\n".join(lines) + "\n")
    return folder / "test.csv"


@pytest.mark.slow
def test_both_versions_are_scored_on_annotated_images(
    project: Path, make_model: Make, models: Models
) -> None:
    paths = [make_model(2, seed=seed) for seed in (3, 4)]
    run_id = trained(paths[0])  # both versions of one run
    first, second = (register_model("judged", served_model(path), run_id).uri for path in paths)
    models("promote", f"checkpoint={first}")
    table = annotated(project / "data", paths[1])
    words = ["promote", f"checkpoint={second}", f"truth={table}"]
    assert "6 image(s) are too few" in models(*words, "min_units=7", status=3)
    assert find_version("judged").uri == first
    text = models(*words)
    assert "6 image(s) are done: same model, input and settings" in text
    assert f"{second} is the champion now, better than version 1" in text
    folder = project / "runs" / "promotions"
    assert {one.name for one in folder.iterdir()} == {"judged-1", "judged-2"}
    scores = [row["f1_50"] for row in read_manifest(folder / "judged-2" / "metrics.csv", ("id",))]
    assert scores == ["1.0"] * 6
    runs = mlflow.MlflowClient().get_run(run_id).data.metrics
    assert not [name for name in runs if name.startswith("test/")]

    # folders instead of a table; the first version against the second
    words = [
        "promote",
        f"checkpoint={first}",
        f"truth={project}/data/seg",
        f"input={project}/data/raw",
    ]
    assert ": worse than version 2" in models(*words, "output=kept", status=4)
    by_hand = [f"a={project}/kept/judged-2", f"b={project}/kept/judged-1"]
    assert "worse than version 2" in models("promote", f"checkpoint={first}", *by_hand, status=4)


def test_training_images_in_the_truth_cause_a_warning(
    project: Path, make_model: Make, models: Models
) -> None:
    paths = [make_model(2, seed=seed) for seed in (0, 1)]
    runs = [trained(path) for path in paths]
    first, second = (
        register_model("seen", served_model(path), run).uri
        for path, run in zip(paths, runs, strict=True)
    )
    models("promote", f"checkpoint={first}")
    table = annotated(project / "data", paths[0], 3)
    lines = table.read_text().splitlines()
    hashed = [f"{lines[0]},sha256", *(f"{line},{n}{'a' * 63}" for n, line in enumerate(lines[1:]))]
    table.write_text("\n".join(hashed) + "\n")
    for name, rows in (("train", hashed[1:2]), ("valid", hashed[2:3]), ("test", hashed[3:])):
        manifest = project / f"{name}.csv"
        manifest.write_text("\n".join([hashed[0], *rows]) + "\n")
        open_run(runs[1]).files([manifest], "data")
    words = ["promote", f"checkpoint={second}", f"truth={table}"]
    with lock_folder("runs/promotions/seen-1", "cytoloop models promote", beside=True):
        assert "is writing into this folder" in models(*words, status=2)
    text = " ".join(models(*words, status=3).split())
    assert (
        f"{second} was trained on 2 of these images, so its scores are too high: img_0, img_1"
        in text
    )
    assert f"{first} was trained on" not in text


def test_annotated_images_that_do_not_fit_are_refused(
    project: Path, make_model: Make, models: Models
) -> None:
    paths = [make_model(2, seed=seed) for seed in (0, 1)]
    first, second = (
        register_model("unfit", served_model(path), trained(path)).uri for path in paths
    )
    models("promote", f"checkpoint={first}")
    words = ["promote", f"checkpoint={second}"]
    assert "truth=dataset/test.csv, to score both" in models(*words, status=2)
    assert "input=... needs truth=..." in models(*words, "input=raw", status=2)
    text = models(*words, "truth=seg", "a=x", "b=y", status=2)
    assert "3 problems" in text and "it needs input=..." in text and "b=... and truth" in text
    assert "test.csv" in models(*words, "truth=test.csv", status=2)
    table = annotated(project / "data", paths[0], 2)
    for image in (project / "data" / "raw").iterdir():
        tifffile.imwrite(image, np.zeros((3, 48, 56), np.uint16), metadata={"axes": "CYX"})
    text = models(*words, f"truth={table}", status=2)
    assert "img_0" in text and "img_1" in text
    assert find_version("unfit").uri == first


def test_models_of_other_tools_are_imported(
    project: Path, make_model: Make, models: Models
) -> None:
    path = make_model(2, tuned={"threshold": 0.4})
    models("export", f"checkpoint={path}", "format=folder", "output=pair")
    models("import", "checkpoint=pair", "name=foreign")
    with zipfile.ZipFile("pair.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((project / "pair").iterdir()):
            archive.write(file, f"experiment/{file.name}")
    assert "this model is registered already" in models(
        "import", "checkpoint=pair.zip", "name=foreign"
    )
    text = models("register", f"checkpoint={path}", "name=foreign", status=2)
    assert "no run of this checkpoint is known" in text and "cytoloop models import" in text
    version = find_version("foreign")
    image = np.random.default_rng(0).integers(0, 4000, (48, 56)).astype(np.uint16)
    expected = cytoloop.predict(image, path)
    found = cytoloop.predict(image, version.uri)
    assert np.array_equal(found.labels, expected.labels)
    assert np.array_equal(found.probability, expected.probability)
    run = mlflow.MlflowClient().get_run(version.run_id)
    assert run.data.tags["cytoloop.parent_model"] == "pair"
    models("export", f"checkpoint={version.uri}", "format=pyfunc", "output=served")
    served_folder = mlflow.pyfunc.load_model(str(project / "served"))
    assert np.array_equal(served_folder.predict(image), expected.labels)


def test_an_exported_cytodl_experiment_is_imported_again(
    project: Path, make_model: Make, models: Models
) -> None:
    path = make_model(2, normalization={"method": "zscore"})
    words = ["format=cytodl", "output=experiment", "name=nuclei"]
    assert "loaded again, its output differs by at most 0" in models(
        "export", f"checkpoint={path}", *words
    )
    models("import", "checkpoint=experiment", "name=round_trip")
    image = np.random.default_rng(0).integers(0, 4000, (48, 56)).astype(np.uint16)
    expected = cytoloop.predict(image, path)
    found = cytoloop.predict(image, "models:/round_trip/1")
    assert np.array_equal(found.probability, expected.probability)


class Evil:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch exploded",)


def hostile(kind: str, folder: Path, checkpoint: Path) -> Path:
    """Write a hostile model file of the given kind."""
    if kind == "pickle":
        torch.save({"state_dict": Evil(), "hyper_parameters": {}}, folder / "evil.ckpt")
        return folder / "evil.ckpt"
    path = folder / "evil.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        if kind == "pickle in a zip":
            torch.save({"state_dict": Evil()}, folder / "evil.ckpt")
            archive.write(folder / "evil.ckpt", "best.ckpt")
        elif kind == "path":
            archive.writestr("best.ckpt", checkpoint.read_bytes())
            archive.writestr("../exploded", "harm")
        elif kind == "absolute":
            archive.writestr("/exploded", "harm")
        elif kind == "windows":
            archive.writestr("a\\..\\..\\exploded", "harm")
        elif kind == "link":
            link = zipfile.ZipInfo("best.ckpt")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "/etc/passwd")
        elif kind == "bomb":
            archive.writestr("best.ckpt", b"\0" * (64 << 20))
        elif kind == "many":
            for number in range(2001):
                archive.writestr(f"{number}.txt", "")
        else:
            archive.writestr("readme.txt", "nothing")
    if kind == "damaged":
        path.write_bytes(path.read_bytes()[:20])
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("pickle", "damaged, or contains code"),
        ("pickle in a zip", "damaged, or contains code"),
        ("path", "'../exploded' leads out of the folder"),
        ("absolute", "leads out of the folder"),
        ("windows", "leads out of the folder"),
        ("link", "'best.ckpt' is a link"),
        ("bomb", "unpacks to 67108864 bytes"),
        ("many", "has 2001 files, expected at most 2000"),
        ("nothing", "holds no model, expected"),
        ("damaged", "is not a readable zip"),
    ],
)
def test_hostile_models_are_refused_and_nothing_is_registered(
    project: Path, make_model: Make, models: Models, kind: str, reason: str
) -> None:
    path = hostile(kind, project, make_model(2))
    before = set(project.parent.rglob("*"))
    assert reason in models("import", f"checkpoint={path}", "name=evil", status=2)
    made = {file for file in set(project.parent.rglob("*")) - before if "runs" not in file.parts}
    assert not made
    with pytest.raises(ModelError, match="no such model"):
        list_versions("evil")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["lst"], "Did you mean `cytoloop models list`?"),
        (["zzz"], "unknown action, expected one of list, show, register, promote, import, export"),
        (["register"], "checkpoint=... is missing\n  name=... is missing"),
        (["export", "checkpoint=x"], "output=... is missing"),
        (["list", "name=none"], "models:/none: no such model"),
        (["show", "checkpoint=models:/none/x/y"], "not a model URI"),
        (["show", "checkpoint=none"], "no such model"),
        (["promote", "checkpoint=none"], "no such model"),
        (["promote", "checkpoint=none", "min_units=1"], "min_units=1: expected 2 or more"),
        (["import", "checkpoint=none.ckpt", "name=a/b"], "'a/b' is not a valid model name"),
        (["import", "checkpoint=none.ckpt", "name=a"], "no such checkpoint"),
        (["import", "checkpoint=none.zip", "name=a"], "is not a readable zip"),
        (["register", "checkpoint=runs:/" + "0" * 32, "name=a"], "no such run"),
        (["export", "checkpoint=none.ckpt", "output=o"], "no such checkpoint"),
        (["list", "nmae=x"], "nmae: unknown key; did you mean name?"),
    ],
)
def test_wrong_commands_are_refused(models: Models, words: list[str], reason: str) -> None:
    assert reason in models(*words, status=2)


def test_an_impossible_export_writes_nothing(
    project: Path, make_model: Make, models: Models
) -> None:
    path = make_model(2, channels=2)
    assert "has 2 input channels" in models(
        "export", f"checkpoint={path}", "format=cytodl", "output=o", status=2
    )
    text = models("export", f"checkpoint={path}", "format=x", "output=o", status=2)
    assert re.search(r"format=x: is unknown\nExpected folder.*pyfunc", text)
    assert not (project / "o").exists()


def test_names_that_a_uri_cannot_hold_are_refused() -> None:
    assert check_model_name("nuclei 3D_v1.0-b") == "nuclei 3D_v1.0-b"
    for name in ("", "a/b", "a@b", "a:b", "../a", "x" * 101, "a'b", 'a"b'):
        with pytest.raises(ConfigError, match="is not a valid model name"):
            check_model_name(name)


def test_a_written_model_with_another_prediction_is_refused(
    tmp_path: Path, make_model: Make
) -> None:
    from dataclasses import replace

    model = served_model(make_model(2))
    wrong = replace(model, expected=model.expected + 0.01)
    with pytest.raises(ModelError, match=r"the prediction through MLflow differs by 0.01"):
        write_mlflow_model(wrong, tmp_path / "package", {})


def test_a_cytoloop_checkpoint_is_copied_unchanged(make_model: Make) -> None:
    path = make_model(2)
    with converted_checkpoint(path) as file:
        assert file.read_bytes() == path.read_bytes()
    assert not file.exists()
