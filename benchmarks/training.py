"""Speed of training data and of training: `python benchmarks/training.py [--json PATH]`.

Measures patches per second of the loader alone and steps per second of training. The references are
the same network on random tensors, plain crops in memory, and CytoDL's data chain
(im2im/segmentation_plugin), on the same stacks in the same run. Then measures `cytoloop train` as a
whole, and the image cache. The stacks are eight of BBBC050 if $CYTOLOOP_TEST_DATA (../shared/data)
has them, else synthetic ones of the same shape. Each part runs in its own process; memory is its
peak RSS, including children.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("CYTOLOOP_TEST_DATA", ROOT.parent / "shared" / "data")) / "bbbc050"
STACKS, SHAPE = 8, (51, 124, 127)
LARGE, LARGE_SHAPE = 4, (48, 512, 512)
BATCH = 4
LOADER_PATCH = (32, 64, 64)
STEP_PATCH = (16, 64, 64)
ROUNDS, STEPS = 5, 12


def make_stack(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a noisy uint16 stack of balls, and its labels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint16)
    ball = sum(g**2 for g in np.mgrid[-4:5, -8:9, -8:9] / np.array([4, 8, 8]).reshape(3, 1, 1, 1))
    for number in range(1, max(int(np.prod(shape)) // 30_000, 3)):
        z, y, x = (int(rng.integers(h, n - h)) for n, h in zip(shape, (5, 9, 9), strict=True))
        labels[z - 4 : z + 5, y - 8 : y + 9, x - 8 : x + 9][ball <= 1] = number
    raw = 300 + 900 * (labels > 0) + rng.normal(0, 60, shape)
    return raw.astype(np.uint16), labels


def write_stack(folder: Path, name: str, raw: np.ndarray, labels: np.ndarray) -> None:
    """Write an image and its labels as uncompressed ImageJ TIFFs."""
    for kind, data in (("raw", raw), ("seg", labels)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(folder / kind / f"{name}.tif", data, imagej=True, metadata={"axes": "ZYX"})


def make_stacks(folder: Path) -> str:
    """Write the stacks and return their origin."""
    files = sorted((DATA / "images").glob("Emb0[12]_t*.tif"))[-STACKS:]
    for number in range(STACKS):
        if len(files) == STACKS:
            labels = tifffile.imread(DATA / "labels" / files[number].name)
            write_stack(folder, f"s{number}", tifffile.imread(files[number]), labels)
        else:
            write_stack(folder, f"s{number}", *make_stack(SHAPE, number))
    return "BBBC050" if len(files) == STACKS else "synthetic"


def rows(folder: Path) -> list[Any]:
    """Return the stacks as manifest rows."""
    from cytoloop.manifest import Row

    names = sorted(p.stem for p in (folder / "raw").iterdir())
    return [
        Row({"id": n, "raw": f"raw/{n}.tif", "seg1": f"seg/{n}.tif", "spacing_um": "1.75 .8 .8"},
            folder)
        for n in names
    ]  # fmt: skip


def our_loader(
    folder: Path,
    patch: tuple[int, ...],
    preset: str,
    workers: int,
    steps: int = 100,
    overrides: Iterable[str] = (),
) -> Any:
    """Return CytoLoop's loader over the stacks."""
    import monai
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    from cytoloop.data.dataset import PatchDataset
    from cytoloop.data.image_cache import ImageCache
    from cytoloop.data.patch_loader import PatchLoader
    from cytoloop.data.patch_schedule import PatchSchedule
    from cytoloop.data.settings import SamplingSettings

    monai.data.set_track_meta(False)
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        chosen = compose(overrides=[f"+augmentation={preset}", *overrides]).augmentation
        augmentation = instantiate(chosen)
    images = ImageCache(folder / "store").entries(rows(folder))
    normalization = {"method": "percentile", "lower": 1.0, "upper": 99.8}
    intensity = [cached.intensity_stats(normalization) for cached in images]
    settings = SamplingSettings(patch, BATCH, steps_per_epoch=steps)
    schedule = PatchSchedule([cached.shape for cached in images], settings)
    patches = PatchDataset(images, intensity, schedule, augmentation)
    return PatchLoader(patches, schedule.length, BATCH, workers)


def cytodl_loader(folder: Path, patch: tuple[int, ...], workers: int, cache: bool) -> Any:
    """Return CytoDL's loader over the same stacks, with its own transforms."""
    import cyto_dl.train  # registers the resolvers of its configs
    import hydra
    from cyto_dl.datamodules.dataframe import DataframeDatamodule
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    table = folder / "cytodl"
    table.mkdir(exist_ok=True)
    columns = ("raw", "seg1", "seg2", "merge_mask", "exclude_mask", "base_image")
    lines = [f"{row.file('raw')},{row.file('seg1')},,,,seg1" for row in rows(folder)]
    for split in ("train", "valid", "test"):
        (table / f"{split}.csv").write_text("\n".join([",".join(columns), *lines]) + "\n")
    words = [
        *("experiment=im2im/segmentation_plugin", "spatial_dims=3", "data.num_workers=0"),
        *("model._aux.filters=[4]", f"paths.output_dir={folder}"),
        f"data._aux.patch_shape={list(patch)}",
    ]
    configs = Path(cyto_dl.__file__).parents[1] / "configs"
    with initialize_config_dir(str(configs), version_base="1.3"):
        data = compose("train", words).data
    chain = hydra.utils.instantiate(OmegaConf.to_container(data.transforms.train, resolve=True))
    module = DataframeDatamodule(
        str(table),
        dict.fromkeys(("train", "val", "test", "predict"), chain),
        columns=list(columns),
        cache_dir=str(folder / "cytodl_cache") if cache else None,
        batch_size=BATCH,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    return module.train_dataloader()


def crop_in_memory(folder: Path, patch: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """Yield batches of random crops of normalised stacks in memory, without augmentation."""
    import torch

    rng = np.random.default_rng(0)
    stacks = []
    for row in rows(folder):
        raw = tifffile.imread(row.file("raw")).astype(np.float32)
        stacks.append(np.stack([raw / raw.max(), tifffile.imread(row.file("seg1")) > 0]))
    while True:
        crops = []
        for _ in range(BATCH):
            stack = stacks[rng.integers(len(stacks))]
            first = [rng.integers(n - s + 1) for n, s in zip(stack.shape[1:], patch, strict=True)]
            crops.append(
                stack[(slice(None), *(slice(f, f + s) for f, s in zip(first, patch, strict=True)))]
            )
        batch = torch.from_numpy(np.stack(crops))
        yield {"image": batch[:, :1], "target": batch[:, 1:], "weight": torch.ones(1)}


def endless(loader: Iterable[Any]) -> Iterator[Any]:
    """Yield a loader's batches, epoch after epoch, without end."""
    for epoch in itertools.count():
        if hasattr(getattr(loader, "sampler", None), "set_epoch"):
            loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        yield from loader


def augmentation_costs(folder: Path) -> dict[str, float]:
    """Return milliseconds per patch of 16 x 64 x 64 on one thread: each transform, each preset."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        node = compose(overrides=["+augmentation=transforms"]).augmentation
    transforms = [str(name) for name in node if name != "_target_"]
    presets = sorted(p.stem for p in (ROOT / "configs" / "augmentation").glob("*.yaml"))
    overrides = {f"transform {n}": ["transforms", f"augmentation.{n}.prob=1"] for n in transforms}
    overrides |= {f"preset {name}": [name] for name in presets if name != "transforms"}
    found = {}
    for name, (preset, *changes) in overrides.items():
        patches = our_loader(folder, STEP_PATCH, preset, 0, 1_000, changes).patches
        times = []
        for number in range(60):
            start = time.perf_counter()
            patches[(0, number)]
            times.append(time.perf_counter() - start)
        found[name] = statistics.fmean(times[10:]) * 1e3
    return found


def rate(batches: Iterator[Any], seconds: float = 4.0, warm: int = 3) -> float:
    """Return patches per second of a loader alone."""
    for _ in range(warm):
        next(batches)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        next(batches)
        count += BATCH
    return count / (time.perf_counter() - start)


def loaders_alone(folder: Path) -> dict[str, float]:
    """Return patches per second of plain crops and of CytoLoop's loader, 32 x 64 x 64."""
    found = {"plain crops in memory": rate(crop_in_memory(folder, LOADER_PATCH))}
    for preset in ("none", "light", "microscope", "default", "strong"):
        for workers in (1, 2):
            loader = our_loader(folder, LOADER_PATCH, preset, workers, 10_000)
            found[f"ours, {preset}, {workers} thread(s)"] = rate(endless(loader))
    return found


def cytodl_alone(folder: Path) -> dict[str, float]:
    """Return patches per second of CytoDL's loader: first pass, warm cache, no cache."""
    found = {}
    loader = cytodl_loader(folder, LOADER_PATCH, 0, True)
    start = time.perf_counter()
    for _ in loader:
        pass
    found["CytoDL, first pass (fills its cache)"] = STACKS / (time.perf_counter() - start)
    for workers in (0, 2):
        loader = cytodl_loader(folder, LOADER_PATCH, workers, True)
        found[f"CytoDL, warm cache, crops only, {workers} worker(s)"] = rate(endless(loader))
    loader = cytodl_loader(folder, LOADER_PATCH, 2, False)
    found["CytoDL, no cache, 2 workers"] = rate(endless(loader), warm=2)
    return found


def planned_config(folder: Path) -> Any:
    """Return `train`'s config of a small network on the stacks, with every `auto` resolved."""
    from hydra import compose, initialize_config_dir

    from cytoloop.manifest import write_manifest
    from cytoloop.training.prepare.steps import CHECKS, COMPLETION, Prepared, prepare

    stacks = [dict(row.values) for row in rows(folder)]
    write_manifest(folder / "train.csv", stacks[1:])
    write_manifest(folder / "valid.csv", stacks[:1])
    words = ["model=unet", "model/size=small", "layers=3", f"data.path={folder}"]
    words += [f"data.patch_size={list(STEP_PATCH)}", f"data.batch_size={BATCH}"]
    words += [f"paths.cache_dir={folder}/store", f"paths.output_dir={folder}/training"]
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        cfg = compose("train", words)
    return prepare(Prepared(cfg), CHECKS + COMPLETION).cfg


class Stepper:
    """A training step of the small network, as in `cytoloop train`."""

    def __init__(self, folder: Path) -> None:
        import torch
        from hydra.utils import instantiate

        from cytoloop.model.hardware import choose_precision

        model = planned_config(folder).model
        torch.manual_seed(0)
        self.network = instantiate(model.backbone, _convert_="all")
        self.head = instantiate(model.task_heads.seg)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-3)
        self.bf16 = choose_precision("cpu") == "bf16-mixed"

    def __call__(self, batch: dict[str, Any]) -> None:
        """Train on a batch of CytoLoop or of CytoDL."""
        import torch

        image = batch["image"] if "image" in batch else batch["raw"].float()
        target = batch["target"] if "target" in batch else batch["seg"].float()
        weight = batch["weight"] if "weight" in batch else batch["exclude_mask"].float()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            logits = self.head(self.network(image))
            loss = self.head.loss(logits, target, weight)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()


def steps(folder: Path) -> dict[str, Any]:
    """Return steps per second and the fraction of waiting time of each source of batches."""
    import torch

    shape = (BATCH, 1, *STEP_PATCH)
    constant = {
        "image": torch.randn(shape),
        "target": (torch.rand(shape) > 0.7).float(),
        "weight": torch.ones(shape),
    }
    sources: dict[str, Iterator[Any]] = {
        "random tensors": itertools.repeat(constant),
        "ours, default, 1 thread": endless(our_loader(folder, STEP_PATCH, "default", 1, 10_000)),
        "ours, strong, 1 thread": endless(our_loader(folder, STEP_PATCH, "strong", 1, 10_000)),
        "ours, default, no thread": endless(our_loader(folder, STEP_PATCH, "default", 0, 10_000)),
        "CytoDL, warm cache, 2 workers": endless(cytodl_loader(folder, STEP_PATCH, 2, True)),
        "CytoDL, no cache, 2 workers": endless(cytodl_loader(folder, STEP_PATCH, 2, False)),
    }
    step = Stepper(folder)
    took: dict[str, list[float]] = {name: [] for name in sources}
    waits: dict[str, list[float]] = {name: [] for name in sources}
    for round_number in range(ROUNDS + 1):
        for name, batches in sources.items():
            start, wait = time.perf_counter(), 0.0
            for _ in range(STEPS):
                asked = time.perf_counter()
                batch = next(batches)
                wait += time.perf_counter() - asked
                step(batch)
            seconds = time.perf_counter() - start
            if round_number:  # the first round warms up
                took[name].append(seconds / STEPS)
                waits[name].append(wait / seconds)
    bare = took["random tensors"]
    return {
        name: {
            "steps_per_s": 1 / statistics.median(times),
            "of_bare": statistics.median(b / t for b, t in zip(bare, times, strict=True)),
            "of_bare_range": [
                min(b / t for b, t in zip(bare, times, strict=True)),
                max(b / t for b, t in zip(bare, times, strict=True)),
            ],
            "wait": statistics.median(waits[name]),
        }
        for name, times in took.items()
    }


def bare_rate(folder: Path) -> float:
    """Return steps per second of the network on random tensors."""
    import torch

    shape = (BATCH, 1, *STEP_PATCH)
    batch = {
        "image": torch.randn(shape),
        "target": (torch.rand(shape) > 0.7).float(),
        "weight": torch.ones(shape),
    }
    step, times = Stepper(folder), []
    for _ in range(40):
        start = time.perf_counter()
        step(batch)
        times.append(time.perf_counter() - start)
    return 1 / statistics.median(times[5:])


def whole_training(folder: Path) -> dict[str, float]:
    """Return steps per second of `cytoloop train` with MLflow, between two measurements without."""
    project = folder / "project"
    project.mkdir()
    command = [sys.executable, "-m", "cytoloop"]
    quiet: dict[str, Any] = {"cwd": project, "check": True, "stderr": subprocess.DEVNULL}
    source = [f"raw={folder}/raw", f"seg1={folder}/seg", "spacing_um=[1.75,0.8,0.8]", "test=0"]
    subprocess.run([*command, "curate", *source, "output=dataset"], **quiet)
    words = ["experiment=nuclei_3d", "model/size=small", "data.path=dataset", "output=run"]
    words += ["data.patch_size=[16,64,64]", "layers=3"]
    words += [f"data.batch_size={BATCH}", "data.steps_per_epoch=40", "trainer.max_epochs=3"]
    before = run(bare_rate, folder)[0]
    subprocess.run([*command, "train", *words], **quiet)
    after = run(bare_rate, folder)[0]
    lines = [json.loads(line) for line in (project / "run/progress.jsonl").open()]
    marks = [line for line in lines if line["event"] == "step"]
    rates = [
        (b["step"] - a["step"]) / (b["seconds"] - a["seconds"])
        for a, b in itertools.pairwise(marks)
        if a["epoch"] == b["epoch"] and b["seconds"] > a["seconds"]
    ]
    return {
        "steps_per_s": statistics.median(rates),
        "bare_before": before,
        "bare_after": after,
        "of_bare": statistics.median(rates) / ((before + after) / 2),
        "wait": marks[-1]["data_wait"],
    }


def build_cache(folder: Path) -> dict[str, float]:
    """Return MB/s of building the image cache from large stacks, and of opening it again."""
    from cytoloop.data.image_cache import ImageCache

    for number in range(LARGE):
        write_stack(folder / "large", f"s{number}", *make_stack(LARGE_SHAPE, number))
    files = sum(p.stat().st_size for p in (folder / "large").rglob("*.tif")) / 1e6
    ImageCache(folder / "other").entries(rows(folder))  # imports are not counted
    found = {}
    for name in ("built", "opened again"):
        start = time.perf_counter()
        entries = ImageCache(folder / "large_store").entries(rows(folder / "large"))
        found[name] = files / (time.perf_counter() - start)
    kept = sum(p.stat().st_size for p in (folder / "large_store").rglob("*.npy")) / 1e6
    corners = np.random.default_rng(0).integers(0, 400, (300, 2))
    start = time.perf_counter()
    for y, x in corners:
        np.asarray(entries[0].image[:, 8:40, y : y + 64, x : x + 64]).sum()
    found["ms a random patch of 32 x 64 x 64"] = (time.perf_counter() - start) / 300 * 1e3
    return found | {"size of the files": kept / files}


def run(part: Callable[[Path], Any], folder: Path) -> tuple[Any, float]:
    """Run a part in its own process; return its result and peak RSS in GiB."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(part, folder, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise SystemExit(f"{part.__name__} failed") from None
    finally:
        process.join()


def _child(part: Callable[[Path], Any], folder: Path, sender: Any) -> None:
    from cytoloop.model.hardware import keep_freed_memory

    logging.disable(logging.WARNING)
    keep_freed_memory()  # as in `cytoloop train`, for all parts
    found = part(folder)
    usage = [resource.getrusage(who).ru_maxrss for who in (-1, resource.RUSAGE_SELF)]
    sender.send((found, max(usage) / 2**20))
    sender.close()
    os._exit(0)  # ends the workers of CytoDL's endless loader


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    path = parser.parse_args().json
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{STACKS} stacks of {' x '.join(map(str, SHAPE))} ({make_stacks(folder)})")
        shown = " x ".join(map(str, LOADER_PATCH))
        print(f"\nloaders alone, patches of {shown} in batches of {BATCH}: patches/s")
        for part in (loaders_alone, cytodl_alone):
            found, peak = run(part, folder)
            results[part.__name__] = found | {"peak_gib": peak}
            for feed, value in found.items():
                print(f"  {feed:44} {value:8.0f}")
            print(f"  {'peak RSS':44} {peak:8.2f} GiB")
        shown = " x ".join(map(str, STEP_PATCH))
        print(f"\naugmentation, one thread, patches of {shown}: ms per patch, at probability 1")
        found, _ = run(augmentation_costs, folder)
        results["augmentation"] = found
        for part_name, value in found.items():
            print(f"  {part_name:44} {value:8.2f}")
        print(
            f"\nsteps of the small network, {BATCH} patches of {shown}; medians of {ROUNDS} rounds"
        )
        print(f"  {'':34} {'steps/s':>8} {'of bare':>8} {'(range)':>14} {'waiting':>8}")
        found, peak = run(steps, folder)
        results["steps"] = found | {"peak_gib": peak}
        for feed, one in found.items():
            span = "{:.2f} to {:.2f}".format(*one["of_bare_range"])
            print(
                f"  {feed:34} {one['steps_per_s']:8.2f} {one['of_bare']:8.2f} {span:>14} "
                f"{one['wait']:8.1%}"
            )
        whole = whole_training(folder)
        results["whole"] = whole
        print(
            f"  {'`cytoloop train` with MLflow':34} {whole['steps_per_s']:8.2f} "
            f"{whole['of_bare']:8.2f} {'':14} {whole['wait']:8.1%}"
        )
        print(
            f"    bare before {whole['bare_before']:.2f}, after {whole['bare_after']:.2f} steps/s"
        )
        print(f"\nimage cache, {LARGE} stacks of {' x '.join(map(str, LARGE_SHAPE))}, uncompressed")
        found, peak = run(build_cache, folder)
        results["store"] = found | {"peak_gib": peak}
        print(f"  built {found['built']:.0f} MB/s, opened again {found['opened again']:.0f} MB/s")
        print(f"  size {found['size of the files']:.2f} of the files, peak RSS {peak:.2f} GiB")
        print(f"  a random patch of 32 x 64 x 64: {list(found.values())[2]:.2f} ms")
    if path:
        path.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
