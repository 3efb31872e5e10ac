"""Make the weights of a shipped model: `python scripts/train_pretrained.py nuclei_3d --minutes 60`.

Writes synthetic images (`cytoloop synthesize`), trains on them (`cytoloop train`), packs the best
checkpoint into src/cytoloop/pretrained. A sitting goes on from the weights that the package ships,
with new images: it needs no files of the sitting before, so it can run on another machine. A
command that was stopped continues: images that are there stay, and the training resumes.
`--average` packs the mean of the weights before and after the sitting.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cytoloop.data.cache_builder import read_row
from cytoloop.evaluation.counts.matching import match_instances
from cytoloop.evaluation.counts.objects import instance_counts
from cytoloop.evaluation.metrics import instance_scores
from cytoloop.inference.postprocess.segment_maps import segment_maps
from cytoloop.inference.postprocess.settings import PostprocessSettings
from cytoloop.inference.volume_storage import VolumeStorage
from cytoloop.inference.windows.predictor import Predictor
from cytoloop.inference.windows.probability_maps import predict_maps
from cytoloop.io.digest import file_hash
from cytoloop.io.pixels import MemoryPixels
from cytoloop.manifest import read_manifest
from cytoloop.model.checkpoint import read_checkpoint
from cytoloop.model.weights_file import WeightsFile, read_weights_file, write_weights_file
from cytoloop.pretrained.shipped import SUFFIX
from cytoloop.tracking.output_folder import read_final_scores
from cytoloop.version import __version__

SHIPPED = Path(__file__).parents[1] / "src" / "cytoloop" / "pretrained"
RECIPES: dict[str, dict[str, Any]] = {
    "nuclei_3d": {
        "series": [{"number": 200}, {"number": 200}],
        "train": ["experiment=nuclei_3d"],
        # what the images of the series show, in voxels: the range in which the model works
        "knows": {"object_diameter_px": [10, 34], "anisotropy": [1, 4]},
        # light from out of focus; chosen on embryos 01 to 03 of BBBC050
        "tuned": {"haze": 0.55},
    },
    "nuclei_2d": {
        "series": [{"number": 300}, {"number": 300}],
        "dsb2018": True,
        "train": ["experiment=nuclei_2d"],
        "knows": {"object_diameter_px": [10, 50], "anisotropy": [1, 1]},
    },
}
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
_SEED = 11
_SEEDS_PER_SITTING = 10


def call(*words: str) -> None:
    """Run a verb of cytoloop; end where it fails."""
    done = subprocess.run([sys.executable, "-m", "cytoloop", *words], check=False)
    if done.returncode:
        raise SystemExit(f"cytoloop {' '.join(words)}: exit status {done.returncode}")


def make_dataset(name: str, sitting: int, folder: Path) -> Path:
    """Write the images of a sitting and curate them; return the data set."""
    data = folder / "dataset"
    if (data / "dataset.csv").is_file():
        return data
    raw, seg = folder / "raw", folder / "seg"
    raw.mkdir(parents=True, exist_ok=True)
    seg.mkdir(parents=True, exist_ok=True)
    for i, series in enumerate(RECIPES[name]["series"]):
        seed = _SEED + _SEEDS_PER_SITTING * sitting + i
        images = folder / f"images{i}"
        call(
            "synthesize", f"synthesis={name}", f"seed={seed}", f"output={images}",
            *(f"{key}={value}" for key, value in series.items()),
        )  # fmt: skip
        for kind, target in (("raw", raw), ("seg", seg)):
            for file in (images / kind).iterdir():
                link = target / file.name
                if not link.exists():
                    link.symlink_to(file.absolute())
    if RECIPES[name].get("dsb2018"):
        add_dsb2018(name, folder, raw, seg)
    call(
        "curate", f"raw={raw}", f"seg1={seg}", f"output={data}", "valid=0.06", "test=0",
        "split.leakage=allow",
    )  # fmt: skip
    return data


def add_dsb2018(name: str, folder: Path, raw: Path, seg: Path) -> None:
    """Add the pictures of DSB2018 (CC0) that train in `benchmarks/quality.py`, no others.

    Their ids are listed beside the model card.
    """
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    import quality

    curated = folder / "dsb2018"
    quality.curate_dsb2018(curated)
    with (curated / "train.csv").open(newline="") as file:
        ids = sorted(row["id"] for row in csv.DictReader(file))
    for one in ids:
        for kind, target in (("images", raw), ("masks", seg)):
            link = target / f"dsb2018_{one}.tif"
            if not link.exists():
                link.symlink_to(quality.DATA / "dsb2018" / kind / f"{one}.tif")
    (SHIPPED / f"{name}.dsb2018.txt").write_text("\n".join(ids) + "\n")


def train(
    name: str, sitting: int, folder: Path, data: Path, minutes: float, overrides: list[str]
) -> Path:
    """Train a sitting, or resume it; return its folder."""
    run = folder / "run"
    if (run / "checkpoints" / "last.ckpt").is_file():
        if not read_final_scores(run):
            call("train", f"resume={run}")
        return run
    start = [f"init_from=pretrained:{name}"] if sitting else []
    call(
        "train", *RECIPES[name]["train"], f"data.path={data}", f"output={run}",
        f"budget_minutes={minutes}", f"seed={_SEED + sitting}", "score_test=false",
        *start, *overrides,
    )  # fmt: skip
    return run


def choose_threshold(checkpoint: Path, table: Path) -> float:
    """Return the threshold with the highest mean over images of AP at IoU 0.5 and SEG.

    The tuning of a training pools objects, so that a few stacks of 1000 small ones decide for all
    sizes. Averaged over images, the default watershed is as good as any. A threshold's score is
    the mean of its own and of its neighbours'.
    """
    predictor = Predictor([read_checkpoint(checkpoint)])
    scores = np.zeros(len(THRESHOLDS))
    for row in read_manifest(table).rows:
        image, labels, valid, spacing = read_row(row)
        storage = VolumeStorage()
        pixels = MemoryPixels(image, spacing, [str(c) for c in range(len(image))])
        maps = predict_maps(row.id, pixels, predictor, storage)
        for i, threshold in enumerate(THRESHOLDS):
            rule = PostprocessSettings(threshold=threshold, seed_smoothing=1.0, min_depth=0.2)
            found = segment_maps(maps, spacing, rule, predictor.training, storage.create, False)
            matching = match_instances(labels, np.asarray(found.volumes["labels"]), valid)
            score = instance_scores(instance_counts(matching))
            scores[i] += np.nan_to_num(score["ap_50"]) + np.nan_to_num(score["seg"])
    smooth = np.convolve(scores, np.ones(3) / 3, "valid")
    return THRESHOLDS[1 + int(smooth.argmax())]


def averaged(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the mean of two sets of weights; counters of batches are those of the second.

    A tensor that the network knows by several names stays one.
    """
    means: dict[int, Tensor] = {}
    for key, value in second.items():
        if value.is_floating_point() and value.data_ptr() not in means:
            means[value.data_ptr()] = (first[key].float() + value.float()) / 2
    return {key: means.get(value.data_ptr(), value) for key, value in second.items()}


def pack(
    name: str, sitting: int, run: Path, sittings: list[dict[str, Any]], minutes: float,
    average: bool,
) -> None:  # fmt: skip
    """Write the best checkpoint of a sitting as the shipped weights, and what made them."""
    best = run / "checkpoints" / "best.ckpt"
    found = read_checkpoint(best)
    path = SHIPPED / f"{name}{SUFFIX}"
    weights = found.weights
    if average:
        weights = averaged(read_weights_file(path).weights, weights)
    image = {**found.image, **RECIPES[name]["knows"]}
    image["channel_names"] = []
    image["spacing_um"] = None  # the synthetic sizes in um mean nothing: voxels count
    packed = run / f"{name}{SUFFIX}"
    write_weights_file(packed, WeightsFile(weights, found.backbone, image, found.epoch, found.step))
    threshold = choose_threshold(packed, run.parent / "dataset" / "valid.csv")
    image["tuned"] = {"threshold": threshold, **RECIPES[name].get("tuned", {})}
    made = {
        "sitting": sitting,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "cytoloop": __version__,
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "minutes": minutes,
        "steps": found.step,
        "state_sha256": file_hash(best),
        "averaged": average,
        "tuned": image.get("tuned"),
    }
    model = WeightsFile(weights, found.backbone, image, found.epoch, found.step)
    write_weights_file(path, model)
    (SHIPPED / f"{name}.sittings.json").write_text(json.dumps([*sittings, made], indent=1) + "\n")
    read_weights_file(path)
    sys.stdout.write(f"wrote {path}, {path.stat().st_size / 1e6:.1f} MB\n")


def main() -> None:
    """Make the images of the next sitting, train, and pack the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--folder", type=Path, default=Path("pretrained_work"))
    parser.add_argument(
        "--average", action="store_true", help="pack the mean with the weights of before"
    )
    args, overrides = parser.parse_known_args()
    record = SHIPPED / f"{args.name}.sittings.json"
    sittings = json.loads(record.read_text()) if record.is_file() else []
    sitting = len(sittings)
    folder = (args.folder / args.name / f"sitting{sitting}").absolute()
    data = make_dataset(args.name, sitting, folder)
    run = train(args.name, sitting, folder, data, args.minutes, overrides)
    pack(args.name, sitting, run, sittings, args.minutes, args.average and sitting > 0)


if __name__ == "__main__":
    main()
