"""How good a model of some minutes is: `python benchmarks/quality.py [--json PATH] [KEY=VALUE]`.

Trains on BBBC050 (embryos 01 to 07, 08 validates) and on dsb2018 (groups of like tiles kept
together) of $CYTOLOOP_TEST_DATA (../shared/data) with `cytoloop train`, predicts what neither
training nor tuning saw, and scores it with `cytoloop evaluate`: embryo 09 as it is, and as another
microscope would show it (grey levels x 3 + 1800, noise, blur, planes 2 um apart). `--score valid`
scores the validation images in their place: decide on them, not on the test images. What follows
the options goes to `cytoloop train`: `benchmarks/quality.py --seeds 1 2 augmentation=strong`.
The classical method beside it is a Gaussian, Otsu's threshold and the same watershed on distances;
for what is not a nucleus it is the classic workflow of that structure.

`--data` also takes `salivary` (cells that fill space; stacks of other days are scored), `vessels`
(a mask of thin structures; another laboratory is scored) and `phase` (whole cells in phase
contrast; other pictures are scored).
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
from scipy import ndimage
from skimage.filters import threshold_otsu

from cytoloop.instances import InstanceSettings, segment
from cytoloop.io.labels import read_labels
from cytoloop.io.read import read_image
from cytoloop.io.writers.tiff import write_image

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("CYTOLOOP_TEST_DATA", ROOT.parent / "shared" / "data"))
SPACING = (1.75, 0.8, 0.8)
PLANES_UM = 2.0
SCORES = ("dice", "cldice", "seg", "ap_50", "mean_ap", "f1_50")
ERRORS = ("merges", "splits", "missed", "spurious", "gaps")


def call(*words: str) -> None:
    """Run a verb; its output goes to the terminal's error stream."""
    done = subprocess.run(
        [sys.executable, "-m", "cytoloop", *words], stdout=sys.stderr, check=False
    )
    if done.returncode:
        raise SystemExit(f"cytoloop {' '.join(words)}: exit status {done.returncode}")


def curate_bbbc050(folder: Path) -> dict[str, Path]:
    """Make the data set of embryos; return the manifests to score, by name."""
    data = DATA / "bbbc050"
    call(
        "curate", f"raw={data}/images/*.tif", f"seg1={data}/labels/*.tif",
        r"group=(?P<group>Emb\d+)", "valid=[Emb08]", "test=[Emb09]",
        f"spacing_um={list(SPACING)}", f"output={folder}",
    )  # fmt: skip
    return {split: folder / f"{split}.csv" for split in ("valid", "test")}


def curate_dsb2018(folder: Path) -> dict[str, Path]:
    """Make the data set of pictures, tiles of one size and background in one group."""
    data = DATA / "dsb2018"
    folder.mkdir(parents=True)
    table = folder.parent / "dsb2018.csv"
    with (data / "index.csv").open(newline="") as file, table.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["id", "raw", "seg1", "group"])
        for row in csv.DictReader(file):
            name = f"{row['id']}.tif"
            group = f"{row['height']}x{row['width']}_{int(float(row['bg_mean']) // 4)}"
            writer.writerow([row["id"], data / "images" / name, data / "masks" / name, group])
    call("curate", f"raw={table}", "valid=0.12", "test=0.15", "seed=1", f"output={folder}")
    return {split: folder / f"{split}.csv" for split in ("valid", "test")}


def curate_by_name(folder: Path, name: str, splits: dict[str, str], *words: str) -> dict[str, Path]:
    """Make a data set of `images`, `labels` and `index.csv`; parts of names tell valid and test."""
    folder.mkdir(parents=True)
    table = folder.parent / f"{name}.csv"
    with (DATA / name / "index.csv").open(newline="") as file, table.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["id", "raw", "seg1", "group", "split"])
        for row in csv.DictReader(file):
            stem = row["name"].removesuffix(".tif")
            split = next((kind for part, kind in splits.items() if part in stem), "train")
            files = (DATA / name / kind / row["name"] for kind in ("images", "labels"))
            writer.writerow([stem, *files, stem, split])
    call("curate", f"raw={table}", "split.leakage=allow", f"output={folder}", *words)
    return {split: folder / f"{split}.csv" for split in ("valid", "test")}


def curate_salivary(folder: Path) -> dict[str, Path]:
    """Make the data set of salivary glands: stacks of other days are tested."""
    splits = {"2017-12-04_4a": "valid", "2019": "test"}
    return curate_by_name(folder, "salivary_gland_cells3d", splits, "spacing_um=[0.55,1,1]")


def curate_vessels(folder: Path) -> dict[str, Path]:
    """Make the data set of brain vessels: the stacks of one laboratory are tested."""
    splits = {"poon2015_plaqueVessels": "valid", "santos2015": "test"}
    return curate_by_name(folder, "brain_vessels3d", splits)


def curate_phase(folder: Path) -> dict[str, Path]:
    """Make the data set of whole cells in phase contrast."""
    kinds = {"valid": ("08", "14", "20"), "test": ("10", "26", "28", "29")}
    splits = {f"set{one}": kind for kind, numbers in kinds.items() for one in numbers}
    return curate_by_name(folder, "usiigaci_phase2d", splits)


DATA_SETS = {
    "bbbc050": (curate_bbbc050, "nuclei_3d", ""),
    "dsb2018": (curate_dsb2018, "nuclei_2d", ""),
    "salivary": (curate_salivary, "auto", "cells"),
    "vessels": (curate_vessels, "auto", "filaments"),
    "phase": (curate_phase, "auto", ""),
}
"""How to make a data set, its recipe, and the classic workflow beside it; "" is `classical`."""


def change_microscope(manifest: Path, folder: Path) -> Path:
    """Write the stacks of a manifest as another microscope would show them; return its manifest."""
    rng = np.random.default_rng(0)
    rows = []
    with manifest.open(newline="") as file:
        for row in csv.DictReader(file):
            raw = read_image(manifest.parent / row["raw"]).data[0].astype(np.float32)
            labels = read_labels(manifest.parent / row["seg1"])
            zoom = (SPACING[0] / PLANES_UM, 1, 1)
            raw = ndimage.gaussian_filter(raw, (0.5, 0.8, 0.8))
            raw = ndimage.zoom(raw, zoom, order=1, grid_mode=True, mode="nearest")
            labels = ndimage.zoom(labels, zoom, order=0, grid_mode=True, mode="nearest")
            signal = np.percentile(raw, 99.5) - np.median(raw)
            raw = 3 * (raw + rng.normal(0, 0.06 * signal, raw.shape)) + 1800
            spacing = (PLANES_UM, *SPACING[1:])
            one = {"id": row["id"], "group": row["group"]}
            for kind, data in (("raw", np.clip(raw, 0, 65535).astype(np.uint16)), ("seg1", labels)):
                one[kind] = f"{kind}/{row['id']}.tif"
                write_image(folder / one[kind], data, "ZYX", spacing)
            rows.append(one)
    table = folder / "changed.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "raw", "seg1", "group"])
        writer.writeheader()
        writer.writerows(rows)
    return table


def classical(manifest: Path, folder: Path) -> None:
    """Segment the images of a manifest without learning."""
    rows = []
    with manifest.open(newline="") as file:
        for row in csv.DictReader(file):
            image = read_image(manifest.parent / row["raw"])
            spacing = image.spacing_um or SPACING
            raw = np.log1p(image.data[0].astype(np.float32))
            sigma = [spacing[-1] / side for side in spacing[-raw.ndim :]]
            smooth = ndimage.gaussian_filter(raw, sigma)
            mask = (smooth > threshold_otsu(smooth)).astype(np.float32)
            rule = InstanceSettings(min_voxels=100 if raw.ndim == 3 else 20)
            labels, _ = segment(mask, rule, spacing)
            write_image(folder / f"{row['id']}.tif", np.asarray(labels), "ZYX"[-raw.ndim :])
            rows.append({"id": row["id"], "raw": row["raw"], "labels": f"{row['id']}.tif"})
    with (folder / "predictions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "raw", "labels"])
        writer.writeheader()
        writer.writerows(rows)


def score(table: Path, truth: Path, folder: Path) -> dict[str, Any]:
    """Return pooled scores, and in brackets the mean over images."""
    call("evaluate", f"predictions={table}", f"truth={truth}", f"output={folder}", "overlays=0")
    summary = json.loads((folder / "summary.json").read_text())
    pooled, mean = summary["pooled"], summary["mean"]
    by_image = {f"{name}_by_image": mean.get(name) for name in ("dice", "seg", "ap_50", "mean_ap")}
    found = {**{name: pooled.get(name) for name in (*SCORES, *ERRORS)}, **by_image}
    return {name: round(value, 3) for name, value in found.items() if value is not None}


def measure(name: str, folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Train with each seed and score; return the rows of the table."""
    data = folder / name / "dataset"
    curate, experiment, workflow = DATA_SETS[name]
    manifests = curate(data)
    scored = {args.score: manifests[args.score]}
    if name == "bbbc050":
        scored["changed"] = change_microscope(manifests[args.score], folder / name / "changed")
    found = []
    for what, manifest in scored.items():
        out = folder / name / f"classical_{what}"
        if workflow:
            call("classic", f"workflow={workflow}", f"input={manifest}", f"output={out}")
        else:
            classical(manifest, out)
        scores = score(out / "predictions.csv", manifest, Path(f"{out}_eval"))
        found.append({"data": name, "method": "classical", "images": what, **scores})
    for seed in args.seeds:
        run = folder / name / f"seed{seed}"
        started = time.perf_counter()
        call(
            "train", f"experiment={experiment}", f"data.path={data}", f"seed={seed}",
            f"budget_minutes={args.minutes}", f"output={run}", *args.overrides,
        )  # fmt: skip
        minutes = (time.perf_counter() - started) / 60
        for what, manifest in scored.items():
            out = folder / name / f"seed{seed}_{what}"
            call(
                "predict", f"checkpoint={run}", f"input={manifest}", f"output={out}", *args.predict
            )
            scores = score(out / "predictions.csv", manifest, Path(f"{out}_eval"))
            found.append(
                {"data": name, "method": f"ours, seed {seed}", "images": what, **scores,
                 "minutes_in_all": round(minutes, 1)}
            )  # fmt: skip
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--data", nargs="+", choices=sorted(DATA_SETS), default=["bbbc050", "dsb2018"]
    )
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--score", choices=("valid", "test"), default="test")
    parser.add_argument("--predict", nargs="*", default=[], help="overrides of cytoloop predict")
    parser.add_argument("--keep", type=Path, help="folder for models and predictions")
    args, overrides = parser.parse_known_args()
    args.overrides = overrides
    if not (DATA / "bbbc050").is_dir():
        sys.stdout.write("no data: set CYTOLOOP_TEST_DATA\n")
        return
    folder = args.keep or Path(tempfile.mkdtemp(prefix="cytoloop-quality-"))
    try:
        found = [row for name in args.data for row in measure(name, folder.absolute(), args)]
    finally:
        if not args.keep:
            shutil.rmtree(folder)
    columns = list(dict.fromkeys(key for row in found for key in row))
    widths = [max(len(c), *(len(str(row.get(c, ""))) for row in found)) for c in columns]
    for line in [dict(zip(columns, columns, strict=True)), *found]:
        cells = (str(line.get(c, "")).ljust(w) for c, w in zip(columns, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
