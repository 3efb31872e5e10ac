"""Is the forecast of a learning curve right? `python benchmarks/learning_curve.py [--minutes 60]`.

BBBC050: a small network is trained from scratch on 1/16 to all of the 56 stacks of embryos 01 to
07, as many steps each, with three seeds; embryo 09 is scored. The power law that `cytoloop report`
fits to 4, 7 and 14 stacks is then compared with what 28 and 56 stacks gave. The runs are a study
(`cytoloop study`): the same command goes on with it, and `--folder` holds its report.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import quality

from cytoloop.studies.learning_curve import learning_curves
from cytoloop.studies.tables import StudyScores, read_study

KNOWN = 14
"""Number of stacks up to which the curve is fitted."""
BASE = (
    "base=[experiment=nuclei_3d,init_from=none,model/size=small,trainer.max_steps=200,"
    "'data.patch_size=[24,48,48]',data.batch_size=4,data.steps_per_epoch=50]"
)


def known_part(study: StudyScores) -> StudyScores:
    """Return a study without its runs on many stacks."""
    few = [n for n, row in enumerate(study.done) if int(row["train_images"]) <= KNOWN]
    return replace(
        study, done=[study.done[n] for n in few], values=study.values[few],
        counts=study.counts[few], factors={"images": [*study.factors["images"]]},
    )  # fmt: skip


def compare(folder: Path, score: str) -> list[dict[str, Any]]:
    """Return measured and forecast scores of each number of stacks."""
    study = read_study(folder)
    curve = next(iter(learning_curves(known_part(study))), None)
    sizes = np.array([int(row["train_images"]) for row in study.done])
    found = []
    for size in np.unique(sizes):
        runs = np.nanmean(study.values[sizes == size], axis=1)
        row = {
            "stacks": int(size), "score": score, "runs": len(runs),
            "mean": round(float(runs.mean()), 3),
            "lowest": round(float(runs.min()), 3), "highest": round(float(runs.max()), 3),
        }  # fmt: skip
        if curve is not None and size > KNOWN:
            low, high = (float(np.interp(size, curve.at, curve.band[:, i])) for i in (0, 1))
            forecast = curve.best - curve.loss * float(size) ** -curve.rate
            row |= {"forecast": round(forecast, 3), "from": round(low, 3), "to": round(high, 3)}
        found.append(row)
    return found


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("build/learning_curve"))
    parser.add_argument("--minutes", type=float, default=60, help="start no training later")
    parser.add_argument("--score", default="f1_50", help="see `cytoloop evaluate`")
    args = parser.parse_args()
    if not (quality.DATA / "bbbc050").is_dir():
        sys.stdout.write("no data: set CYTOLOOP_TEST_DATA\n")
        return
    dataset, study = args.folder / "dataset", args.folder / "study"
    if not (dataset / "train.csv").is_file():
        quality.curate_bbbc050(dataset)
    quality.call(
        "study", "study=images", "+factors.images.sixteenth={train_fraction: 0.0625}",
        f"data.path={dataset}", f"output={study}", f"score={args.score}",
        f"max_hours={args.minutes / 60}", "lock=false", BASE,
    )  # fmt: skip
    if not any(study.glob("runs/*/finished")):
        sys.stdout.write("no run is finished yet\n")
        return
    rows = compare(study, args.score)
    columns = list(rows[-1] | rows[0])
    for line in [dict(zip(columns, columns, strict=True)), *rows]:
        sys.stdout.write("  ".join(str(line.get(c, "")).ljust(8) for c in columns).rstrip() + "\n")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
