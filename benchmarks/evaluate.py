"""Time and memory of scoring: `python benchmarks/evaluate.py [--json PATH] [--images FOLDER]`.

Methods on a 64 x 512 x 512 stack with 2 000 objects, each in its own process: sparse matching;
dense matching of all pairs, as in `stardist.matching`; surface counts; all metrics with the tables
of objects.

`--images FOLDER` (with ``images/`` and ``masks/``, a label image each, as in DSB 2018) measures
`cytoloop evaluate` as a whole: components above a threshold, tables, charts, overlays, report.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.evaluation.counts.calibration import probability_histogram
from cytoloop.evaluation.counts.matching import match_instances
from cytoloop.evaluation.counts.object_table import make_object_tables
from cytoloop.evaluation.counts.objects import instance_counts
from cytoloop.evaluation.counts.surfaces import count_surfaces
from cytoloop.evaluation.counts.voxels import count_voxels
from cytoloop.evaluation.metrics import METRICS, compute_scores

SHAPE = (64, 512, 512)
OBJECTS = 2000
SPACING, TOLERANCE = (1.0, 0.3, 0.3), 0.6


def make_stack(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return true and predicted labels: balls on a grid, predicted ones shifted by 1 voxel."""
    rng = np.random.default_rng(seed)
    truth, prediction = np.zeros(SHAPE, np.uint16), np.zeros(SHAPE, np.uint16)
    grid = [
        (z, y, x) for z in (8, 24, 40, 56) for y in range(11, 505, 22) for x in range(11, 505, 22)
    ]
    ball = sum(
        g**2 for g in np.mgrid[-7:8, -9:10, -9:10] / np.array([7, 9, 9])[:, None, None, None]
    )
    for number, centre in enumerate(rng.permutation(grid)[:OBJECTS], start=1):
        for image, shift in ((truth, 0), (prediction, 1)):
            place = [c + int(rng.integers(-shift, shift + 1)) for c in centre]
            window = tuple(
                slice(max(p - h, 0), p + h + 1) for p, h in zip(place, (7, 9, 9), strict=True)
            )
            view = image[window]
            view[ball[: view.shape[0], : view.shape[1], : view.shape[2]] <= 1] = number
    return truth, prediction


def sparse(truth: np.ndarray, prediction: np.ndarray) -> int:
    return len(match_instances(truth, prediction).matched[0.5])


def all_scores(truth: np.ndarray, prediction: np.ndarray) -> int:
    """Compute all metrics of an image, and the tables of its objects."""
    matching = match_instances(truth, prediction)
    probability = (prediction > 0).view(np.uint8) * np.uint8(200)
    counts = {
        **count_voxels(truth, prediction),
        **count_surfaces(truth, prediction, None, SPACING, TOLERANCE),
        **instance_counts(matching),
        "probability_histogram": probability_histogram(probability, truth),
    }
    compute_scores(counts, METRICS.values())
    make_object_tables(truth, prediction, None, matching)
    return len(matching.matched[0.5])


def surfaces(truth: np.ndarray, prediction: np.ndarray) -> int:
    count_surfaces(truth, prediction, None, SPACING, TOLERANCE)
    return 0


def dense(truth: np.ndarray, prediction: np.ndarray) -> int:
    """Count matches at IoU .5 from a full table of label pairs."""
    table = np.zeros((int(truth.max()) + 1, int(prediction.max()) + 1), np.int64)
    np.add.at(table, (truth.ravel(), prediction.ravel()), 1)
    union = table.sum(1, keepdims=True) + table.sum(0, keepdims=True) - table
    iou = table / np.maximum(union, 1)
    return int((iou[1:, 1:] >= 0.5).sum())


METHODS = {
    "sparse matching": sparse,
    "dense matching": dense,
    "surfaces alone": surfaces,
    "all scores": all_scores,
}


def measure(method: str, queue: Any) -> None:
    truth, prediction = make_stack(0)
    function = METHODS[method]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    matches = function(truth, prediction)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    queue.put(
        {
            "method": method,
            "seconds": round(seconds, 3),
            "peak_rss_gib": round(peak / 2**20, 3),
            "of_it_inputs_gib": round(before / 2**20, 3),
            "matches": matches,
        }
    )


def measure_folder(folder: Path, queue: Any) -> None:
    """Evaluate components above Otsu's threshold against the masks of a folder."""
    from scipy import ndimage
    from skimage.filters import gaussian, threshold_otsu

    from cytoloop.cli.commands.evaluate import run
    from cytoloop.io.read import read_image
    from cytoloop.io.writers.tiff import write_image

    with tempfile.TemporaryDirectory() as work:
        for path in sorted((folder / "images").iterdir()):
            smooth = gaussian(read_image(path).data[0].astype(np.float32), 1.0)
            labels, _ = ndimage.label(smooth > threshold_otsu(smooth))
            write_image(Path(work) / "found" / path.name, labels.astype(np.uint16), "YX")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        run(_config(folder, Path(work)))
        queue.put(
            {
                "method": f"evaluate {len(list((folder / 'images').iterdir()))} images",
                "seconds": round(time.perf_counter() - started, 1),
                "peak_rss_gib": round(
                    resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3
                ),
                "of_it_inputs_gib": round(before / 2**20, 3),
                "matches": "",
            }
        )


def _config(folder: Path, work: Path) -> Any:
    from hydra import compose, initialize_config_module

    with initialize_config_module("cytoloop.configs", version_base="1.3"):
        return compose(
            "evaluate",
            [
                f"predictions={work}/found",
                f"truth={folder}/masks",
                f"output={work}/evaluation",
                "log_to_mlflow=false",
            ],
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--images", type=Path)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    rows = []
    jobs: list[tuple[Any, Any]] = [(measure, name) for name in METHODS]
    if options.images:
        jobs.append((measure_folder, options.images))
    for work, what in jobs:
        queue = context.Queue()
        process = context.Process(target=work, args=(what, queue))
        process.start()
        rows.append(queue.get())
        process.join()
    print(f"{'method':<20} {'seconds':>8} {'peak RSS':>10} {'inputs':>10} {'matches':>8}")
    for row in rows:
        print(
            f"{row['method']:<20} {row['seconds']:>8.2f} {row['peak_rss_gib']:>6.2f} GiB "
            f"{row['of_it_inputs_gib']:>6.2f} GiB {row['matches']:>8}"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
