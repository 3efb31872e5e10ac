"""Speed and memory of prediction: `python benchmarks/predict.py [--json PATH] [--gib 0.5 2 8]`.

Speed: the network alone, `cytoloop predict`, and MONAI's `sliding_window_inference` with tifffile,
on the same image, windows and network; for a small network and for that of `nuclei_3d`. Memory:
peak for synthetic OME-Zarr images of several sizes, each in its own process. The networks learn the
discs of the images in a few steps, so that there are objects to separate.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SHAPE = (64, 384, 384)
PATCH = (32, 64, 64)
OVERLAP = 0.25
ROUNDS = {"small": 7, "recipe": 3}
PLANE = (1024, 1024)
FILTERS = {"small": [8, 16, 32], "recipe": [16, 32, 64, 128], "tiny": [1, 1, 1]}
"""``recipe``: as `experiment=nuclei_3d` plans it, with the distance as a second map."""


def make_model(folder: Path, name: str) -> Path:
    """Write a checkpoint of one of the networks in `FILTERS`."""
    import torch
    from monai.networks.nets import DynUNet

    torch.manual_seed(0)
    heads = ["foreground", "distance"] if name == "recipe" else ["foreground"]
    levels = len(FILTERS[name])
    backbone: dict[str, Any] = {
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": len(heads),
        "strides": [1] + [2] * (levels - 1),
        "kernel_size": [1 if name == "tiny" else 3] * levels,
        "upsample_kernel_size": [2] * (levels - 1),
        "filters": FILTERS[name],
        "norm_name": "batch",
        "res_block": name != "tiny",
    }
    image = {
        "spatial_dims": 3,
        "channels": 1,
        "spacing_um": [1.0, 0.5, 0.5],
        "patch_size": list(PATCH),
        "heads": heads,
        "normalization": {"method": "percentile", "lower": 1.0, "upper": 99.8},
    }
    network = DynUNet(**backbone)
    learn_discs(network)
    weights = {f"backbone.{k}": v for k, v in network.state_dict().items()}
    target = {"_target_": "monai.networks.nets.DynUNet", **backbone}
    content = {"state_dict": weights, "hyper_parameters": {"backbone": target, "image": image}}
    path = folder / f"{name}.ckpt"
    torch.save(content, path)
    return path


def learn_discs(network: Any) -> None:
    """Train a network for some steps on the discs of `make_planes` and their distance."""
    import torch
    from scipy import ndimage

    data = make_planes(0, PATCH[0], SHAPE[1:])
    inside = data > 500
    depth = ndimage.distance_transform_edt(inside)
    maps = np.stack([inside, depth / depth.max()]).astype(np.float32)
    target = torch.from_numpy(maps)
    low, high = np.percentile(data, [1, 99.8])
    image = torch.from_numpy((data - np.float32(low)) / np.float32(high - low))
    optimizer = torch.optim.AdamW(network.parameters(), 5e-3)
    rng = np.random.default_rng(0)
    for _ in range(60):
        y, x = rng.integers(0, SHAPE[1] - PATCH[1], 2)
        window = (slice(None), slice(y, y + PATCH[1]), slice(x, x + PATCH[2]))
        logits = network(image[window][None, None])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, target[(slice(None), *window)][None, : logits.shape[1]]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def make_planes(first: int, count: int, plane: tuple[int, int]) -> np.ndarray:
    """Return planes of noise with bright discs that are 12 planes thick."""
    rng = np.random.default_rng(first)
    y, x = np.indices(plane)
    discs = ((y % 64 - 32) ** 2 + (x % 64 - 32) ** 2) < 200
    noise = rng.integers(90, 130, (count, *plane), dtype=np.uint16)
    inside = np.arange(first, first + count) % 16 < 12
    return noise + (800 * discs).astype(np.uint16) * inside[:, None, None]


def predict_file(folder: Path, model: Path, source: Path, output: str, **of_output: Any) -> float:
    """Predict a file as the verb does; return seconds."""
    from cytoloop.inference.inputs.list_inputs import list_inputs
    from cytoloop.inference.model_source import ModelSource
    from cytoloop.inference.predict_rows import predict_rows
    from cytoloop.inference.settings import OutputSettings, PredictionSettings

    settings = PredictionSettings(windows=window_settings(), output=OutputSettings(**of_output))
    start = time.perf_counter()
    model_source = ModelSource((str(model),), "m")
    table = predict_rows(list_inputs(source), model_source, folder / output, settings)
    if table.failures():
        raise SystemExit(str(table.failures()))
    return time.perf_counter() - start


def window_settings() -> Any:
    """Return the windows of both sides: training patches at one overlap, on the CPU."""
    from cytoloop.inference.settings import WindowSettings

    return WindowSettings(window="patch", overlap=OVERLAP, accelerator="cpu")


def speed(folder: Path, name: str) -> dict[str, float]:
    """Return voxels per second of the bare network, of CytoLoop, and of MONAI's sliding window."""
    import tifffile
    import torch
    from monai.inferers import sliding_window_inference

    from cytoloop.inference.model_source import load_predictor
    from cytoloop.inference.volume_storage import VolumeStorage
    from cytoloop.inference.windows.probability_maps import predict_maps
    from cytoloop.intensity.normalization import intensity_statistics, normalize
    from cytoloop.io.pixels import MemoryPixels

    model = make_model(folder, name)
    data = make_planes(0, SHAPE[0], SHAPE[1:])
    source = folder / "in.tif"
    tifffile.imwrite(source, data, imagej=True, metadata={"axes": "ZYX"})
    predictor = load_predictor((str(model),), window_settings())
    network, dtype = predictor.networks[0], predictor.dtype
    pixels = MemoryPixels(data[None], None, ["0"])
    windows = predictor.layout(pixels.shape).count()
    batch = torch.randn(4, 1, *PATCH)

    @torch.inference_mode()
    def bare() -> None:
        for first in range(0, windows, 4):
            with torch.autocast("cpu", dtype, enabled=dtype is not None):
                torch.sigmoid(network(batch[: min(4, windows - first)]).float())

    def ours_map() -> None:
        predict_maps("x", pixels, predictor, VolumeStorage())

    calls = iter(range(1000))

    def ours_all() -> None:
        predict_file(folder, model, source, f"out{next(calls)}")

    def ours_files() -> None:  # one map, as MONAI's side writes it
        predict_file(folder, model, source, f"out{next(calls)}", save=("probability",))

    @torch.inference_mode()
    def monai() -> None:
        raw = tifffile.imread(source)[None]
        rule = predictor.image["normalization"]
        image = torch.from_numpy(normalize(raw, *intensity_statistics(raw, rule)))[None]
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            logits = sliding_window_inference(
                image, PATCH, 4, lambda x: network(x).float(), OVERLAP, mode="gaussian"
            )
        found = (torch.sigmoid(torch.as_tensor(logits))[0, 0] * 255).round().to(torch.uint8).numpy()
        tifffile.imwrite(folder / "monai.tif", found, compression="zlib")

    ways: dict[str, Callable[[], None]] = {
        "bare network, the same windows": bare,
        "ours, map alone": ours_map,
        "ours, file to map in a file": ours_files,
        "ours, file to map, mask, labels, table": ours_all,
        "MONAI's sliding window + tifffile": monai,
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS[name] + 1):
        for title, way in ways.items():
            start = time.perf_counter()
            way()
            if number:  # the first round warms up
                took[title].append(time.perf_counter() - start)
    voxels = float(np.prod(SHAPE))
    found = {title: voxels / statistics.median(times) for title, times in took.items()}
    base = took["bare network, the same windows"]
    for title in list(ways)[1:]:
        ratio = statistics.median(t / b for t, b in zip(took[title], base, strict=True))
        found[f"{title}: times the bare network"] = ratio
    files, other = took["ours, file to map in a file"], took["MONAI's sliding window + tifffile"]
    ratios = [t / m for t, m in zip(files, other, strict=True)]
    found["ours, file to map in a file: times MONAI's"] = statistics.median(ratios)
    return found


def memory(folder: Path, gib: float) -> dict[str, float]:
    """Return seconds and voxels per second for a volume on disk, predicted as by the command."""
    import zarr

    model = make_model(folder, "tiny")
    planes = max(int(gib * 2**30 / (2 * np.prod(PLANE))), 16)
    source = folder / f"v{planes}.ome.zarr"
    shape, chunks = (planes, *PLANE), (16, 256, 256)
    group = zarr.open_group(str(source), mode="w", zarr_format=2)
    array = group.create_array("0", shape=shape, chunks=chunks, dtype=np.uint16)
    some = make_planes(0, 16, PLANE)
    for first in range(0, planes, 16):
        array[first : first + 16] = some[: min(16, planes - first)]
    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    scale = {"type": "scale", "scale": [1.0, 0.5, 0.5]}
    multiscales: Any = [
        {
            "version": "0.4",
            "axes": axes,
            "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
        }
    ]
    group.attrs["multiscales"] = multiscales
    seconds = predict_file(folder, model, source, f"out{planes}")
    return {"seconds": seconds, "voxels/s": float(np.prod(shape)) / seconds}


def run(part: Callable[[Path, Any], Any], folder: Path, value: str | float) -> tuple[Any, float]:
    """Run a part in its own process; return its result and peak RSS in GiB."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(part, folder, value, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise SystemExit(f"{part.__name__} failed") from None
    finally:
        process.join()


def _child(part: Callable[[Path, Any], Any], folder: Path, value: str | float, sender: Any) -> None:
    logging.disable(logging.WARNING)
    found = part(folder, value)
    sender.send((found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20))
    sender.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--gib", type=float, nargs="+", default=[0.5, 2.0])
    options = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        for network in ROUNDS:
            shape = " x ".join(map(str, SHAPE))
            print(f"\n{network} network, image of {shape}, overlap {OVERLAP}", flush=True)
            found, _ = run(speed, Path(name), network)
            results[f"speed, {network}"] = found
            for way, value in found.items():
                shown = f"{value:10.2f}" if "times" in way else f"{value / 1e6:10.2f} Mvoxel/s"
                print(f"  {way:62} {shown}")
        print("\nvolumes on disk, a tiny network")
        for gib in options.gib:
            found, peak = run(memory, Path(name), gib)
            results[f"{gib} GiB"] = found | {"peak_gib": peak}
            print(
                f"  {gib:4.1f} GiB: peak RSS {peak:.2f} GiB, {found['seconds']:.0f} s, "
                f"{found['voxels/s'] / 1e6:.1f} Mvoxel/s"
            )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
