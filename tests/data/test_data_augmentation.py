"""Augmentation: image, target and weight stay aligned under every transform."""

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
from cytoloop.data.augmentation.warp import (
    clamp_centre,
    interpolate,
    is_inside,
    sample_nearest,
)
from cytoloop.data.cached_image import CachedImage
from cytoloop.data.dataset import PatchDataset
from cytoloop.data.patch_centres import object_points, valid_points
from cytoloop.data.patch_schedule import PatchSchedule
from cytoloop.data.settings import SamplingSettings
from cytoloop.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
PRESETS = ("none", "light", "microscope", "default", "strong", "hitif", "nnunet")
SPATIAL = ("flip", "quarter_turn", "rotate", "scale", "elastic")
INTENSITY = (
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


def checkerboard(shape: tuple[int, ...], cell: int) -> np.ndarray:
    return sum(np.indices(shape) // cell) % 2 == 1  # type: ignore[no-any-return]


def checkerboard_image(shape: tuple[int, ...], spacing: tuple[float, ...] | None) -> CachedImage:
    """Return an image whose channels 0 and 1 equal its target and its weight, as checkerboards."""
    target, valid = checkerboard(shape, 6), checkerboard(tuple(n + 5 for n in shape), 10)
    valid = valid[tuple(slice(5, None) for _ in shape)]
    image = np.stack([target, valid]).astype(np.float32) * HIGH
    labels = np.where(target, 7, 0).astype(np.uint8)
    points = object_points(labels, valid)
    return CachedImage("a", image, labels, valid, *points, valid_points(valid), spacing)  # type: ignore[arg-type]


def patches(cached: CachedImage, augmentation: Augmentation, size: tuple[int, ...]) -> PatchDataset:
    settings = SamplingSettings(size, 1, patches_per_image=50, foreground_fraction=0.3, seed=1)
    schedule = PatchSchedule([cached.shape], settings)
    return PatchDataset(
        [cached], [cached.intensity_stats({"method": "none"})], schedule, augmentation
    )


def assert_aligned(sample: dict[str, Any]) -> float:
    """Compare target and weight with the image, except at interpolated edges.

    Voxels outside the image have weight 0; their grey levels are mirrored and are not compared.
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
def test_every_preset_keeps_image_target_and_weight_aligned(
    name: str, spacing: tuple[float, ...] | None, shape: tuple[int, ...], size: tuple[int, ...]
) -> None:
    augmentation = preset(name)
    spatial = Augmentation(
        **{k: t if k in SPATIAL else None for k, t in augmentation.transforms.items()}
    )
    cached = checkerboard_image(shape, spacing)
    still = patches(cached, spatial, size)
    whole = patches(cached, augmentation, size)
    clear = []
    for number in range(12):
        sample, changed = still[(0, number)], whole[(0, number)]
        clear.append(assert_aligned(sample))
        assert sample["weight"].any() and sample["image"].shape == (2, *size)
        for key in ("target", "weight"):  # not changed by intensity transforms
            assert torch.equal(sample[key], changed[key])
    assert np.mean(clear) > 0.4


@pytest.mark.parametrize("name", SPATIAL)
@pytest.mark.parametrize(("shape", "size"), SIZES)
def test_every_spatial_transform_moves_voxels_and_keeps_them_aligned(
    name: str, shape: tuple[int, ...], size: tuple[int, ...]
) -> None:
    changes = ("magnitude=[0.1,0.3]",) if name == "elastic" else ("prob=1",)
    words = [f"augmentation.{name}.{change}" for change in (*changes, "prob=1")]
    cached = checkerboard_image(shape, (1.0, 1.0, 1.0))
    moved = 0
    for number in range(8):
        sample = patches(cached, preset("none", *words), size)[(0, number)]
        assert_aligned(sample)
        plain = patches(cached, preset("none"), size)[(0, number)]
        moved += not torch.equal(sample["target"], plain["target"])
    assert moved >= 3


@pytest.mark.parametrize("name", INTENSITY)
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_intensity_transform_keeps_positions(name: str, ndim: int, channels: int) -> None:
    """The output correlates best with the unshifted input."""
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
    augmentation = Augmentation(**{name: instantiate({**part, "prob": 1})})
    differs = False
    for seed in range(6):
        out = augmentation.apply_intensity(image.clone(), np.random.default_rng(seed))
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
    assert on == {*HITIF, "scale"}  # flip stands for two: left-right and up-down
    ranges = settings("hitif")
    assert ranges["gamma"]["gamma"] == [0.01, 2.5] and ranges["blur"]["sigma"] == [1, 9]
    assert ranges["impulse"]["fraction"] == [0.001, 0.15] and ranges["clahe"]["clip"] == [5, 50]


@pytest.mark.parametrize("name", PRESETS)
def test_any_transform_is_switched_off_by_one_override_and_no_other_changes(name: str) -> None:
    on = [part for part, values in settings(name).items() if values["prob"] > 0]
    cached = checkerboard_image((40, 40), None)
    for word in ("augmentation.{}=null", "augmentation.{}.prob=0"):
        off = on[::2]
        without = preset(name, *(word.format(part) for part in off))
        none = {part for part in on if without.probs[part] == 0 or not without.transforms[part]}
        assert none == set(off)
    if "noise" in on:  # without noise, the same patches are drawn with the same spatial transforms
        whole = patches(cached, preset(name), (16, 16))
        without_noise = patches(cached, preset(name, "augmentation.noise=null"), (16, 16))
        pairs = [(whole[(0, n)], without_noise[(0, n)]) for n in range(40)]
        assert all(torch.equal(a["target"], b["target"]) for a, b in pairs)
        same = [torch.equal(a["image"], b["image"]) for a, b in pairs]
        assert any(same) and not all(same)


def test_every_transform_is_defined_once_and_off_by_default() -> None:
    transforms = settings("transforms")
    assert set(transforms) == {*SPATIAL, *INTENSITY}
    assert all(t["prob"] == 0 for t in transforms.values())
    for name in PRESETS:
        text = (CONFIGS / "augmentation" / f"{name}.yaml").read_text()
        assert "_target_" not in text, name


def test_anisotropic_stacks_are_transformed_in_the_plane_only() -> None:
    rng = np.random.default_rng(0)
    augmentation = Augmentation(rotate=Rotate(1, 180, 30), scale=Scale(1), elastic=Elastic(1))
    for spacing, planar in (((1, 1, 1), False), ((3, 1, 1), True), (None, True)):
        warp = augmentation.draw_warp(rng, 3, spacing)
        assert warp.planar == planar and warp.offsets((4, 8, 8)).shape[0] == (2 if planar else 3)
    stack = checkerboard_image((20, 40, 40), (3.0, 1.0, 1.0))
    stack.image[0] = np.arange(20).reshape(-1, 1, 1)  # the grey level of a plane is its index
    for number in range(6):
        image = patches(stack, augmentation, (8, 16, 16))[(0, number)]["image"][0]
        planes = image.reshape(8, -1)
        assert (planes.amax(1) - planes.amin(1)).max() < 1e-3
        assert (planes.mean(1).diff() - 1).abs().max() < 1e-3


def test_a_rotation_is_rigid_in_physical_units() -> None:
    """In a stack of 1.4 : 1 voxels, a rotated cube of 10 um stays a cube of 10 um."""
    warp = Augmentation(rotate=Rotate(1, 0, 90)).draw_warp(
        np.random.default_rng(3), 3, (1.4, 1.0, 1.0)
    )
    assert warp.matrix is not None
    spacing = np.diag([1.4, 1.0, 1.0])
    physical = spacing @ warp.matrix @ np.linalg.inv(spacing)
    np.testing.assert_allclose(physical @ physical.T, np.eye(3), atol=1e-12)


def test_rotated_patches_show_the_image_and_have_weight_0_outside_it() -> None:
    rng = np.random.default_rng(0)
    image = rng.random((64, 64)).astype(np.float32)
    ones = np.ones((64, 64), np.uint8)
    cached = CachedImage("a", image[None], ones, ones > 0, *object_points(ones, ones > 0))
    augmentation = Augmentation(rotate=Rotate(1), scale=Scale(1, (0.9, 1.1)))
    for number in range(20):  # a patch of half the width always fits inside after a rotation
        assert (patches(cached, augmentation, (32, 32))[(0, number)]["weight"] == 1).all()
    weights = [patches(cached, augmentation, (60, 60))[(0, n)]["weight"].mean() for n in range(20)]
    assert 0.5 < np.mean(weights) < 1  # the corners of a patch of 94 % of the width lie outside


def test_interpolation_and_nearest_agree_with_known_values() -> None:
    plane = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    where = np.array([[[0.0, 1.5]], [[0.5, 2.0]]], np.float32)
    np.testing.assert_allclose(interpolate(plane, where)[0, 0], [0.5, 8.0], atol=1e-6)
    assert sample_nearest(plane[0], where)[0, 1] == 10
    assert is_inside(np.array([[-0.4, 2.6]], np.float32), (3,)).tolist() == [True, False]
    moved = clamp_centre(np.array([[-2.0, 2.0]]), np.array([0.0]), (10,))
    assert moved.tolist() == [2.0] and clamp_centre(
        np.array([[-9.0, 9]]), np.array([0.0]), (5,)
    ) == [2.0]


def test_noise_has_the_given_standard_deviation() -> None:
    rng = np.random.default_rng(0)
    flat = torch.zeros(1, 8, 64, 64)
    assert float(Noise(1, (0.1, 0.1)).apply(flat, rng).std()) == pytest.approx(0.1, rel=0.02)
    steps = torch.stack([torch.zeros(64, 64), torch.full((64, 64), 0.25), torch.ones(64, 64)])[None]
    noisy = Poisson(1, (0.1, 0.1)).apply(steps, rng) - steps
    spread = noisy[0].flatten(1).std(1)
    assert spread[0] == 0 and float(spread[1]) == pytest.approx(0.05, rel=0.05)
    assert float(spread[2]) == pytest.approx(0.1, rel=0.05)


def test_every_axis_is_mirrored_with_probability_half() -> None:
    cached = checkerboard_image((20, 24, 24), None)
    cached.image[0] = np.indices((20, 24, 24)).sum(0)
    seen = []
    for number in range(50):
        image = patches(cached, Augmentation(flip=Flip(1)), (8, 8, 8))[(0, number)]["image"][0]
        seen.append([bool(image.diff(dim=axis).mean() > 0) for axis in range(3)])
    assert all(0.3 < share < 0.7 for share in np.mean(seen, axis=0))


def test_a_long_patch_is_turned_only_if_it_fits() -> None:
    cached = checkerboard_image((20, 60), None)
    for number in range(10):
        sample = patches(cached, Augmentation(turn=QuarterTurn(1)), (16, 48))[(0, number)]
        assert sample["image"].shape == (2, 16, 48)
        assert_aligned(sample)


def test_invalid_transforms_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"augmentation.x: is of type int.*\n.*null switches"):
        Augmentation(x=3)
    with pytest.raises(ConfigError, match=r"x.keys: is \['image', 'target'\]"):
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


@pytest.mark.parametrize("name", SPATIAL)
@pytest.mark.parametrize(("shape", "size"), SIZES)
def test_the_distance_map_moves_with_the_image(
    name: str, shape: tuple[int, ...], size: tuple[int, ...]
) -> None:
    """The image is its own distance map: after a warp, target and image must be equal."""
    blocks = np.random.default_rng(0).integers(0, 5, [n // 10 + 1 for n in shape])
    labels = np.kron(blocks, np.ones([10] * len(shape), int))[tuple(map(slice, shape))]
    labels = labels.astype(np.uint8)
    valid = np.broadcast_to(np.True_, shape)
    cached = CachedImage("a", labels[None], labels, valid, *object_points(labels, valid))
    cached = dataclasses.replace(cached, image=cached.target_map("distance")[None])
    settings = SamplingSettings(size, 1, patches_per_image=50, foreground_fraction=0.3, seed=1)
    schedule = PatchSchedule([shape], settings)
    intensity = (np.zeros(1, np.float32), np.full(1, 255, np.float32))
    heads = ("foreground", "distance")
    changes = dict.fromkeys((name, "flip", "quarter_turn"), 1)  # in this order
    augmentation = preset("none", *(f"augmentation.{change}.prob=1" for change in changes))
    moved = PatchDataset([cached], [intensity], schedule, augmentation, heads)
    for number in range(6):
        sample = moved[(0, number)]
        counts = sample["weight"][0] > 0
        assert sample["target"][1].amax() > 0.5
        np.testing.assert_allclose(
            sample["target"][1][counts], sample["image"][0][counts], atol=0.003
        )
