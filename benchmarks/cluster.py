"""Many small images on a cluster: `python benchmarks/cluster.py [--images 10000] [--json PATH]`.

Curates and scores images of 256 x 256 pixels in one process, then on a local Dask cluster of
`--workers` processes, which start and end with each verb. The predictions are the truth, moved by a
pixel. Each verb runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

SIDE, OBJECTS = 256, 20


def write_images(folder: Path, count: int) -> None:
    """Write noisy pictures of discs, their labels, and labels that are moved by a pixel."""
    for name in ("raw", "seg", "found"):
        (folder / name).mkdir()
    y, x = np.indices((SIDE, SIDE))
    for number in range(count):
        rng = np.random.default_rng(number)
        labels = np.zeros((SIDE, SIDE), np.uint16)
        for label in range(1, OBJECTS + 1):
            centre, radius = rng.integers(12, SIDE - 12, 2), rng.integers(5, 12)
            labels[(y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2] = label
        raw = rng.poisson(200 + 900 * (labels > 0)).astype(np.uint16)
        moved = np.roll(labels, 1, axis=1)
        for name, data in (("raw", raw), ("seg", labels), ("found", moved)):
            tifffile.imwrite(folder / name / f"im{number:05}.tif", data, compression="zlib")


def seconds(folder: Path, *words: str) -> float:
    """Run a verb in a folder; return its seconds."""
    start = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "cytoloop", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder, args.images)
        curate = ("curate", "raw=raw", "seg1=seg", "paths.check_cache=null", "split.leakage=allow")
        score = ("evaluate", "predictions=found", "truth=seg", "resamples=0", "overlays=0")
        for verb in (curate, score):
            one = seconds(folder, *verb, "workers=1", f"output={verb[0]}_1")
            words = ("engine=dask", f"workers={args.workers}", f"output={verb[0]}_2")
            many = seconds(folder, *verb, *words)
            found[verb[0]] = {"one_process": one, "cluster": many, "ratio": one / many}
    print(f"{args.images} images of {SIDE} x {SIDE}, a cluster of {args.workers} workers")
    print(f"{'verb':10}{'one process':>14}{'cluster':>10}{'ratio':>8}")
    for verb_name, row in found.items():
        cells = f"{row['one_process']:12.1f} s{row['cluster']:8.1f} s{row['ratio']:8.2f}"
        print(f"{verb_name:10}{cells}")
    if args.json:
        args.json.write_text(json.dumps({"images": args.images, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
