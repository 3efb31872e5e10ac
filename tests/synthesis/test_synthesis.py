"""Synthetic images: repeatable, with labels that hold what the settings ask for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cc3d
import numpy as np
import pytest
from skimage.measure import regionprops

from cytoloop.__main__ import main
from cytoloop.io.read import read_image
from cytoloop.synthesis.image import draw_image
from cytoloop.synthesis.settings import LAYOUTS, SHAPES, SynthesisSettings
from cytoloop.synthesis.shapes import REACH, draw_shape

PLAIN = SynthesisSettings(
    shape=(16, 64, 64),
    spacing_um=(1.0, 0.5, 0.5),
    object_diameter_um=(8, 8),
    size_spread=(0, 0),
    crowding=(0.1, 0.1),
    contact=(1.1, 1.1),
    photons=(100, 100),
)
TINY = ["number=2", "synthesis.shape=[8,32,32]", "synthesis.crowding=[0.1,0.2]"]


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert main(["synthesize", *TINY, f"seed={seed}", f"output={folder}"]) == 0
    assert files(Path("a")) == files(Path("b"))
    assert len(files(Path("a"))) == 5
    images = [read_image(next(Path(f, "raw").glob("*_0000.ome.tif"))) for f in "ac"]
    assert not np.array_equal(images[0].data, images[1].data)
    # more images are added to those that are there
    assert main(["synthesize", *TINY, "number=3", "seed=3", "output=a"]) == 0
    assert files(Path("b")).items() <= files(Path("a")).items()
    words = ["raw=a/raw", "seg1=a/seg", "output=dataset", "valid=0.3", "test=0.3"]
    assert main(["curate", *words, "split.leakage=allow"]) == 0


@pytest.mark.parametrize("shape", [(64, 96), (16, 64, 64)])
def test_labels_are_whole_numbered_objects_on_bright_voxels(shape: tuple[int, ...]) -> None:
    every = {"layouts": tuple((n, 1.0) for n in LAYOUTS), "shapes": tuple((n, 1.0) for n in SHAPES)}
    settings = replace(PLAIN, shape=shape, crowding=(0.2, 0.4), contact=(0.7, 0.9), **every)
    for number in range(6):
        image = draw_image(settings, 1, number)
        assert image.raw.dtype == image.labels.dtype == np.uint16
        assert image.raw.shape == image.labels.shape == shape
        found = np.unique(image.labels)
        assert np.array_equal(found, np.arange(len(found)))
        assert len(found) > 2
        pieces = cc3d.connected_components(image.labels, connectivity=6 if len(shape) == 3 else 4)
        assert pieces.max() == found[-1]
        inside, outside = (image.raw[image.labels > 0], image.raw[image.labels == 0])
        assert np.median(inside) > np.median(outside)


def test_objects_have_the_size_and_the_anisotropy_asked_for() -> None:
    settings = replace(PLAIN, blur=(0.02, 0.02), outline=(0.5, 0.5), axial_blur=(1, 1))
    for anisotropy, diameter in ((1.0, 6.0), (2.0, 10.0)):
        one = replace(
            settings,
            shape=(32, 64, 64),
            anisotropy=(anisotropy,) * 2,
            object_diameter_um=(diameter,) * 2,
        )
        images = [draw_image(one, 5, number) for number in range(4)]
        spacing = images[0].spacing_um
        assert spacing == pytest.approx((0.5 * anisotropy, 0.5, 0.5))
        regions = [r for image in images for r in regionprops(image.labels)]
        whole = [
            r
            for r in regions
            if min(r.bbox[:3]) > 0
            and all(b < n for b, n in zip(r.bbox[3:], one.shape, strict=True))
        ]
        assert len(whole) > 5
        volumes = [r.area * np.prod(spacing) for r in whole]
        assert np.median(volumes) == pytest.approx(np.pi / 6 * diameter**3, rel=0.2)
        sides = np.mean([np.subtract(r.bbox[3:], r.bbox[:3]) for r in whole], axis=0)
        assert sides[1] / sides[0] == pytest.approx(anisotropy, rel=0.25)


def test_labels_reach_as_far_as_the_outline_says() -> None:
    tight, wide = (
        draw_image(replace(PLAIN, blur=(0.3, 0.3), outline=(o, o), contact=(2, 2)), 2)
        for o in (0.5, 0.2)
    )
    assert np.array_equal(tight.raw, wide.raw)
    assert (wide.labels > 0).sum() > 1.3 * (tight.labels > 0).sum()


def test_labels_of_planes_judged_each_for_itself_reach_further_along_z() -> None:
    whole, by_plane = (
        draw_image(replace(PLAIN, blur=(0.3, 0.3), contact=(2, 2), by_plane=(b, b)), 2)
        for b in (0, 0.5)
    )
    assert np.array_equal(whole.raw, by_plane.raw)
    sides = [
        np.mean([(p.bbox[3] - p.bbox[0], p.bbox[4] - p.bbox[1]) for p in found], axis=0)
        for found in (regionprops(whole.labels), regionprops(by_plane.labels))
    ]
    more = sides[1] - sides[0]
    assert more[0] >= 1 and more[1] <= 0.3 * more[0], more
    grown = by_plane.labels > 0
    assert not (whole.labels > 0)[~grown].any()


def test_one_contrast_for_all_draws_bright_objects_wider_and_dim_ones_tighter() -> None:
    settings = replace(PLAIN, blur=(0.3, 0.3), contact=(2, 2), brightness_spread=(0.8, 0.8))
    own, shared = (draw_image(replace(settings, one_contrast=(c, c)), 2) for c in (1e-9, 0.6))
    assert np.array_equal(own.raw, shared.raw)
    light = {p.label: p.intensity_mean for p in regionprops(own.labels, own.raw)}
    ratios = []
    for label, brightness in light.items():
        there = np.bincount(shared.labels[own.labels == label], minlength=1)
        if there[1:].any():
            now = int(there[1:].argmax()) + 1
            ratio = (shared.labels == now).sum() / (own.labels == label).sum()
            ratios.append((brightness, ratio))
    ratios.sort()
    assert len(ratios) > 5 and ratios[0][1] < 0.9 and ratios[-1][1] > 1.05, ratios


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", SHAPES)
def test_a_shape_ends_within_its_reach(kind: str, dims: int) -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(2000, dims))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    for _ in range(20):
        level = draw_shape(kind, dims, rng)
        assert (level((points * REACH[kind]).astype(np.float32)) > 1).mean() > 0.99
        inner = level((points * rng.uniform(0, 0.3, (2000, 1))).astype(np.float32))
        assert (inner < 1).mean() > 0.5


def test_wrong_settings_are_told_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["number=0", "synthesis.photons=[5,1]", "synthesis.shape=[3,3]", "synthesis.blur=0.1"]
    assert main(["synthesize", *words, "output=out", "+synthesis.shapes.cube=1"]) == 2
    error = capsys.readouterr().err
    for part in ("photons is [5, 1]", "shape is [3, 3]", "blur is 0.1", "shapes is {"):
        assert f"synthesis.{part}" in error
    assert "number is 0" in error
    assert main(["synthesize", "number=0", "output=out"]) == 2
    assert "number: is 0, expected 1 to 100000" in capsys.readouterr().err
    assert not Path("out").exists()


def test_other_files_are_neither_mixed_with_nor_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = [*TINY, "number=1"]
    assert main(["synthesize", *small, "output=out"]) == 0
    assert main(["synthesize", *small, "output=out", "seed=2"]) == 2
    assert "holds no synthetic images of these settings" in capsys.readouterr().err
    assert main(["synthesize", *small, "output=out", "seed=2", "overwrite=true"]) == 0
    assert [path.name for path in Path("out/raw").iterdir()] == ["seed2_0000.ome.tif"]
    Path("out/mine.txt").write_text("kept")
    assert main(["synthesize", *small, "output=out", "overwrite=true"]) == 2
    assert "holds more than synthetic images" in capsys.readouterr().err
    assert len(files(Path("out"))) == 4


def test_objects_that_noise_or_other_light_hides_have_no_label() -> None:
    plain = replace(PLAIN, brightness_spread=(0, 0))
    settings = (plain, replace(plain, background=(20, 20)), replace(plain, photons=(0.2, 0.2)))
    clear, foggy, dark = (
        sum(int(draw_image(one, seed).labels.max()) for seed in (3, 4, 5)) for one in settings
    )
    assert clear > foggy > dark == 0


def test_an_image_of_a_series_shows_an_object() -> None:
    rare = replace(PLAIN, shape=(8, 32, 32), crowding=(0.01, 0.01), photons=(1, 40))
    assert all(draw_image(rare, 6, number).labels.any() for number in range(8))


def test_tails_of_the_optics_show_an_object_above_and_below_itself() -> None:
    one = replace(
        PLAIN, shape=(24, 48, 48), haze=(0, 0), background=(0, 0), crowding=(1e-3, 1e-3),
        read_noise=(0, 0), debris=(0, 0), depth_loss=(0, 0),
    )  # fmt: skip
    above = []
    for tails in (0, 3):
        images = [draw_image(replace(one, tails=(tails, tails)), 8, n) for n in range(5)]
        outside = [image.raw[:, (image.labels > 0).any(0)] for image in images]
        above.append(np.mean([np.median(o / o.max()) for o in outside]))
    assert above[1] > above[0]
