"""How good the shipped models are: `python benchmarks/pretrained.py [--rows NAME ...]`.

Scores the shipped models on data that they never saw, of $CYTOLOOP_TEST_DATA (../shared/data):

no_label     BBBC050, all stacks, default settings, beside Otsu's threshold with a watershed
workflow     BBBC050, all stacks, `cytoloop classic workflow=nuclei` by its defaults
calibrated   BBBC050 after `calibrate=` with one stack of an embryo; the other embryos are scored
one          BBBC050 after a minute of training from the same stack; the other embryos are scored
ovules       two crops of Arabidopsis ovules, default settings
pictures     DSB2018, held-out groups, default settings
warm         BBBC050, embryo 09: --minutes of warm start beside 15 minutes from scratch
embryos      the same for embryos 01 to 04 by those of 05 to 09, and the reverse
few          BBBC050, embryo 09: 5 minutes on the 8 stacks of one embryo, warm and from scratch
dsb2018      DSB2018, held-out groups: --minutes of warm start beside 15 minutes from scratch

An embryo is never both in what decides and in what is scored. Scores are pooled over objects.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import quality

from cytoloop.io.writers.tiff import write_image

ROWS = (
    *("no_label", "workflow", "calibrated", "one"),
    *("ovules", "pictures", "warm", "embryos", "few", "dsb2018"),
)
OVULES_UM = (0.284, 0.127, 0.127)
CALIBRATION = {1: ("Emb01", "t451"), 2: ("Emb05", "t401")}
"""Embryo and time point of the labelled stack, by seed."""
Found = dict[str, Any]


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def write_rows(table: Path, rows: Sequence[dict[str, str]]) -> Path:
    """Write a manifest; paths are absolute."""
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "raw", "seg1", "group", "spacing_um"])
        writer.writeheader()
        writer.writerows(rows)
    return table


def bbbc050(folder: Path) -> list[dict[str, str]]:
    """Return a row for each stack."""
    data = quality.DATA / "bbbc050"
    size = " ".join(map(str, quality.SPACING))
    return [
        {"id": image.stem, "raw": str(image), "seg1": str(data / "labels" / image.name),
         "group": image.stem.split("_")[0], "spacing_um": size}
        for image in sorted((data / "images").glob("*.tif"))
    ]  # fmt: skip


def ovules(folder: Path) -> list[dict[str, str]]:
    """Write the crops as TIFF; return a row for each."""
    rows = []
    for path in sorted((quality.DATA / "ovules").glob("ovule_nuclei_*.h5")):
        with h5py.File(path) as file:
            for key, kind in (("raw", "raw"), ("label", "seg1")):
                data = file[key][:].astype("uint16")
                write_image(folder / kind / f"{path.stem}.tif", data, "ZYX", OVULES_UM)
        one = {k: str(folder / k / f"{path.stem}.tif") for k in ("raw", "seg1")}
        rows.append(
            {"id": path.stem, **one, "group": "", "spacing_um": " ".join(map(str, OVULES_UM))}
        )
    return rows


def predicted(
    name: str, checkpoint: str, table: Path, folder: Path, words: Sequence[str] = ()
) -> Found:
    """Predict a manifest and score it; add the seconds of an image."""
    out = folder / name
    started = time.perf_counter()
    quality.call("predict", f"checkpoint={checkpoint}", f"input={table}", f"output={out}", *words)
    seconds = time.perf_counter() - started
    scores = quality.score(out / "predictions.csv", table, Path(f"{out}_eval"))
    each = [float(row["seconds"]) for row in rows_of(out / "predictions.csv")]
    return {**scores, "s_image": round(sum(each) / len(each), 2), "s_in_all": round(seconds, 1)}


def no_label(folder: Path, args: argparse.Namespace) -> Iterator[Found]:
    table = write_rows(folder / "all.csv", bbbc050(folder))
    quality.classical(table, folder / "classical")
    scores = quality.score(
        folder / "classical" / "predictions.csv", table, folder / "classical_eval"
    )
    yield {"row": "no_label", "method": "Otsu and watershed", **scores}
    found = predicted("no_label", "pretrained:nuclei_3d", table, folder, args.predict)
    yield {"row": "no_label", "method": "shipped", **found}


def workflow(folder: Path, args: argparse.Namespace) -> Iterator[Found]:
    table = write_rows(folder / "all.csv", bbbc050(folder))
    out = folder / "workflow"
    quality.call("classic", "workflow=nuclei", f"input={table}", f"output={out}")
    scores = quality.score(out / "predictions.csv", table, folder / "workflow_eval")
    each = [float(row["seconds"]) for row in rows_of(out / "predictions.csv")]
    yield {
        "row": "workflow", "method": "nuclei", **scores,
        "s_image": round(sum(each) / len(each), 2),
    }  # fmt: skip


def one_and_others(folder: Path, seed: int) -> tuple[Path, Path]:
    """Write the manifest of the labelled stack, and that of the stacks of other embryos."""
    every = bbbc050(folder)
    embryo, time_point = CALIBRATION[seed]
    one = [row for row in every if row["id"] == f"{embryo}_{time_point}"]
    others = [row for row in every if row["group"] != embryo]
    return (
        write_rows(folder / f"labelled{seed}.csv", one),
        write_rows(folder / f"others{seed}.csv", others),
    )


def calibrated(folder: Path, args: argparse.Namespace) -> Iterator[Found]:
    for seed in args.seeds:
        embryo, time_point = CALIBRATION[seed]
        labelled, table = one_and_others(folder, seed)
        words = [f"calibrate={labelled}", *args.predict]
        found = predicted(f"calibrated{seed}", "pretrained:nuclei_3d", table, folder, words)
        yield {"row": "calibrated", "method": f"by {embryo} {time_point}", **found}


def one_stack(folder: Path, args: argparse.Namespace) -> Iterator[Found]:
    for seed in args.seeds:
        embryo, time_point = CALIBRATION[seed]
        labelled, table = one_and_others(folder, seed)
        data, model = folder / f"one{seed}_data", folder / f"one{seed}"
        quality.call("curate", f"raw={labelled}", "test=0", f"output={data}")
        length = f"trainer.max_steps={args.steps[0]}" if args.steps else "budget_minutes=1"
        quality.call(
            "train", "experiment=nuclei_3d", f"data.path={data}", f"seed={seed}", length,
            "score_test=false", f"output={model}", *args.train,
        )  # fmt: skip
        found = predicted(f"one{seed}_predicted", str(model), table, folder)
        yield {"row": "one", "method": f"{length} from {embryo} {time_point}", **found}


def of_ovules(folder: Path, args: argparse.Namespace) -> Iterator[Found]:
    table = write_rows(folder / "ovules.csv", ovules(folder / "ovules"))
    found = predicted("ovules_out", "pretrained:nuclei_3d", table, folder, args.predict)
    yield {"row": "ovules", "method": "shipped", **found}


def pictures(folder: Path, args: argparse.Namespace) -> Iterator[Found]:
    table = quality.curate_dsb2018(folder / "pictures" / "dataset")["test"]
    found = predicted("pictures_out", "pretrained:nuclei_2d", table, folder, args.predict)
    yield {"row": "pictures", "method": "shipped", **found}


def trained(
    row: str, recipe: str, data: Path, test: Path, folder: Path, args: argparse.Namespace,
    minutes: tuple[float, float],
) -> Iterator[Found]:  # fmt: skip
    """Train warm and from scratch, with each seed, for the minutes of each; score the test."""
    unit = "steps" if args.steps else "min"
    starts = {"warm": (f"pretrained:{recipe}", minutes[0]), "scratch": ("none", minutes[1])}
    for seed in args.seeds:
        for what in args.starts:
            start, budget = starts[what]
            name = f"{row.replace(' ', '_')}_{what}{seed}"
            length = f"budget_minutes={budget}"
            if args.steps:
                budget = args.steps[what == "scratch"]
                length = f"trainer.max_steps={budget}"
            quality.call(
                "train", f"experiment={recipe}", f"data.path={data}", f"seed={seed}",
                length, f"init_from={start}", "score_test=false",
                f"output={folder / name}", *args.train,
            )  # fmt: skip
            found = predicted(f"{name}_predicted", str(folder / name), test, folder)
            yield {"row": row, "method": f"{what}, {budget:g} {unit}, seed {seed}", **found}


def warm(folder: Path, args: argparse.Namespace) -> Iterator[Found]:
    test = quality.curate_bbbc050(folder / "dataset")["test"]
    minutes = (args.minutes, 15.0)
    yield from trained("warm", "nuclei_3d", folder / "dataset", test, folder, args, minutes)


def curate_embryos(folder: Path, files: str, valid: str, test: str) -> Path:
    """Make a data set of stacks of BBBC050; the other embryos train."""
    data = quality.DATA / "bbbc050"
    quality.call(
        "curate", f"raw={data}/images/{files}.tif", f"seg1={data}/labels/{files}.tif",
        r"group=(?P<group>Emb\d+)", f"valid={valid}", f"test={test}",
        f"spacing_um={list(quality.SPACING)}", f"output={folder}",
    )  # fmt: skip
    return folder


def embryos(folder: Path, args: argparse.Namespace) -> Iterator[Found]:
    for scored, valid in (("1234", "5"), ("56789", "4")):
        row = f"embryos {scored[0]} to {scored[-1]}"
        test = f"[{','.join(f'Emb0{one}' for one in scored)}]"
        data = curate_embryos(folder / f"embryos{scored}", "*", f"[Emb0{valid}]", test)
        yield from trained(
            row, "nuclei_3d", data, data / "test.csv", folder, args, (args.minutes, 15.0)
        )


def few(folder: Path, args: argparse.Namespace) -> Iterator[Found]:
    data = curate_embryos(folder / "few", "Emb0[389]*", "[Emb08]", "[Emb09]")
    yield from trained("few", "nuclei_3d", data, data / "test.csv", folder, args, (5.0, 5.0))


def dsb2018(folder: Path, args: argparse.Namespace) -> Iterator[Found]:
    test = quality.curate_dsb2018(folder / "dsb2018" / "dataset")["test"]
    data = folder / "dsb2018" / "dataset"
    yield from trained("dsb2018", "nuclei_2d", data, test, folder, args, (args.minutes, 15.0))


def print_table(found: Sequence[Found]) -> None:
    """Print the table."""
    columns = list(dict.fromkeys(key for row in found for key in row))
    widths = [max(len(c), *(len(str(row.get(c, ""))) for row in found)) for c in columns]
    for line in [dict(zip(columns, columns, strict=True)), *found]:
        cells = (str(line.get(c, "")).ljust(w) for c, w in zip(columns, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def main() -> None:
    """Measure the rows and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=["no_label", "calibrated"])
    parser.add_argument("--minutes", type=float, default=3, help="of the warm start")
    parser.add_argument(
        "--steps", type=int, nargs=2, metavar=("WARM", "SCRATCH"),
        help="of the warm start and from scratch, in place of minutes: for a busy machine",
    )  # fmt: skip
    parser.add_argument(
        "--starts", nargs="+", choices=("warm", "scratch"), default=["warm", "scratch"],
        help="of the rows that train",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, nargs="+", choices=(1, 2), default=[1, 2])
    parser.add_argument("--predict", nargs="*", default=[], help="overrides of cytoloop predict")
    parser.add_argument("--train", nargs="*", default=[], help="overrides of cytoloop train")
    parser.add_argument("--keep", type=Path, help="folder for models and predictions")
    args = parser.parse_args()
    if not (quality.DATA / "bbbc050").is_dir():
        sys.stdout.write("no data: set CYTOLOOP_TEST_DATA\n")
        return
    folder = (args.keep or Path(tempfile.mkdtemp(prefix="cytoloop-pretrained-"))).absolute()
    measures: dict[str, Callable[[Path, argparse.Namespace], Iterator[Found]]] = {
        "no_label": no_label, "workflow": workflow, "calibrated": calibrated, "one": one_stack,
        "ovules": of_ovules, "pictures": pictures, "warm": warm,
        "embryos": embryos, "few": few, "dsb2018": dsb2018,
    }  # fmt: skip
    try:
        found = [one for name in args.rows for one in measures[name](folder, args)]
    finally:
        if not args.keep:
            shutil.rmtree(folder)
    print_table(found)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
