"""Augmentation: image, target and weight stay together, whatever is drawn."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from monai.transforms import RandFlipd, RandGaussianNoised
from omegaconf import OmegaConf

from cytoloop.data.augmentation import (
    Augmentation,
    Blur,
    Clahe,
    Elastic,
    Flip,
    Noise,
    Poisson,
    QuarterTurn,
    Rotate,
    Scale,
)
from cytoloop.data.augmentation.warp import inside, interpolate, nearest, place
from cytoloop.data.cached_image import CachedImage
from cytoloop.data.dataset import PatchDataset
from cytoloop.data.patch_centres import object_points, valid_places
from cytoloop.data.patch_schedule import PatchSchedule
from cytoloop.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
PRESETS = ("none", "light", "microscope", "default", "strong", "hitif", "nnunet")
PLACES = ("flip", "quarter_turn", "rotate", "scale", "elastic")
GREY = (
    *("gain", "offset", "contrast", "gamma", "gamma_inverted", "saturation", "clahe", "blur"),
    *("median", "low_resolution", "noise", "poisson", "impulse", "salt_pepper", "dropout"),
)
HITIF = (
    *("flip", "quarter_turn", "clahe", "impulse", "poisson", "noise", "dropout", "blur"),
    *("median", "gamma", "saturation", "salt_pepper", "gain"),
)
HIGH = 1000.0


@functools.cache
def preset(name: str, *overrides: str) -> Augmentation:
    words = [f"+augmentation={name}", *overrides]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        found = instantiate(compose(overrides=words).augmentation)
    assert isinstance(found, Augmentation)
    return found


@functools.cache
def settings(name: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        found = OmegaConf.to_container(compose(overrides=[f"+augmentation={name}"]).augmentation)
    assert isinstance(found, dict)
    return {str(k): v for k, v in found.items() if isinstance(v, dict)}


def checkers(shape: tuple[int, ...], cell: int) -> np.ndarray:
    return sum(np.indices(shape) // cell) % 2 == 1  # type: ignore[no-any-return]


def checkered(shape: tuple[int, ...], spacing: tuple[float, ...] | None) -> CachedImage:
    """An image whose grey levels say where the object is, and where voxels are excluded.

    Channel 0 is the target's checkers, channel 1 those of the weight.
    """
    target, valid = checkers(shape, 6), checkers(tuple(n + 5 for n in shape), 10)
    valid = valid[tuple(slice(5, None) for _ in shape)]
    image = np.stack([target, valid]).astype(np.float32) * HIGH
    labels = np.where(target, 7, 0).astype(np.uint8)
    points = object_points(labels, valid)
    return CachedImage("a", image, labels, valid, *points, valid_places(valid), spacing)  # type: ignore[arg-type]


def patches(entry: CachedImage, parts: Augmentation, size: tuple[int, ...]) -> PatchDataset:
    schedule = PatchSchedule([entry.shape], size, 1, 50, None, 0)
    return PatchDataset(
        [entry], [entry.intensity_stats({"method": "none"})], size, schedule, 0.3, parts, seed=1
    )


def assert_aligned(sample: dict[str, Any]) -> float:
    """Compare target and weight with what the grey levels say, but for voxels half-way.

    Where the weight is 0 outside of the image, its grey levels are mirrored and say nothing.
    """
    image = sample["image"] / HIGH
    clear = (image - 0.5).abs() > 0.4
    target, counts = sample["target"][0] > 0, sample["weight"][0] > 0
    assert torch.equal(target[clear[0] & counts], image[0][clear[0] & counts] > 0.5)
    assert (image[1][clear[1] & counts] > 0.5).all()
    return float(clear.float().mean())


SIZES = [((30, 60, 60), (8, 32, 32)), ((40, 44, 44), (16, 16, 24)), ((90, 80), (32, 48))]


@pytest.mark.parametrize(("shape", "size"), SIZES)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.0, 1.0), None])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_keeps_image_target_and_weight_together(
    name: str, spacing: tuple[float, ...] | None, shape: tuple[int, ...], size: tuple[int, ...]
) -> None:
    parts = preset(name)
    places = Augmentation(**{k: p if k in PLACES else None for k, p in parts.parts.items()})
    entry = checkered(shape, spacing)
    still = patches(entry, places, size)
    whole = patches(entry, parts, size)
    clear = []
    for number in range(12):
        sample, changed = still[(0, number)], whole[(0, number)]
        clear.append(assert_aligned(sample))
        assert sample["weight"].any() and sample["image"].shape == (2, *size)
        for key in ("target", "weight"):  # grey levels leave them alone, drawing for drawing
            assert torch.equal(sample[key], changed[key])
    assert np.mean(clear) > 0.4


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize(("shape", "size"), SIZES)
def test_every_change_of_place_moves_voxels_and_keeps_them_together(
    name: str, shape: tuple[int, ...], size: tuple[int, ...]
) -> None:
    changes = ("magnitude=[0.1,0.3]",) if name == "elastic" else ("prob=1",)
    words = [f"augmentation.{name}.{change}" for change in (*changes, "prob=1")]
    entry = checkered(shape, (1.0, 1.0, 1.0))
    moved = 0
    for number in range(8):
        sample = patches(entry, preset("none", *words), size)[(0, number)]
        assert_aligned(sample)
        plain = patches(entry, preset("none"), size)[(0, number)]
        moved += not torch.equal(sample["target"], plain["target"])
    assert moved >= 3


@pytest.mark.parametrize("name", GREY)
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_change_of_grey_levels_keeps_its_place(name: str, ndim: int, channels: int) -> None:
    """The changed image fits the original best where it is, not a voxel or two aside."""
    rng = np.random.default_rng(0)
    shape = (12, 32, 32)[-ndim:]
    coarse = rng.random((channels, *[n // 4 for n in shape]))
    block = np.ones([1] + [4] * ndim)
    image = torch.from_numpy(np.kron(coarse, block).astype(np.float32))
    part = dict(settings("hitif" if name in HITIF else "strong")[name])
    if name == "gain":
        part["factors"] = [0.5, 0.6]
    if name == "gamma":
        part["gamma"] = [0.3, 2.5]
    if name == "blur":
        part["sigma"] = [1, 2]
    if name == "saturation":
        part["factor"] = [0.5, 2]
    parts = Augmentation(**{name: instantiate({**part, "prob": 1})})
    differs = False
    for seed in range(6):
        out = parts.change_levels(image.clone(), np.random.default_rng(seed))
        assert out.shape == image.shape and out.dtype == torch.float32 and out.isfinite().all()
        differs |= not torch.equal(out, image)
        fits = {}
        for shift in (-2, -1, 0, 1, 2):
            for axis in range(1, ndim + 1):
                rolled = torch.roll(image, shift, axis)
                pairs = torch.stack([out.flatten(), rolled.flatten()])
                fits[shift, axis] = abs(float(torch.corrcoef(pairs)[0, 1]))
        assert all(fits[0, 1] >= fit - 1e-6 for fit in fits.values()), fits
    assert differs or (name == "saturation" and channels == 1)


def test_hitif_has_all_fourteen() -> None:
    on = {name for name, part in settings("hitif").items() if part["prob"] > 0}
    assert on == {*HITIF, "scale"}  # flip is two of them: left-right and up-down
    ranges = settings("hitif")
    assert ranges["gamma"]["gamma"] == [0.01, 2.5] and ranges["blur"]["sigma"] == [1, 9]
    assert ranges["impulse"]["fraction"] == [0.001, 0.15] and ranges["clahe"]["clip"] == [5, 50]


@pytest.mark.parametrize("name", PRESETS)
def test_any_part_is_switched_off_by_one_word_and_changes_nothing_else(name: str) -> None:
    on = [part for part, values in settings(name).items() if values["prob"] > 0]
    entry = checkered((40, 40), None)
    for part in on:
        for word in (f"augmentation.{part}=null", f"augmentation.{part}.prob=0"):
            without = preset(name, word)
            assert without.probs[part] == 0 or without.parts[part] is None
    if "noise" in on:  # the ablation draws the same patches, turned the same way
        whole = patches(entry, preset(name), (16, 16))
        without_noise = patches(entry, preset(name, "augmentation.noise=null"), (16, 16))
        pairs = [(whole[(0, n)], without_noise[(0, n)]) for n in range(40)]
        assert all(torch.equal(a["target"], b["target"]) for a, b in pairs)
        same = [torch.equal(a["image"], b["image"]) for a, b in pairs]
        assert any(same) and not all(same)


def test_every_part_is_written_once_and_off_in_parts() -> None:
    parts = settings("parts")
    assert set(parts) == {*PLACES, *GREY} and all(p["prob"] == 0 for p in parts.values())
    for name in PRESETS:
        text = (CONFIGS / "augmentation" / f"{name}.yaml").read_text()
        assert "_target_" not in text, name


def test_stacks_of_flat_voxels_are_turned_in_the_plane_only() -> None:
    rng = np.random.default_rng(0)
    parts = Augmentation(rotate=Rotate(1, 180, 30), scale=Scale(1), elastic=Elastic(1))
    for spacing, planar in (((1, 1, 1), False), ((3, 1, 1), True), (None, True)):
        warp = parts.draw_warp(rng, 3, spacing)
        assert warp.planar == planar and warp.offsets((4, 8, 8)).shape[0] == (2 if planar else 3)
    stack = checkered((20, 40, 40), (3.0, 1.0, 1.0))
    stack.image[0] = np.arange(20).reshape(-1, 1, 1)  # each plane has a grey level of its own
    for number in range(6):
        image = patches(stack, parts, (8, 16, 16))[(0, number)]["image"][0]
        planes = image.reshape(8, -1)
        assert (planes.amax(1) - planes.amin(1)).max() < 1e-3
        assert (planes.mean(1).diff() - 1).abs().max() < 1e-3


def test_a_turn_is_that_of_the_specimen() -> None:
    """In a stack of 1.4 : 1 voxels a tilted cube of 10 um stays a cube of 10 um."""
    warp = Augmentation(rotate=Rotate(1, 0, 90)).draw_warp(
        np.random.default_rng(3), 3, (1.4, 1.0, 1.0)
    )
    assert warp.matrix is not None
    spacing = np.diag([1.4, 1.0, 1.0])
    physical = spacing @ warp.matrix @ np.linalg.inv(spacing)
    np.testing.assert_allclose(physical @ physical.T, np.eye(3), atol=1e-12)


def test_what_turns_into_view_is_the_image_and_outside_has_no_weight() -> None:
    rng = np.random.default_rng(0)
    image = rng.random((64, 64)).astype(np.float32)
    ones = np.ones((64, 64), np.uint8)
    entry = CachedImage("a", image[None], ones, ones > 0, *object_points(ones, ones > 0))
    parts = Augmentation(rotate=Rotate(1), scale=Scale(1, (0.9, 1.1)))
    for number in range(20):  # a patch half as wide: its turned outline always fits inside
        assert (patches(entry, parts, (32, 32))[(0, number)]["weight"] == 1).all()
    weights = [patches(entry, parts, (60, 60))[(0, n)]["weight"].mean() for n in range(20)]
    assert 0.5 < np.mean(weights) < 1  # a patch nearly as wide: its corners stick out


def test_interpolation_and_nearest_agree_with_known_values() -> None:
    plane = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    where = np.array([[[0.0, 1.5]], [[0.5, 2.0]]], np.float32)
    np.testing.assert_allclose(interpolate(plane, where)[0, 0], [0.5, 8.0], atol=1e-6)
    assert nearest(plane[0], where)[0, 1] == 10
    assert inside(np.array([[-0.4, 2.6]], np.float32), (3,)).tolist() == [True, False]
    moved = place(np.array([[-2.0, 2.0]]), np.array([0.0]), (10,))
    assert moved.tolist() == [2.0] and place(np.array([[-9.0, 9]]), np.array([0.0]), (5,)) == [2.0]


def test_noise_is_as_strong_as_it_says() -> None:
    rng = np.random.default_rng(0)
    flat = torch.zeros(1, 8, 64, 64)
    assert float(Noise(1, (0.1, 0.1)).change(flat, rng).std()) == pytest.approx(0.1, rel=0.02)
    steps = torch.stack([torch.zeros(64, 64), torch.full((64, 64), 0.25), torch.ones(64, 64)])[None]
    noisy = Poisson(1, (0.1, 0.1)).change(steps, rng) - steps
    spread = noisy[0].flatten(1).std(1)
    assert spread[0] == 0 and float(spread[1]) == pytest.approx(0.05, rel=0.05)
    assert float(spread[2]) == pytest.approx(0.1, rel=0.05)


def test_every_axis_is_mirrored_half_of_the_time() -> None:
    entry = checkered((20, 24, 24), None)
    entry.image[0] = np.indices((20, 24, 24)).sum(0)
    seen = []
    for number in range(50):
        image = patches(entry, Augmentation(flip=Flip(1)), (8, 8, 8))[(0, number)]["image"][0]
        seen.append([bool(image.diff(dim=axis).mean() > 0) for axis in range(3)])
    assert all(0.3 < share < 0.7 for share in np.mean(seen, axis=0))


def test_a_long_patch_turns_only_where_it_fits() -> None:
    entry = checkered((20, 60), None)
    for number in range(10):
        sample = patches(entry, Augmentation(turn=QuarterTurn(1)), (16, 48))[(0, number)]
        assert sample["image"].shape == (2, 16, 48)
        assert_aligned(sample)


def test_parts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"augmentation.x: is a int.*\n.*null switches"):
        Augmentation(x=3)
    with pytest.raises(ConfigError, match=r"x.keys: \['image', 'target'\]"):
        Augmentation(x=RandFlipd(["image", "target"]))
    for broken, text in (
        (lambda: Noise(1.5), "Noise.prob: is 1.5"),
        (lambda: Scale(1, (2, 1)), "scale.factors"),
        (lambda: Blur(1, (0, 1)), "blur.sigma"),
        (lambda: Clahe(1, tiles=0), "clahe.tiles"),
        (lambda: Elastic(1, cells=0), "elastic.cells"),
        (lambda: Flip(1, ["T"]), "flip.axes"),
    ):
        with pytest.raises(ConfigError, match=text):
            broken()
    assert Augmentation(x=RandGaussianNoised(["image"], prob=0.3)).probs == {"x": 0.3}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize(("shape", "size"), SIZES)
def test_the_depth_of_objects_moves_with_the_picture(
    name: str, shape: tuple[int, ...], size: tuple[int, ...]
) -> None:
    """A picture of the depths themselves is what the head is to say, wherever it lies."""
    blocks = np.random.default_rng(0).integers(0, 5, [n // 10 + 1 for n in shape])
    labels = np.kron(blocks, np.ones([10] * len(shape), int))[tuple(map(slice, shape))]
    labels = labels.astype(np.uint8)
    valid = np.broadcast_to(np.True_, shape)
    entry = CachedImage("a", labels[None], labels, valid, *object_points(labels, valid))
    depth = entry.map("distance")
    entry = dataclasses.replace(entry, image=depth[None])
    schedule = PatchSchedule([shape], size, 1, 50, None, 0)
    levels = (np.zeros(1, np.float32), np.full(1, 255, np.float32))
    heads = ("foreground", "distance")
    changes = dict.fromkeys((name, "flip", "quarter_turn"), 1)  # one after the other
    parts = preset("none", *(f"augmentation.{change}.prob=1" for change in changes))
    moved = PatchDataset([entry], [levels], size, schedule, 0.3, parts, 1, heads)
    for number in range(6):
        sample = moved[(0, number)]
        counts = sample["weight"][0] > 0
        assert sample["target"][1].amax() > 0.5
        np.testing.assert_allclose(
            sample["target"][1][counts], sample["image"][0][counts], atol=0.003
        )
