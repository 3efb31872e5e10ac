"""Other programs on the same images for the same minutes: `compare.py METHOD ... [--json PATH]`.

Each program has a script `run_METHOD.py`, which names its packages; uv makes an environment of its
own for it at the first run. It is trained from scratch on the training images of
`benchmarks/quality.py` (its checkpoint and thresholds come from the validation images), with the
default settings of its authors, for the same minutes; `cytoloop evaluate` scores its results on
the images that nobody saw. `benchmarks/rivals/compare.py stardist --data bbbc050 --seeds 1 2`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from quality import DATA, DATA_SETS, score  # noqa: E402

from cytoloop.io.labels import read_labels  # noqa: E402
from cytoloop.io.read import read_image  # noqa: E402
from cytoloop.io.writers.tiff import write_image  # noqa: E402


def find_uv() -> str:
    """Return the uv of the PATH or of `make setup`."""
    own = HERE.parents[1] / ".tools/uv/bin/uv"
    found = shutil.which("uv") or (str(own) if own.exists() else None)
    if found is None:
        raise SystemExit("uv is missing: run `make setup`, or install it (pip install uv)")
    return found


def write_images(dataset: Path, scored: Path, folder: Path) -> None:
    """Write plain TIFF files and `images.csv`: split, id, image, labels, spacing_um."""
    rows = []
    tables = {"train": dataset / "train.csv", "valid": dataset / "valid.csv", "score": scored}
    for split, table in tables.items():
        with table.open(newline="") as file:
            for row in csv.DictReader(file):
                image = read_image(table.parent / row["raw"])
                axes = "ZYX"[-image.data[0].ndim :]
                stated = [float(side) for side in row["spacing_um"].split()]
                spacing = image.spacing_um or (
                    (stated[0], stated[1], stated[2]) if stated else None
                )
                one = {"split": split, "id": row["id"], "labels": ""}
                one["spacing_um"] = " ".join(map(str, spacing or ()))
                one["image"] = f"{split}/{row['id']}.tif"
                write_image(folder / one["image"], image.data[0], axes, spacing)
                if split != "score":  # the truth of what is scored stays here
                    labels = read_labels(table.parent / row["seg1"])
                    one["labels"] = f"{split}_labels/{row['id']}.tif"
                    write_image(folder / one["labels"], labels.astype(np.uint16), axes)
                rows.append(one)
    with (folder / "images.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def measure(method: str, name: str, folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Train a program with each seed; return the rows of the table."""
    dataset = folder / name / "dataset"
    scored = dataset / f"{args.score}.csv"
    if not dataset.exists():
        DATA_SETS[name][0](dataset)
    found = []
    for seed in args.seeds:
        work = folder / name / f"{method}_{seed}"
        write_images(dataset, scored, work)
        started = time.perf_counter()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        environment.setdefault("UV_FIND_LINKS", os.environ.get("PIP_FIND_LINKS", ""))
        subprocess.run(
            [find_uv(), "run", "--script", str(HERE / f"run_{method}.py"), str(work),
             str(args.minutes), str(seed)],
            check=True, stdout=sys.stderr, env=environment,
        )  # fmt: skip
        minutes = (time.perf_counter() - started) / 60
        scores = score(work / "predictions", scored, work / "evaluation")
        found.append(
            {"data": name, "method": f"{method}, seed {seed}", "images": args.score, **scores,
             "minutes": args.minutes, "minutes_in_all": round(minutes, 1)}
        )  # fmt: skip
    return found


def main() -> None:
    """Print the table."""
    methods = sorted(path.stem.removeprefix("run_") for path in HERE.glob("run_*.py"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="+", choices=methods)
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--data", nargs="+", choices=sorted(DATA_SETS), default=["bbbc050", "dsb2018"]
    )
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--score", choices=("valid", "test"), default="test")
    parser.add_argument("--keep", type=Path, help="folder for models and predictions")
    args = parser.parse_args()
    if not (DATA / "bbbc050").is_dir():
        sys.stdout.write("no data: set CYTOLOOP_TEST_DATA\n")
        return
    folder = args.keep or Path(tempfile.mkdtemp(prefix="cytoloop-rivals-"))
    try:
        found = [
            row
            for name in args.data
            for method in args.methods
            for row in measure(method, name, folder.absolute(), args)
        ]
    finally:
        if not args.keep:
            shutil.rmtree(folder)
    columns = list(found[0])
    for line in [dict(zip(columns, columns, strict=True)), *found]:
        sys.stdout.write("  ".join(str(line[c]).ljust(14) for c in columns).rstrip() + "\n")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
