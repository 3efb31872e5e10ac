"""Time and memory at scale: `python benchmarks/scale.py [--json PATH] [--parts objects ...]`.

`objects`: 100 000 objects in one picture, evaluated with figures. `rows`: 20 000 manifest rows are
curated, checked and evaluated. `picture`: a picture of 30 000 x 30 000 pixels is predicted.
`volume`: an OME-Zarr of 4 GiB is predicted, 64 planes of 16 bit; a sixteenth of it has objects, and
windows without any signal are skipped.
Each verb runs in a process of its own, whose peak memory is measured. `--factor 0.01` makes all of
it smaller, to try it out.
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
from typing import Any

import numpy as np
import tifffile

OBJECTS, ROWS, SIDE = 100_000, 20_000, 30_000
PLANES, VOLUME_SIDE, CHUNK = 64, 5_792, 512


def run(folder: Path, *words: str) -> dict[str, float]:
    """Run a verb in a folder; return its seconds and the peak memory of its largest process."""
    start = time.perf_counter()
    with (folder / "output.log").open("ab") as log:
        command = [sys.executable, "-m", "cytoloop", *words]
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit((folder / "output.log").read_text()[-2000:])
    return {"seconds": time.perf_counter() - start, "peak_gib": usage.ru_maxrss / 2**20}


def make_discs(count: int, seed: int, pitch: int = 16, radius: int = 5) -> np.ndarray:
    """Return labels (Y, X) of discs on a grid of a pitch (pixels), at positions that vary."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(count)))
    labels = np.zeros((side * pitch, side * pitch), np.int32)
    y, x = np.indices((2 * radius + 1, 2 * radius + 1)) - radius
    disc = y**2 + x**2 <= radius**2
    for number in range(count):
        top, left = (np.array(divmod(number, side)) * pitch + rng.integers(0, 5, 2)).tolist()
        part = labels[top : top + len(disc), left : left + len(disc)]
        part[disc] = number + 1
    return labels


def score_objects(folder: Path, factor: float) -> dict[str, dict[str, float]]:
    """Evaluate one picture with many objects; a tenth of them is not predicted."""
    truth = make_discs(int(OBJECTS * factor), 0)
    found = np.roll(np.where(truth % 10 == 0, 0, truth), 1, axis=0)
    for name, labels in (("truth", truth), ("found", found)):
        (folder / name).mkdir()
        tifffile.imwrite(folder / name / "a.tif", labels, compression="zlib")
    words = ("predictions=found", "truth=truth", "output=eval", "log_to_mlflow=false")
    return {"evaluate": run(folder, "evaluate", *words)}


def handle_rows(folder: Path, factor: float) -> dict[str, dict[str, float]]:
    """Curate, check and evaluate many small images."""
    rng = np.random.default_rng(0)
    labels = make_discs(9, 1).astype(np.uint8)
    for number in range(int(ROWS * factor)):
        moved = np.roll(labels, rng.integers(0, 40, 2).tolist(), axis=(0, 1))
        raw = 200 + 900 * (moved > 0) + rng.normal(0, 60, moved.shape)
        for name, data in (("raw", raw.clip(0, 65535).astype(np.uint16)), ("seg", moved)):
            path = folder / name / f"img_{number:05d}.tif"
            path.parent.mkdir(exist_ok=True)
            tifffile.imwrite(path, data)
    source = ("raw=raw", "seg1=seg", "output=ds", "split.leakage=allow", "report=false")
    evaluated = ("predictions=seg", "truth=ds/dataset.csv", "output=eval", "log_to_mlflow=false")
    return {
        "curate": run(folder, "curate", *source),
        "curate again": run(folder, "curate", *source),
        "check": run(folder, "check", "data.path=ds"),
        "evaluate": run(folder, "evaluate", *evaluated),
    }


def predict_picture(folder: Path, factor: float) -> dict[str, dict[str, float]]:
    """Predict a large picture with a tiny network."""
    side = int(SIDE * np.sqrt(factor))
    tile = (20 + 200 * (make_discs(256, 2, 64, 12) > 0)).astype(np.uint8)
    picture = tifffile.memmap(folder / "a.tif", shape=(side, side), dtype=np.uint8)
    for top in range(0, side, len(tile)):
        for left in range(0, side, len(tile)):
            part = picture[top : top + len(tile), left : left + len(tile)]
            part[:] = tile[: part.shape[0], : part.shape[1]]
    picture.flush()
    del picture
    make_model(folder / "model.ckpt")
    words = ("checkpoint=model.ckpt", "input=a.tif", "output=preds", "accelerator=cpu")
    return {"predict": run(folder, "predict", *words)}


def predict_volume(folder: Path, factor: float) -> dict[str, dict[str, float]]:
    """Predict a large OME-Zarr with a tiny network."""
    import zarr

    side = int(VOLUME_SIDE * np.sqrt(factor))
    shape = (PLANES, side, side)
    group = zarr.open_group(folder / "a.zarr", mode="w", zarr_format=2)
    array = group.create_array(
        "0", shape=shape, chunks=(16, CHUNK, CHUNK), dtype="u2", fill_value=0
    )
    disc = (20 + 900 * (make_discs(64, 2, 64, 12) > 0)).astype(np.uint16)
    for number, (top, left) in enumerate(
        (top, left) for top in range(0, side, CHUNK) for left in range(0, side, CHUNK)
    ):
        if number % 4 == 0:
            plane = disc[: side - top, : side - left]
            array[16:32, top : top + CHUNK, left : left + CHUNK] = np.stack([plane] * 16)
    axes: Any = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    scale = [{"type": "scale", "scale": [1.0, 0.5, 0.5]}]
    datasets: Any = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    make_model(folder / "model.ckpt", 3)
    words = ("checkpoint=model.ckpt", "input=a.zarr", "output=preds", "accelerator=cpu")
    return {"predict": run(folder, "predict", *words, "skip_empty=true")}


def make_model(path: Path, ndim: int = 2) -> None:
    """Write a checkpoint of a tiny network."""
    import torch
    from monai.networks.nets import DynUNet

    torch.manual_seed(0)
    backbone: dict[str, Any] = {
        "spatial_dims": ndim, "in_channels": 1, "out_channels": 1, "strides": [1, 1, 2],
        "kernel_size": [3, 3, 3], "upsample_kernel_size": [1, 2], "filters": [2, 2, 2],
        "norm_name": "batch",
    }  # fmt: skip
    image = {
        "spatial_dims": ndim,
        "channels": 1,
        "spacing_um": [1.0, 0.5, 0.5],
        "patch_size": [256, 256] if ndim == 2 else [32, 128, 128],
        "heads": ["foreground"],
        "normalization": {"method": "percentile", "lower": 1.0, "upper": 99.8},
    }
    weights = {f"backbone.{k}": v for k, v in DynUNet(**backbone).state_dict().items()}
    target = {"_target_": "monai.networks.nets.DynUNet", **backbone}
    content = {"state_dict": weights, "hyper_parameters": {"backbone": target, "image": image}}
    torch.save(content, path)


PARTS = {
    "objects": score_objects,
    "rows": handle_rows,
    "picture": predict_picture,
    "volume": predict_volume,
}


def main() -> None:
    """Run the parts, print a table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--factor", type=float, default=1.0)
    options = parser.parse_args()
    found = {}
    for part in options.parts:
        with tempfile.TemporaryDirectory(prefix="cytoloop-scale-") as folder:
            found[part] = PARTS[part](Path(folder), options.factor)
        for verb, figures in found[part].items():
            line = f"{part:8} {verb:14} {figures['seconds']:8.1f} s {figures['peak_gib']:6.2f} GiB"
            print(line, flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
