"""The preview: it shows the patches that training uses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from matplotlib.image import imread

from cytoloop.__main__ import main
from cytoloop.data.cached_image import CachedImage
from cytoloop.data.dataset import PatchDataset
from cytoloop.data.patch_schedule import PatchSchedule
from cytoloop.data.preview import draw_preview
from cytoloop.data.settings import SamplingSettings

CONFIGS = str(Path(__file__).parents[2] / "configs")


def preview(cached: CachedImage, patch: list[int], preset: str):
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        augmentation = instantiate(compose(overrides=[f"+augmentation={preset}"]).augmentation)
    channels = len(cached.image)
    intensity = [(np.zeros(channels, np.float32), np.ones(channels, np.float32))]
    settings = SamplingSettings(patch, 4, patches_per_image=12, foreground_fraction=0.3)
    schedule = PatchSchedule([cached.shape], settings)
    patches = PatchDataset([cached], intensity, schedule, augmentation)
    return draw_preview(patches, augmentation, 0)


def titles(figure) -> list[str]:
    return [axes.get_title().split("\n")[0] for axes in figure.axes if axes.get_title()]


@pytest.mark.parametrize("shape, patch", [((8, 40, 40), [4, 24, 24]), ((40, 40), [24, 24])])
def test_preview_shows_twelve_patches_then_each_active_transform(
    shape: tuple[int, ...], patch: list[int]
) -> None:
    image = np.random.default_rng(0).random((1, *shape)).astype(np.float32)
    labels = np.zeros(shape, np.uint8)
    labels[..., 10:20, 10:20] = 1
    points = np.argwhere(labels)[:8].astype(np.int32)
    cached = CachedImage("one", image, labels, np.ones(shape, bool), points, np.array([0, 8]))
    found = titles(preview(cached, patch, "light"))
    assert found == ["one"] * 12 + ["original", "flip, p = 1", "quarter_turn, p = 0.75"]


def test_target_is_outlined_and_excluded_voxels_are_tinted() -> None:
    shape = (32, 32)
    labels = np.zeros(shape, np.uint8)
    labels[10:20, 10:20] = 1
    valid = np.ones(shape, bool)
    valid[:, 24:] = False
    points, valid_points = (np.argwhere(a).astype(np.int32) for a in (labels, valid))
    image = np.zeros((1, *shape), np.float32)
    starts = np.array([0, len(points)])
    cached = CachedImage("one", image, labels, valid, points, starts, valid_points)
    tile = preview(cached, [32, 32], "none").axes[0]
    assert len(tile.images) == 2  # the image and the tint
    np.testing.assert_array_equal(np.ma.getmaskarray(tile.images[1].get_array()), valid)
    edges = np.concatenate([p.vertices for c in tile.collections for p in c.get_paths()])
    assert edges.min() == 9.5 and edges.max() == 19.5  # around the object


def test_check_writes_the_preview(
    tmp_path: Path, images_3d: Path, monkeypatch: pytest.MonkeyPatch, tiff: Callable
) -> None:
    monkeypatch.chdir(tmp_path)
    source = (f"raw={images_3d}/raw", f"seg1={images_3d}/seg")
    assert main(["curate", *source, "output=d"]) == 0
    words = ["check", "data.path=d", "data.patch_size=[8,32,32]"]
    assert main([*words, "preview=previews/one.png"]) == 0
    picture = imread(tmp_path / "previews/one.png")
    assert picture.shape[0] > 500 and picture.std() > 0.05
    assert main([*words, "preview=true"]) == 0 and (tmp_path / "preview.png").is_file()
