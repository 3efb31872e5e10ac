"""Three rounds: curate, train, predict, correct, curate again, fine-tune, compare, promote."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from cytoloop.__main__ import main
from cytoloop.io.digest import file_hash
from cytoloop.manifest import dataset_hash, read_dataset

SHAPE = (10, 40, 40)
TINY = [
    "experiment=nuclei_3d", "model/size=small", "data.patch_size=[8,32,32]", "data.batch_size=2",
    "data.steps_per_epoch=8", "trainer.max_epochs=2", "trainer.precision=32", "augmentation=light",
    "register=nuclei",
]  # fmt: skip


def images(folder: Path, first: int, count: int) -> None:
    """Write images and their truth, `img_N` with N from `first`."""
    from conftest import make_blobs, write_tiff

    for number in range(first, first + count):
        raw, labels = make_blobs(SHAPE, 5, seed=number)
        write_tiff(folder / "raw" / f"img_{number:02d}.tif", raw)
        write_tiff(folder / "seg" / f"img_{number:02d}.tif", labels)


def correct(predictions: Path, truth: Path, folder: Path, worst: int) -> None:
    """Write corrected labels: the predicted ones, but the truth for the worst images."""
    with (predictions / "evaluation" / "metrics.csv").open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: float(row["f1_50"]))
    bad = {row["id"] for row in rows[:worst]}
    folder.mkdir(parents=True)
    for row in rows:
        found = next((predictions / "labels").glob(f"{row['id']}.*"))
        source = truth / f"{row['id']}.tif" if row["id"] in bad else found
        shutil.copy(source, folder / f"{row['id']}.tif")


@pytest.mark.slow
def test_three_rounds_and_their_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    images(Path("lot0"), 0, 8)
    words = ["raw=lot0/raw", "seg1=lot0/seg", "test=0.25", "valid=0.25", "output=dataset"]
    assert main(["curate", *words]) == 0
    assert main(["train", *TINY, "data.path=dataset", "output=m0"]) == 0
    runs = [Path("m0/run_id").read_text().strip()]
    assert (
        main(["models", "promote", "checkpoint=models:/nuclei/1"]) == 0
    )  # the first champion needs no comparison

    hashes = [dataset_hash(read_dataset("dataset"))]
    for number in (1, 2):
        lot, preds = Path(f"lot{number}"), Path(f"preds{number}")
        images(lot, 20 * number, 4)
        found = main(
            ["predict", f"checkpoint=runs:/{runs[-1]}", f"input={lot}/raw", f"output={preds}"]
        )
        assert found == 0
        words = [f"predictions={preds}/predictions.csv", f"truth={lot}/seg"]
        words += [f"output={preds}/evaluation", "overlays=0", "log_to_mlflow=false"]
        assert main(["evaluate", *words]) == 0
        correct(preds, lot / "seg", Path(f"corrected{number}"), worst=2)
        words = [f"raw={lot}/raw", f"seg1=corrected{number}", "output=dataset"]
        former = file_hash("dataset/dataset.csv")
        assert main(["curate", *words]) == 0
        known = json.loads(Path("dataset/dataset.json").read_text())
        assert known["parent"]["dataset_csv"] == former
        assert known["parent"]["round"] == number - 1
        hashes.append(dataset_hash(read_dataset("dataset")))
        words = [f"init_from=runs:/{runs[-1]}", "finetune=gentle", f"output=m{number}"]
        assert main(["train", *TINY, "data.path=dataset", *words]) == 0
        runs.append(Path(f"m{number}/run_id").read_text().strip())
        # both trainings ended with scores on the test images
        verdict = main(
            ["compare", f"a=runs:/{runs[-2]}", f"b=runs:/{runs[-1]}", f"output=cmp{number}"]
        )
        assert verdict in (0, 3, 4)
        promoted = main(["models", "promote", f"checkpoint=models:/nuclei/{number + 1}"])
        assert promoted in (0, 3, 4)
    assert main(["models", "promote", "checkpoint=models:/nuclei/3", "force=true"]) == 0

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    tags = [client.get_run(run).data.tags for run in runs]
    assert [tag.get("cytoloop.parent_run") for tag in tags] == [None, runs[0], runs[1]]
    assert [tag["cytoloop.data_hash"] for tag in tags] == hashes and len(set(hashes)) == 3
    champion = client.get_model_version_by_alias("nuclei", "champion")
    assert int(champion.version) == 3 and champion.run_id == runs[2]
    capsys.readouterr()
    assert main(["history", f"checkpoint=runs:/{runs[1]}", "output=history.html"]) == 0
    text, page = capsys.readouterr().out, Path("history.html").read_text()
    for run in runs:
        assert run[:8] in text and run[:8] in page
    assert (
        main(["predict", "checkpoint=models:/nuclei@champion", "input=lot2/raw", "output=last"])
        == 0
    )
