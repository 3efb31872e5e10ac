# /// script
# requires-python = ">=3.10,<3.13"
# dependencies = ["torch==2.14.1", "torchvision==0.29.1", "tifffile", "numpy<2.3"]
# ///
"""Mask R-CNN of torchvision (ResNet-50 with a feature pyramid), trained from scratch on pictures.

`compare.py` starts it in an environment of its own: `run_maskrcnn.py FOLDER MINUTES SEED`. Anchors
and overlap follow nci-hitif, whose Mask R-CNN finds nuclei: 8 to 128 pixels. Patches of 256 x 256
in batches of 2, SGD with warm-up, grey levels between percentiles 1 and 99.8. The score from which
an object counts is chosen on the validation images.
"""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path

import numpy as np
import tifffile
import torch
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn
from torchvision.models.detection.anchor_utils import AnchorGenerator

SIDE, BATCH, RATE, WARM_UP = 256, 2, 0.005, 50
MOST_VALID = 16
"""Validation images that choose the score: one takes seconds."""
SCORES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
FEWEST_PIXELS = 10
Found = tuple[np.ndarray, np.ndarray]
"""Scores (N,) and masks (N, Y, X) of the objects of an image."""


def normalize(image: np.ndarray) -> np.ndarray:
    """Return grey levels between percentiles 1 and 99.8 as 0 to 1, float32."""
    low, high = np.percentile(image, (1, 99.8))
    return np.clip((image - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)


def build() -> MaskRCNN:
    """Return an untrained network for one class of objects."""
    sizes = tuple((side,) for side in (8, 16, 32, 64, 128))
    model: MaskRCNN = maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=2, min_size=SIDE, max_size=2048,
        image_mean=[0.5] * 3, image_std=[0.25] * 3, box_detections_per_img=500,
        rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
    )  # fmt: skip
    return model


def draw(
    images: list[np.ndarray], labels: list[np.ndarray], rng: np.random.Generator
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return a patch (3, Y, X) with objects, flipped and turned at random, and its targets."""
    while True:
        number = int(rng.integers(len(images)))
        image, own = images[number], labels[number]
        corner = [int(rng.integers(max(n - SIDE, 0) + 1)) for n in own.shape]
        box = tuple(slice(c, c + SIDE) for c in corner)
        image, own = image[box], own[box]
        turns, flip = int(rng.integers(4)), bool(rng.integers(2))
        image, own = (np.rot90(one, turns)[:, :: -1 if flip else 1] for one in (image, own))
        names = [n for n in np.unique(own) if n and (own == n).sum() >= FEWEST_PIXELS]
        boxes = []
        for name in list(names):
            y, x = np.nonzero(own == name)
            if np.ptp(y) < 2 or np.ptp(x) < 2:
                names.remove(name)
                continue
            boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
        if names:
            break
    image = np.clip(image * rng.uniform(0.6, 1.4) + rng.uniform(-0.1, 0.1), 0, 1)
    masks = np.stack([own == name for name in names]).astype(np.uint8)
    target = {
        "boxes": torch.tensor(np.array(boxes), dtype=torch.float32),
        "labels": torch.ones(len(names), dtype=torch.int64),
        "masks": torch.from_numpy(masks),
    }
    return torch.from_numpy(image.astype(np.float32)).expand(3, -1, -1), target


def train(
    model: MaskRCNN, data: list[tuple[np.ndarray, np.ndarray]], end: float, seed: int
) -> None:
    """Train until a time of the monotonic clock."""
    rng = np.random.default_rng(seed)
    images, labels = map(list, zip(*data, strict=True))
    weights = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.SGD(weights, RATE, momentum=0.9, weight_decay=5e-4)
    model.train()
    started, steps = time.monotonic(), 0
    while (now := time.monotonic()) < end:
        left = (end - now) / (end - started)
        rate = RATE * min(1.0, (steps + 1) / WARM_UP) * max(left, 0.01) ** 0.9
        for group in optimizer.param_groups:
            group["lr"] = rate
        patches, targets = zip(*(draw(images, labels, rng) for _ in range(BATCH)), strict=True)
        losses = model(list(patches), list(targets))
        loss = sum(losses.values())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 10)
        optimizer.step()
        steps += 1
        if steps % 20 == 0:
            sys.stderr.write(f"step {steps}, loss {float(loss):.3f}, {end - now:.0f} s left\n")


@torch.no_grad()
def find(model: MaskRCNN, image: np.ndarray) -> Found:
    """Return scores and masks of the objects of an image at its own resolution."""
    model.transform.min_size = (min(image.shape),)
    found = model([torch.from_numpy(image).expand(3, -1, -1)])[0]
    return found["scores"].numpy(), (found["masks"][:, 0] > 0.5).numpy()


def draw_labels(found: Found, least: float, shape: tuple[int, ...]) -> np.ndarray:
    """Return labels of the objects with at least a score; the surer of two keeps their pixels."""
    labels = np.zeros(shape, np.uint16)
    number = 0
    for score, mask in zip(*found, strict=True):  # sorted by score
        free = mask & (labels == 0)
        if score < least or free.sum() < max(FEWEST_PIXELS, 0.5 * mask.sum()):
            continue
        number += 1
        labels[free] = number
    return labels


def matches(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return true objects, found ones, and pairs with IoU of at least 0.5."""
    table = np.zeros((int(truth.max()) + 1, int(found.max()) + 1), np.int64)
    np.add.at(table, (truth.ravel(), found.ravel()), 1)
    rows, columns = table.sum(1, keepdims=True), table.sum(0, keepdims=True)
    overlap = table[1:, 1:] / np.maximum(rows[1:] + columns[:, 1:] - table[1:, 1:], 1)
    return np.array([(rows[1:] > 0).sum(), (columns[:, 1:] > 0).sum(), (overlap >= 0.5).sum()])


def main() -> None:
    folder, minutes, seed = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    end = time.monotonic() + 60 * minutes
    torch.manual_seed(seed)
    with (folder / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    data: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"train": [], "valid": []}
    for row in rows:
        if row["split"] in data:
            labels = tifffile.imread(folder / row["labels"]).astype(np.int32)
            data[row["split"]].append((normalize(tifffile.imread(folder / row["image"])), labels))
    model = build()
    train(model, data["train"], end, seed)
    model.eval()
    step = max(len(data["valid"]) // MOST_VALID, 1)
    counts = np.zeros((len(SCORES), 3))
    for image, truth in data["valid"][::step]:
        found = find(model, image)
        for i, least in enumerate(SCORES):
            counts[i] += matches(truth, draw_labels(found, least, image.shape))
    f1 = 2 * counts[:, 2] / np.maximum(counts[:, 0] + counts[:, 1], 1)
    least = SCORES[int(f1.argmax())]
    sys.stderr.write(f"objects from score {least}: F1 {f1.max():.3f} on validation images\n")
    (folder / "predictions").mkdir()
    for row in rows:
        if row["split"] == "score":
            image = normalize(tifffile.imread(folder / row["image"]))
            labels = draw_labels(find(model, image), least, image.shape)
            tifffile.imwrite(folder / "predictions" / f"{row['id']}.tif", labels)


if __name__ == "__main__":
    main()
