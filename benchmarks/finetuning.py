"""What four new stacks are worth: `python benchmarks/finetuning.py [--json PATH] [KEY=VALUE]`.

BBBC050: embryos 01 to 06 train a model, 07 validates, 08 is the old test set. Embryo 09 is new:
four of its stacks are trained on, the other four are held out. The model is fine-tuned with those
four alone and with replay of the old images; `cytoloop evaluate` scores each model on the old
test set and on the held-out stacks. What follows the options goes to the fine-tuning.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from quality import DATA, SPACING, call, score

SHOWN = ("dice", "seg", "ap_50", "mean_ap")


def curate(folder: Path, stacks: list[Path], held: list[Path], old_test: str) -> None:
    """Make a data set of stacks of BBBC050; `held` and the group `old_test` are its test set."""
    table = folder.with_suffix(".csv")
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "raw", "seg1", "group"])
        for raw in [*stacks, *held]:
            group = "held" if raw in held else raw.stem[:5]
            writer.writerow([raw.stem, raw, DATA / "bbbc050" / "labels" / raw.name, group])
    call(
        "curate", f"raw={table}", f"spacing_um={list(SPACING)}", f"output={folder}",
        "valid=[Emb07]", f"test=[{old_test}]",
    )  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--minutes", type=float, default=8, help="of the first training")
    parser.add_argument("--tuning", type=float, default=3, help="minutes of each fine-tuning")
    parser.add_argument("--keep", type=Path, help="folder for models and predictions")
    args, overrides = parser.parse_known_args()
    if not (DATA / "bbbc050").is_dir():
        sys.stdout.write("no data: set CYTOLOOP_TEST_DATA\n")
        return
    folder = (args.keep or Path(tempfile.mkdtemp(prefix="cytoloop-finetuning-"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        found = measure(folder, args.minutes, args.tuning, overrides)
    finally:
        if not args.keep:
            shutil.rmtree(folder)
    width = max(len(row["model"]) for row in found)
    for row in [{"model": "", "images": "", **{n: n for n in SHOWN}}, *found]:
        cells = "  ".join(str(row[name]).ljust(8) for name in SHOWN)
        sys.stdout.write(f"{row['model']:{width}}  {row['images']:9}  {cells}".rstrip() + "\n")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


def measure(
    folder: Path, minutes: float, tuning: float, overrides: list[str]
) -> list[dict[str, Any]]:
    """Train, fine-tune both ways, score; return the rows of the table."""
    stacks = sorted((DATA / "bbbc050" / "images").glob("*.tif"))
    old = [s for s in stacks if s.stem[:5] <= "Emb08"]
    ninth = [s for s in stacks if s.stem[:5] == "Emb09"]
    seventh = [s for s in stacks if s.stem[:5] == "Emb07"]
    curate(folder / "old", old, [], "Emb08")
    curate(folder / "new", [*seventh, *ninth[::2]], ninth[1::2], "held")
    base = folder / "base"
    call(
        "train", "experiment=nuclei_3d", f"data.path={folder / 'old'}", f"output={base}",
        f"budget_minutes={minutes}", "score_test=false",
    )  # fmt: skip
    models = {"before": base}
    for name, replay in (("4 new stacks", 0.0), ("4 new stacks, replay 0.3", 0.3)):
        models[name] = folder / f"tuned_{replay}"
        words = (
            [f"data.replay_fraction={replay}", f"data.replay_path={folder / 'old'}"]
            if replay
            else []
        )
        call(
            "train", "experiment=nuclei_3d", "finetune=gentle", f"data.path={folder / 'new'}",
            f"init_from={base}", f"output={models[name]}", f"budget_minutes={tuning}",
            "score_test=false", *words, *overrides,
        )  # fmt: skip
    rows = []
    for name, model in models.items():
        for what, table in (("old", folder / "old"), ("held out", folder / "new")):
            manifest = table / "test.csv"
            out = folder / f"{model.name}_{table.name}"
            call("predict", f"checkpoint={model}", f"input={manifest}", f"output={out}")
            scores = score(out / "predictions.csv", manifest, Path(f"{out}_eval"))
            rows.append({"model": name, "images": what, **scores})
    return rows


if __name__ == "__main__":
    main()
