"""Quality metrics and their limits: each fault is found, and good images pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from cytoloop.curation.checks.quality_limits import (
    DEFAULT_LIMITS,
    find_violations,
    limits_from,
    priority,
)
from cytoloop.curation.checks.quality_metrics import (
    fingerprint,
    fingerprint_vector,
    image_metrics,
    label_metrics,
    pair_metrics,
    sharpness,
)
from cytoloop.errors import ConfigError

Blobs = Callable[..., tuple[np.ndarray, np.ndarray]]


def soft(raw: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    return ndimage.gaussian_filter(raw.astype(np.float32), sigma).astype(raw.dtype)


def violated(metrics: dict[str, float]) -> set[str]:
    return {violation.metric for violation in find_violations(metrics, DEFAULT_LIMITS)}


@pytest.mark.parametrize("shape", [(96, 120), (16, 64, 72)])
def test_quality_of_a_good_image_is_inside_all_limits(shape: tuple[int, ...], blobs: Blobs) -> None:
    raw, labels = blobs(shape, 8, seed=1)
    raw = soft(raw)[None]
    metrics = {**image_metrics(raw), **label_metrics(labels), **pair_metrics(raw, labels)}
    assert violated(metrics) == set()
    assert metrics["pieces"] == 8 and metrics["label_gaps"] == 0


def test_quality_overexposed(blobs: Blobs) -> None:
    raw, _ = blobs((64, 64), 6, seed=2)
    assert image_metrics(raw[None])["saturated"] < 0.01
    clipped = np.minimum(raw, 900)  # a camera may clip far below the largest number of its dtype
    assert "saturated" in violated(image_metrics(clipped[None]))
    both = np.stack([raw, clipped])
    assert image_metrics(both)["saturated"] == image_metrics(clipped[None])["saturated"]


def test_quality_focus_falls_with_blur_but_not_with_brightness(blobs: Blobs) -> None:
    raw, _ = blobs((128, 128), 20, seed=3)
    sharp = soft(raw)
    assert sharpness(soft(sharp, 3)) < DEFAULT_LIMITS["focus"].min < sharpness(sharp)  # type: ignore[operator]
    assert sharpness(sharp.astype(np.float32) * 3 + 1800) == pytest.approx(
        sharpness(sharp), rel=0.05
    )
    assert sharpness(np.zeros((40, 40))) == 0


def test_quality_of_labels() -> None:
    labels = np.zeros((40, 40), np.uint16)
    labels[2:12, 2:12] = 1
    labels[20:30, 2:12] = 3
    labels[20:30, 20:30] = 7
    labels[35, 35] = 7  # a tiny second piece
    metrics = label_metrics(labels)
    assert metrics["labels"] == 3 and metrics["pieces"] == 4
    assert metrics["label_gaps"] == 4 and metrics["split_labels"] == 1
    assert metrics["tiny_pieces"] == 1 and metrics["object_voxels"] == 100
    assert violated(metrics) == {"label_gaps", "split_labels", "tiny_pieces"}


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("move", [(0, 5, -7), (3, 0, 0)])
def test_quality_finds_the_shift_of_a_segmentation(
    move: tuple[int, int, int], dark: bool, blobs: Blobs
) -> None:
    raw, labels = blobs((24, 80, 80), 9, seed=4)
    raw = 3000 - raw if dark else raw  # bright field
    metrics = pair_metrics(raw[None], np.roll(labels, move, (0, 1, 2)))
    found = tuple(int(metrics[f"shift_{axis}"]) for axis in "zyx")
    assert found == tuple(-m for m in move)
    assert "misalignment" in violated(metrics)
    assert "misalignment" not in violated(pair_metrics(raw[None], labels))


def test_quality_of_dense_tissue_uses_the_borders_of_objects() -> None:
    rng = np.random.default_rng(5)
    seeds = np.zeros((96, 96), int)
    seeds[tuple(rng.integers(0, 96, (2, 60)))] = np.arange(1, 61)
    labels = seeds.ravel()[
        np.ravel_multi_index(
            ndimage.distance_transform_edt(seeds == 0, return_indices=True)[1], seeds.shape
        )
    ]
    walls = (np.diff(labels, axis=0, prepend=labels[:1]) != 0) | (
        np.diff(labels, axis=1, prepend=labels[:, :1]) != 0
    )
    raw = (soft(walls * 2000.0, 1) + rng.normal(100, 10, walls.shape)).astype(np.float32)
    still = pair_metrics(raw[None], labels.astype(np.uint16))
    moved = pair_metrics(raw[None], np.roll(labels, (4, 5), (0, 1)).astype(np.uint16))
    assert "contrast" not in still and "misalignment" not in violated(still)
    assert (moved["shift_y"], moved["shift_x"]) == (-4, -5)


def test_quality_fingerprint_distinguishes_images(blobs: Blobs) -> None:
    raw, _ = blobs((8, 70, 90), 8, seed=6)
    other, _ = blobs((8, 70, 90), 8, seed=7)
    noisy = raw + np.random.default_rng(0).normal(0, 30, raw.shape)
    one, same, another = (fingerprint_vector(fingerprint(r[None])) for r in (raw, noisy, other))
    assert one @ same > 0.95 > 0.7 > one @ another
    assert fingerprint(np.full((1, 40, 40), 7, np.uint8)) == ""


def test_quality_limits_lists_all_problems() -> None:
    with pytest.raises(ConfigError) as caught:
        limits_from(
            {
                "blur": {"min": 1},
                "focus": {"min": "low", "action": "drop", "size": 1, "weight": -1},
                "contrast": 3,
            }
        )
    assert [problem.split(";")[0] for problem in caught.value.problems] == [
        "quality.blur: no such metric",
        "quality.focus.min=low: expected a number or null",
        "quality.focus.action=drop: expected flag, reject, ignore",
        "quality.focus.size: expected min, max, action or weight",
        "quality.focus.weight=-1: expected a number from 0 up",
        "quality.contrast=3: expected min, max, action or weight",
    ]
    with pytest.raises(ConfigError, match="min 3 is above max 2"):
        limits_from({"focus": {"min": 3, "max": 2}})


def test_quality_priority_is_a_sum_with_reasons() -> None:
    limits = limits_from({"focus": {"min": 0.5, "weight": 2}, "saturated": {"action": "ignore"}})
    metrics = {"focus": 0.2, "saturated": 0.5, "disagreement": 0.25}
    (violation,) = find_violations(metrics, limits)
    assert violation.text == "focus 0.2 is below 0.5 (blurred)"
    assert priority(metrics, limits) == 2.25
    assert priority(metrics, limits, problems=1) == 12.25
    assert priority({}, limits) == 0


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("folder", "kind", "every"), [("bbbc050", "labels", 6), ("dsb2018", "masks", 20)]
)
def test_quality_on_real_images_flags_simulated_faults_and_little_else(
    folder: str, kind: str, every: int, real_data: Path
) -> None:
    wrong, missed = [], []
    for path in sorted((real_data / folder / "images").glob("*.tif"))[::every]:
        raw, labels = tifffile.imread(path), tifffile.imread(real_data / folder / kind / path.name)
        metrics = {**image_metrics(raw[None]), **pair_metrics(raw[None], labels)}
        wrong += [(path.name, name) for name in violated(metrics)]
        planes = (0,) * (raw.ndim - 2)
        blurred = ndimage.gaussian_filter(raw.astype(np.float32), (*planes, 3, 3))
        if "focus" not in violated({"focus": sharpness(blurred)}):
            missed.append((path.name, "blur"))
        shifted = np.roll(labels, (5, -6), (-2, -1))
        if "misalignment" not in violated(pair_metrics(raw[None], shifted)):
            missed.append((path.name, "shift"))
    assert not missed
    assert len(wrong) <= 1, wrong
