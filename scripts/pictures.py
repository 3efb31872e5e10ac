"""Draw the pictures of the documentation, from `cytoloop demo`, synthetic images and DSB 2018.

`make pictures` runs it. It takes the results of `demo/`, which `make demo` leaves, and the DSB 2018
pictures of $CYTOLOOP_TEST_DATA (../shared/data); without them, `no-labels.png` stays as it is.
"""

from __future__ import annotations

import argparse
import csv
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from quality import DATA, curate_dsb2018  # noqa: E402

log = logging.getLogger(__name__)

ASSETS = ROOT / "docs" / "assets"
FROM_DEMO = {"demo.png": "result.png", "curves.png": "model1/curves.png"}
"""Picture to its file in the folder of the demo."""
MAX_WIDTH = 1600
TILE, SAMPLES = 200, 7
QUANTILES = (0.9, 0.7, 0.5, 0.2, 0.0)
"""Of AP at IoU 0.5 among the test pictures of DSB 2018: which of them are shown."""
_DSB_FOLDERS = ("images", "masks")
TRUE, FOUND = (90, 220, 90), (255, 90, 60)
COLOURS = np.random.default_rng(3).uniform(60, 255, (256, 3)).astype(np.uint8)


def main() -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, default=ROOT / "demo", help="folder of the demo")
    demo = parser.parse_args().demo
    for name, source in FROM_DEMO.items():
        picture = Image.open(demo / source).convert("RGB")
        if picture.width > MAX_WIDTH:
            height = round(picture.height * MAX_WIDTH / picture.width)
            picture = picture.resize((MAX_WIDTH, height))
        picture.quantize(256, kmeans=2).save(ASSETS / name, optimize=True)
    with tempfile.TemporaryDirectory() as folder:
        draw_synthetic(Path(folder))
        draw_samples(Path(folder))
        if (DATA / "dsb2018").is_dir():
            draw_without_labels(Path(folder))
        else:
            log.warning("no pictures of DSB 2018 in %s: no-labels.png stays as it is", DATA)


def draw_synthetic(folder: Path) -> None:
    """Draw a synthetic picture beside its labels, and the patches that training sees of it."""
    _cytoloop(folder, "demo", "--images", "pictures", "--output", "images")
    _cytoloop(folder, "curate", "raw=images/raw", "seg1=images/seg", "output=dataset")
    words = ["experiment=nuclei_2d", "data.path=dataset", "preview=preview.png"]
    _cytoloop(folder, "check", *words)
    raw = tifffile.imread(folder / "images/raw/picture_01.ome.tif").astype(float)
    labels = tifffile.imread(folder / "images/seg/picture_01.ome.tif")
    grey = (255 * (raw / np.percentile(raw, 99.8)).clip(0, 1)).astype(np.uint8)
    colours = np.where(labels[..., None] > 0, COLOURS[labels % 256], 0)
    both = np.concatenate([np.repeat(grey[..., None], 3, -1), colours], axis=1)
    image = Image.fromarray(both.astype(np.uint8)).resize((1024, 512), Image.Resampling.NEAREST)
    image.quantize(128).save(ASSETS / "picture.png", optimize=True)
    preview = Image.open(folder / "preview.png").convert("RGB")
    preview.thumbnail((MAX_WIDTH, MAX_WIDTH))
    preview.quantize(128).save(ASSETS / "preview.png", optimize=True)


def draw_samples(folder: Path) -> None:
    """Draw what `cytoloop synthesize` makes: stacks (from above, from the side) and pictures."""
    for name in ("nuclei_3d", "nuclei_2d"):
        words = [f"synthesis={name}", f"number={SAMPLES}", "seed=8", f"output={name}"]
        _cytoloop(folder, "synthesize", *words)
    columns = []
    for number in range(SAMPLES):
        file = f"seed8_{number:04d}.ome.tif"
        stack, solid = (tifffile.imread(folder / "nuclei_3d" / k / file) for k in ("raw", "seg"))
        plane, row = (int((solid > 0).sum(axes).argmax()) for axes in ((1, 2), (0, 2)))
        picture, flat = (tifffile.imread(folder / "nuclei_2d" / k / file) for k in ("raw", "seg"))
        tiles = [
            (stack[plane], solid[plane]),
            (stack[:, row], solid[:, row]),
            (picture, flat),
        ]
        columns.append(np.concatenate([_tile(*tile) for tile in tiles]))
    sheet = Image.fromarray(np.concatenate(columns, axis=1))
    sheet.quantize(128).save(ASSETS / "synthetic.png", optimize=True)


def draw_without_labels(folder: Path) -> None:
    """Draw what the shipped model finds in test pictures of DSB 2018, from good to bad.

    The upper row is the truth, the lower row the model's objects.
    """
    truth = curate_dsb2018(folder / "nuclei/dataset")["test"]
    words = ("checkpoint=pretrained:nuclei_2d", f"input={truth}", "output=preds")
    _cytoloop(folder, "predict", *words)
    _cytoloop(folder, "evaluate", "predictions=preds", f"truth={truth}", "output=eval")
    with (folder / "eval/metrics.csv").open(newline="") as file:
        scored = sorted((float(row["ap_50"]), row["id"]) for row in csv.DictReader(file))
    columns = []
    for quantile in QUANTILES:
        name = scored[round(quantile * (len(scored) - 1))][1]
        raw, solid = (tifffile.imread(DATA / "dsb2018" / k / f"{name}.tif") for k in _DSB_FOLDERS)
        side = min(*raw.shape, 256)
        found = tifffile.imread(next((folder / "preds/labels").glob(f"{name}.*")))
        cut = (slice(side), slice(side))
        columns.append(
            np.concatenate([_tile(raw[cut], solid[cut], TRUE), _tile(raw[cut], found[cut], FOUND)])
        )
    sheet = Image.fromarray(np.concatenate(columns, axis=1))
    sheet.quantize(128).save(ASSETS / "no-labels.png", optimize=True)


def _tile(raw: np.ndarray, labels: np.ndarray, outline: tuple[int, int, int] = FOUND) -> np.ndarray:
    """Return grey levels (Y, X) with outlines of labels, (Y, X, 3) uint8, `TILE` pixels wide."""
    low, high = np.percentile(raw, (0.5, 99.8))
    grey = (255 * ((raw - low) / max(high - low, 1)).clip(0, 1)).astype(np.uint8)
    height = max(round(TILE * raw.shape[0] / raw.shape[1]), TILE // 2)
    both = [
        np.asarray(Image.fromarray(one).resize((TILE, height), Image.Resampling.NEAREST))
        for one in (grey, labels.astype(np.int32))
    ]
    colours = np.repeat(both[0][..., None], 3, -1)
    edge = np.zeros(both[1].shape, bool)
    edge[1:] |= both[1][1:] != both[1][:-1]
    edge[:, 1:] |= both[1][:, 1:] != both[1][:, :-1]
    colours[edge] = outline
    colours[:, -2:] = colours[-2:] = 255
    return colours


def _cytoloop(folder: Path, *words: str) -> None:
    subprocess.run([sys.executable, "-m", "cytoloop", *words], cwd=folder, check=True)


if __name__ == "__main__":
    main()
