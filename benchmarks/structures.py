"""Which recipe for what: `python benchmarks/structures.py [--json PATH] [KEY=VALUE]`.

Trains `structures`, `filaments`, `shells` and `cells`, each on its kind of structure and for some
minutes, and scores images that training and tuning did not see. `--against auto` trains that recipe
on the same data as well. What follows the options goes to `cytoloop train`.

- structures and shells: synthetic nuclei (`cytoloop synthesize`), as masks and as envelopes that
  are two pixels thin. Every machine has them.
- filaments: brain vessels, cells: salivary glands, of $CYTOLOOP_TEST_DATA (../shared/data). The
  test images are of another laboratory, or of other days.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from quality import call, curate_salivary, curate_vessels
from scipy import ndimage

from cytoloop.io.labels import read_labels
from cytoloop.io.read import read_image
from cytoloop.io.writers.tiff import write_image

SCORES = {"structures": ("dice",), "filaments": ("dice", "cldice", "gaps"),
          "shells": ("dice", "cldice"), "cells": ("dice", "seg", "ap_50", "mean_ap")}  # fmt: skip
"""Of masks, objects are connected pieces, whose scores say nothing."""
IMAGES, VALID, TEST = 16, 3, 3
"""Synthetic images, and how many of them validate and test."""


def envelope(labels: np.ndarray) -> np.ndarray:
    """Return the outlines of objects, two pixels thin, (Y, X) bool."""
    inside = np.stack([ndimage.binary_erosion(labels == n) for n in np.unique(labels)[1:]])
    return (labels > 0) & ~inside.any(axis=0)


def make_synthetic(folder: Path, shells: bool) -> None:
    """Write synthetic pictures with masks: nuclei, or their envelopes with a stain of their own."""
    call("synthesize", "synthesis=nuclei_2d", f"number={IMAGES}", f"output={folder}/nuclei")
    rng = np.random.default_rng(0)
    for path in sorted((folder / "nuclei/seg").iterdir()):
        labels = read_labels(path)
        raw_path = next((folder / "nuclei/raw").glob(f"{path.name.split('.')[0]}.*"))
        raw, mask = read_image(raw_path).data[0], labels > 0
        if shells:
            mask = envelope(labels)
            bright = ndimage.gaussian_filter(mask * rng.uniform(0.5, 1.5, mask.shape), 1.0)
            haze = ndimage.gaussian_filter((labels > 0).astype(np.float32), 4)
            raw = rng.poisson(20 + 60 * bright + 15 * haze).astype(np.uint16)
        name = f"{path.name.split('.')[0]}.tif"
        for kind, data in (("raw", raw), ("seg", mask.astype(np.uint8))):
            write_image(folder / kind / name, np.asarray(data), "YX")


def curate(recipe: str, folder: Path) -> Path:
    """Make the data set of a recipe; return the manifest of its test images."""
    out = folder / "dataset"
    if recipe in ("structures", "shells"):
        make_synthetic(folder, recipe == "shells")
        shares = (f"valid={VALID / IMAGES}", f"test={TEST / IMAGES}")
        call("curate", f"raw={folder}/raw", f"seg1={folder}/seg", *shares, f"output={out}")
        return out / "test.csv"
    return {"filaments": curate_vessels, "cells": curate_salivary}[recipe](out)["test"]


def measure(recipe: str, folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Train a recipe and those it is compared with; return the rows of the table."""
    folder.mkdir(parents=True)
    truth = curate(recipe, folder)
    rows = []
    for trained in dict.fromkeys([recipe, *args.against]):
        run, out = folder / trained, folder / f"{trained}_preds"
        started = time.perf_counter()
        call(
            "train", f"experiment={trained}", f"data.path={folder}/dataset", f"output={run}",
            f"budget_minutes={args.minutes}", f"seed={args.seed}", *args.overrides,
        )  # fmt: skip
        minutes = (time.perf_counter() - started) / 60
        call("predict", f"checkpoint={run}", f"input={truth}", f"output={out}")
        scores = folder / f"{trained}_eval"
        table = f"predictions={out}/predictions.csv"
        call("evaluate", table, f"truth={truth}", f"output={scores}", "overlays=0")
        pooled = json.loads((scores / "summary.json").read_text())["pooled"]
        found = {name: round(pooled[name], 3) for name in SCORES[recipe] if pooled.get(name)}
        rows.append({"data": recipe, "recipe": trained, **found, "minutes": round(minutes, 1)})
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recipes", nargs="+", choices=SCORES, default=list(SCORES))
    parser.add_argument("--against", nargs="*", default=[], help="recipes on the same data")
    parser.add_argument("--minutes", type=float, default=3.0, help="budget of each training")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the rows here as well")
    parser.add_argument("--keep", type=Path, help="keep data sets and models in this folder")
    args, overrides = parser.parse_known_args()
    args.overrides = overrides
    folder = args.keep or Path(tempfile.mkdtemp())
    rows: list[dict[str, Any]] = []
    try:
        for recipe in args.recipes:
            rows += measure(recipe, folder / recipe, args)
            if args.json:
                args.json.write_text(json.dumps(rows, indent=1) + "\n")
    finally:
        if not args.keep:
            shutil.rmtree(folder, ignore_errors=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    print("  ".join(f"{name:>10}" for name in names))
    for row in rows:
        print("  ".join(f"{row.get(name, '')!s:>10}" for name in names))


if __name__ == "__main__":
    main()
