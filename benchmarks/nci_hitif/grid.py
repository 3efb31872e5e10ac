"""The grid of nci-hitif on DSB2018: `python benchmarks/nci_hitif/grid.py --minutes 60`.

Trains what is missing of `study/nci_hitif.yaml` for some minutes and writes the scores of the
finished runs into `finished.csv` beside this file. The next sitting, also on another machine, goes
on from there.
A finished run is known by its levels and its seed. A newer CytoLoop goes on with the runs, unless
its trainings score otherwise (`RESULTS_VERSION`): then all are done again.
The test images are of six groups that the shipped model `nuclei_2d` has not seen.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cytoloop.studies.identity import RESULTS_VERSION

HERE = Path(__file__).parent
DATA = Path(os.environ.get("CYTOLOOP_TEST_DATA", "../shared/data")) / "dsb2018"
FINISHED = HERE / "finished.csv"
TEST = ("256x256_0", "260x347_6", "360x360_1", "520x696_0", "520x696_2", "520x696_5")
VALID = ("256x256_4", "520x696_4")
LEFT_OUT = ("603x1272", "1040x1388")  # odd pictures, see the README of the data
MOST = {"test": 6, "valid": 6, "train": 16}
"""Pictures of a group: they are tiles of the same wells."""
BASE = (
    "base=[experiment=nuclei_2d,trainer.max_steps=150,data.patch_size=128,data.batch_size=4,"
    "data.steps_per_epoch=50,trainer.accelerator=cpu]"
)
FACTORS = ("init", "augmentation", "images", "composition", "preparation")
COLUMNS = (
    *("id", "group", "n_truth", "n_predicted", "f1_50", "seg", "dice"),
    *(f"tp_{iou}" for iou in range(50, 100, 5)),
)
"""Columns of the scores of an image that a report reads."""
SUMMED = ("f1_50", "seg", "dice")


def call(*words: str) -> None:
    """Run a verb; its output goes to the terminal."""
    environment = os.environ | {"CYTOLOOP_EXPERIMENTS": str(HERE)}
    subprocess.run([sys.executable, "-m", "cytoloop", *words], env=environment, check=True)


def curate(folder: Path) -> Path:
    """Make the data set: few pictures of each group."""
    rows: dict[str, list[list[str]]] = defaultdict(list)
    with (DATA / "index.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            size = f"{row['height']}x{row['width']}"
            if size not in LEFT_OUT:
                group, name = f"{size}_{int(float(row['bg_mean']) // 4)}", f"{row['id']}.tif"
                files = [str(DATA.absolute() / kind / name) for kind in ("images", "masks")]
                rows[group].append([row["id"], *files, group])
    table = folder / "pictures.csv"
    folder.mkdir(parents=True, exist_ok=True)
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "raw", "seg1", "group"])
        for group, found in rows.items():
            split = "test" if group in TEST else "valid" if group in VALID else "train"
            order = sorted(found, key=lambda one: hashlib.sha256(one[0].encode()).digest())
            writer.writerows(order[: MOST[split]])
    names = [
        f"{split}=[{','.join(groups)}]" for split, groups in (("test", TEST), ("valid", VALID))
    ]
    call("curate", f"raw={table}", *names, f"output={folder / 'dataset'}")
    return folder / "dataset"


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table, none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def identity(row: dict[str, str]) -> tuple[str, ...]:
    """Return what a run is known by: its levels and its seed."""
    return tuple(row[name] for name in (*FACTORS, "seed"))


def finished() -> list[dict[str, str]]:
    """Return the rows of former sittings whose trainings would score the same today."""
    return [row for row in read(FINISHED) if row.get("results_version") == str(RESULTS_VERSION)]


def restore(study: Path) -> None:
    """Write the finished runs of former sittings into the folders of the same runs here."""
    known: dict[tuple[str, ...], list[dict[str, str]]] = defaultdict(list)
    for row in finished():
        known[identity(row)].append(row)
    for run in read(study / "runs.csv"):
        images, folder = known.get(identity(run)), study / run["folder"]
        if images and run["status"] != "done":
            scores = folder / "test" / "evaluation"
            scores.mkdir(parents=True, exist_ok=True)
            write(scores / "metrics.csv", COLUMNS, images)
            summary = {"mean": means(images), "pooled": pooled(images)}
            (scores / "summary.json").write_text(json.dumps(summary))
            seconds = 60 * float(images[0]["minutes"])
            notes = {"seed": int(run["seed"]), "seconds": seconds, "failures": []}
            (folder / "study_run.json").write_text(json.dumps(notes))
            (folder / "finished").write_text(json.dumps(means(images)))


def means(images: Sequence[dict[str, str]]) -> dict[str, float]:
    """Return the mean scores over images."""
    values = {name: [float(row[name]) for row in images if row[name]] for name in SUMMED}
    return {name: sum(own) / len(own) for name, own in values.items() if own}


def pooled(images: Sequence[dict[str, str]]) -> dict[str, float]:
    """Return F1 at IoU 0.5 over all objects."""
    matches, *objects = (
        sum(float(row[name]) for row in images) for name in ("tp_50", "n_truth", "n_predicted")
    )
    return {"f1_50": 2 * matches / sum(objects) if sum(objects) else 0.0}


def keep(study: Path) -> int:
    """Write the scores of all finished runs into `finished.csv`; return how many runs it holds."""
    rows: list[dict[str, Any]] = []
    done = [run for run in read(study / "runs.csv") if run["status"] == "done"]
    for run in sorted(done, key=identity):
        own = {name: run[name] for name in (*FACTORS, "seed", "minutes")}
        own["results_version"] = str(RESULTS_VERSION)
        scores = read(study / run["folder"] / "test/evaluation/metrics.csv")
        rows += [own | {name: short(image[name]) for name in COLUMNS} for image in scores]
    known = {identity(run) for run in done}
    rows += [row for row in finished() if identity(row) not in known]  # nothing is lost
    write(FINISHED, (*FACTORS, "seed", "minutes", "results_version", *COLUMNS), rows)
    return len({identity(row) for row in rows})


def short(text: str) -> str:
    """Return a number with 5 digits; other text as it is."""
    try:
        return f"{float(text):.5g}" if text else ""
    except ValueError:
        return text


def write(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Write a table."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Go on with the grid, and keep what is finished."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="start no training later")
    parser.add_argument("--folder", type=Path, default=Path("build/nci_hitif"))
    args = parser.parse_args()
    dataset = args.folder / "dataset"
    if not (dataset / "train.csv").is_file():
        curate(args.folder)
    study = args.folder / "study"
    words = ["study", "study=nci_hitif", f"data.path={dataset}", f"output={study}", BASE]
    call(*words, "max_runs=0")
    restore(study)
    call(*words, f"max_hours={args.minutes / 60}", "lock=false")
    print(f"{keep(study)} runs in {FINISHED}")


if __name__ == "__main__":
    main()
