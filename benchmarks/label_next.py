"""What to label next, against random: `python benchmarks/label_next.py [--json PATH]`.

8 labelled images of a pool, drawn at random; two small networks are trained on them from scratch
and predict the pool. `cytoloop rank` chooses 8 more images, then, with networks trained on
these 16, 16 more. Every order starts from the same 8 images and the same two networks; each is
repeated for some seeds. Scores are those of test images of other groups, of one network. `--data`:
pictures of DSB2018, or stacks of BBBC050 (embryos 01 to 07 are the pool, 09 is scored).
With `--json` the file also keeps what is finished: the same command goes on with it.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from quality import DATA, SPACING

from cytoloop.__main__ import main as cytoloop

ORDERS = ("random", "disagreement", "uncertainty", "diversity", "mixed")
TEST = ("256x256_0", "260x347_6", "360x360_1", "520x696_0", "520x696_2", "520x696_5")
VALID = ("256x256_4", "520x696_4")
LEFT_OUT = ("603x1272", "1040x1388")  # odd pictures, see the README of the data
MOST = {"pool": 16, "test": 4, "valid": 2}
"""Pictures of a group; groups of the pool keep their different sizes."""
SIZES = (8, 16, 32)
COMPARED = ("disagreement", "mixed")
"""Orders that need two models; the others have one after the start."""


def call(*words: str) -> None:
    """Run a verb in this process: a hundred starts would take longer than the trainings."""
    if status := cytoloop(list(words)):
        raise SystemExit(f"cytoloop {' '.join(words)}: exit status {status}")


Images = dict[str, list[dict[str, str]]]
"""Rows of the pool, of validation and of test."""


def stacks() -> Images:
    """Return the stacks of BBBC050."""
    folder = DATA.absolute() / "bbbc050"
    found: Images = {"pool": [], "valid": [], "test": []}
    for image in sorted((folder / "images").glob("*.tif")):
        group = image.stem.split("_")[0]
        split = {"Emb08": "valid", "Emb09": "test"}.get(group, "pool")
        found[split].append(
            {"id": image.stem, "raw": str(image), "seg1": str(folder / "labels" / image.name),
             "group": group, "spacing_um": " ".join(map(str, SPACING))}
        )  # fmt: skip
    return found


def pictures() -> Images:
    """Return pictures of DSB2018."""
    groups: dict[str, list[dict[str, str]]] = defaultdict(list)
    with (DATA / "dsb2018" / "index.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            size = f"{row['height']}x{row['width']}"
            if size not in LEFT_OUT:
                group, name = f"{size}_{int(float(row['bg_mean']) // 4)}", f"{row['id']}.tif"
                raw, seg1 = (
                    str(DATA.absolute() / "dsb2018" / k / name) for k in ("images", "masks")
                )
                groups[group].append({"id": row["id"], "raw": raw, "seg1": seg1, "group": group})
    found: Images = defaultdict(list)
    for group, rows in groups.items():
        split = "test" if group in TEST else "valid" if group in VALID else "pool"
        order = sorted(rows, key=lambda one: hashlib.sha256(one["id"].encode()).digest())
        found[split] += order[: MOST[split]]
    return dict(found)


SETUPS: dict[str, tuple[Callable[[], Images], list[str]]] = {
    "dsb2018": (pictures, ["experiment=nuclei_2d", "data.patch_size=96"]),
    "bbbc050": (stacks, ["experiment=nuclei_3d", "data.patch_size=[24,48,48]"]),
}
"""Images and recipe of each data set."""


def table(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    """Write a table of pictures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


class Trial:
    """One seed of the comparison."""

    def __init__(
        self, folder: Path, data: str, seed: int, steps: int, overrides: Sequence[str]
    ) -> None:
        self.folder, self.seed, self.steps = folder, seed, steps
        read, recipe = SETUPS[data]
        self.overrides = [*recipe, *overrides]
        found = read()
        self.pool = {row["id"]: row for row in found["pool"]}
        self.others = {split: found[split] for split in ("valid", "test")}
        chosen = np.random.default_rng(seed).permutation(sorted(self.pool))[: SIZES[0]]
        self.first = [str(name) for name in chosen]

    def train(self, name: str, labelled: Sequence[str], models: int, predict: bool) -> float:
        """Curate, train, score the test images, predict the pool; return F1 of the first model."""
        own = self.folder / name
        rows = [self.pool[one] | {"split": "train"} for one in labelled]
        rows += [row | {"split": split} for split, part in self.others.items() for row in part]
        source = table(own / "labelled.csv", rows)
        call("curate", f"raw={source}", f"output={own / 'dataset'}", "split.leakage=allow")
        pool = table(self.folder / "pool.csv", list(self.pool.values()))
        for model in range(models):
            output, is_scored = own / f"model{model}", str(model == 0).lower()
            call(
                "train", "init_from=none", f"data.path={own / 'dataset'}",
                f"output={output}", f"seed={100 * self.seed + model}", f"score_test={is_scored}",
                f"trainer.max_steps={self.steps}", f"data.steps_per_epoch={self.steps}",
                "trainer.accelerator=cpu", "data.batch_size=4", "features=8",
                "tune=false", "logger=csv", "lock=false", "overwrite=true", *self.overrides,
            )  # fmt: skip
            if predict:
                call(
                    "predict", f"checkpoint={output}", f"input={pool}", f"output={output / 'pool'}",
                    "save=[probability,labels]",
                )  # fmt: skip
        with (own / "model0/test/evaluation/summary.json").open() as file:
            return float(json.load(file)["pooled"]["f1_50"])

    def choose(self, name: str, order: str, labelled: Sequence[str], size: int) -> list[str]:
        """Return the labelled images and those that come next."""
        own = self.folder / name
        models = 2 if order in COMPARED else 1
        tables = ",".join(str(own / f"model{n}/pool/predictions.csv") for n in range(models))
        output = own / f"next_{order}"
        call(
            "rank", f"predictions=[{tables}]", f"labelled={own / 'dataset'}", f"order={order}",
            f"output={output}", f"count={size - len(labelled)}", f"seed={self.seed}",
        )  # fmt: skip
        with (output / "next.csv").open(newline="") as file:
            return [*labelled, *(row["id"] for row in csv.DictReader(file))]


def measure(
    folder: Path, data: str, seeds: int, steps: int, orders: Sequence[str], known: dict[str, Any],
    keep: Any, overrides: Sequence[str],
) -> None:  # fmt: skip
    """Fill in the score of each seed, order and number of images that is missing."""
    for seed in range(1, seeds + 1):
        trial = Trial(folder / f"seed{seed}", data, seed, steps, overrides)
        for order in orders:
            labelled, name = trial.first, f"start_{SIZES[0]}"
            for number, size in enumerate(SIZES):
                key = f"{seed} {order if number else 'start'} {size}"
                if number:
                    chosen = known.get(key, {}).get("images")
                    labelled = chosen or trial.choose(name, order, labelled, size)
                    name = f"{order}_{size}"
                is_last = number == len(SIZES) - 1
                models = 2 if not number or (order in COMPARED and not is_last) else 1
                if key not in known:
                    started = time.monotonic()
                    score = trial.train(name, labelled, models, not is_last)
                    seconds = round(time.monotonic() - started)
                    known[key] = {"f1_50": round(score, 4), "images": labelled, "seconds": seconds}
                    keep()


def report(known: dict[str, Any], orders: Sequence[str]) -> None:
    """Print the mean score of each order, and its difference from random with its spread."""
    write = sys.stdout.write
    write(f"{'order':14}{'images':>7}{'seeds':>6}{'F1':>8}{'- random':>10}  each seed\n")
    for size in SIZES[1:]:
        for order in orders:
            by_seed = {
                key.split()[0]: one["f1_50"]
                for key, one in known.items()
                if key.endswith(f" {order} {size}")
            }
            pairs = [
                score - known[f"{seed} random {size}"]["f1_50"]
                for seed, score in by_seed.items()
                if f"{seed} random {size}" in known
            ]
            if by_seed:
                mean = statistics.mean(by_seed.values())
                change = f"{statistics.mean(pairs):+.3f}" if pairs and order != "random" else ""
                each = " ".join(f"{score:.3f}" for score in by_seed.values())
                write(f"{order:14}{size:7}{len(by_seed):6}{mean:8.3f}{change:>10}  {each}\n")


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--data", choices=sorted(SETUPS), default="dsb2018")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=80, help="of each training")
    parser.add_argument("--orders", default=",".join(ORDERS))
    parser.add_argument("--keep", type=Path, help="folder of models; needed to go on")
    args, overrides = parser.parse_known_args()
    if not (DATA / args.data).is_dir():
        sys.stdout.write("no data: set CYTOLOOP_TEST_DATA\n")
        return
    is_known = args.json and args.json.is_file()
    known: dict[str, Any] = json.loads(args.json.read_text()) if is_known else {}
    if known.setdefault("data", args.data) != args.data:
        raise SystemExit(f"{args.json} holds runs on {known['data']}: name another file")
    folder = (args.keep or Path(tempfile.mkdtemp(prefix="cytoloop-next-"))).absolute()
    orders = args.orders.split(",")
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"

    def keep() -> None:
        if args.json:
            args.json.write_text(json.dumps(known, indent=1) + "\n")

    try:
        measure(folder, args.data, args.seeds, args.steps, orders, known, keep, overrides)
    finally:
        if not args.keep:
            shutil.rmtree(folder)
    report(known, orders)


if __name__ == "__main__":
    main()
