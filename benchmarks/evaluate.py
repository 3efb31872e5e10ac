"""Time and memory of scoring a crowded stack: `python benchmarks/evaluate.py [--json PATH]`.

A 64 x 512 x 512 stack with 2 000 objects, scored by sparse matching and, in the same run, by a
dense matrix of all pairs (the way of `stardist.matching`), each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.evaluation.matching import match_instances

SHAPE = (64, 512, 512)
OBJECTS = 2000


def make_stack(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return true and predicted labels: balls on a jittered grid, the prediction displaced."""
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


def dense(truth: np.ndarray, prediction: np.ndarray) -> int:
    """Count matches at IoU .5 from a full table of label pairs."""
    table = np.zeros((int(truth.max()) + 1, int(prediction.max()) + 1), np.int64)
    np.add.at(table, (truth.ravel(), prediction.ravel()), 1)
    union = table.sum(1, keepdims=True) + table.sum(0, keepdims=True) - table
    iou = table / np.maximum(union, 1)
    return int((iou[1:, 1:] >= 0.5).sum())


def measure(method: str, queue: Any) -> None:
    truth, prediction = make_stack(0)
    work = {"sparse": sparse, "dense": dense}[method]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    matches = work(truth, prediction)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    rows = []
    for method in ("sparse", "dense"):
        queue = context.Queue()
        process = context.Process(target=measure, args=(method, queue))
        process.start()
        rows.append(queue.get())
        process.join()
    print(f"{'method':<8} {'seconds':>8} {'peak RSS':>10} {'inputs':>10} {'matches':>8}")
    for row in rows:
        print(
            f"{row['method']:<8} {row['seconds']:>8.2f} {row['peak_rss_gib']:>6.2f} GiB "
            f"{row['of_it_inputs_gib']:>6.2f} GiB {row['matches']:>8}"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
