"""Windows over images of any size: the same map from any parts, and no seams."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cytoloop.errors import ConfigError, ImageError, ModelError
from cytoloop.inference.settings import WindowSettings
from cytoloop.inference.volume_storage import VolumeStorage
from cytoloop.inference.windows.layout import WindowLayout, overlap_voxels, receptive_radius
from cytoloop.inference.windows.predictor import Predictor
from cytoloop.inference.windows.probability_maps import predict_maps
from cytoloop.inference.windows.sliding_window import sliding_window_inference, tile_image
from cytoloop.inference.windows.test_time_augmentation import views
from cytoloop.intensity.normalization import intensity_statistics, normalize
from cytoloop.io.pixels import MemoryPixels
from cytoloop.model.checkpoint import build_network, read_checkpoint


def pixels_of(shape: tuple[int, ...], seed: int = 0, dtype: Any = np.uint16) -> MemoryPixels:
    data = np.random.default_rng(seed).integers(100, 1000, (1, *shape)).astype(dtype)
    return MemoryPixels(data, (1.0, 0.5, 0.5), ["0"])


def predictor_of(model: Path, **options: Any) -> Predictor:
    options = {"precision": "32", "accelerator": "cpu", "window": "patch", **options}
    return Predictor([read_checkpoint(model)], WindowSettings(**options))


def whole(model: Path, pixels: MemoryPixels) -> np.ndarray:
    """Return the probability of one pass over the whole image."""
    checkpoint = read_checkpoint(model)
    data = pixels.read(tuple(slice(0, n) for n in pixels.shape))
    rule = checkpoint.image["normalization"]
    image = torch.from_numpy(normalize(data, *intensity_statistics(data, rule)))[None]
    with torch.inference_mode():
        return torch.sigmoid(build_network(checkpoint)(image))[0, 0].numpy()


def mapped(predictor: Predictor, pixels: MemoryPixels) -> np.ndarray:
    """Return the predicted probability."""
    maps = predict_maps("x", pixels, predictor, VolumeStorage(), "float16")
    return np.asarray(maps["probability"], np.float32)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 90), st.integers(2, 40)), min_size=2, max_size=3), st.data()
)
def test_every_voxel_is_covered_and_weights_add_up(sides: list, data: st.DataObject) -> None:
    shape, size = zip(*sides, strict=True)
    stride = [data.draw(st.sampled_from([d for d in (1, 2, 4) if s % d == 0])) for s in size]
    overlap = [data.draw(st.integers(0, s - d)) for s, d in zip(size, stride, strict=True)]
    windows = WindowLayout(shape, size, overlap, stride)
    assert all(n <= wide for n, wide in zip(shape, windows.shape, strict=True))
    total = np.zeros(windows.shape)
    for corner in np.ndindex(*(len(s) for s in windows.starts)):
        box = tuple(
            slice(starts[i], starts[i] + n)
            for starts, i, n in zip(windows.starts, corner, size, strict=True)
        )
        total[box] += windows.weight()
    assert total.min() > 0
    found = windows.total([slice(0, n) for n in windows.shape])
    np.testing.assert_allclose(found, total, rtol=1e-4)
    for starts, n, s, o in zip(windows.starts, windows.shape, size, overlap, strict=True):
        assert starts[0] == 0 and starts[-1] == n - s
        steps = np.diff(starts)
        assert (steps <= s - o).all() and (steps > 0).all()
    for starts, step in zip(windows.starts, stride, strict=True):
        assert not any(start % step for start in starts)


@pytest.mark.parametrize("shape", [(48, 70, 90), (76, 64)])
def test_windows_give_the_same_as_the_whole_image(make_model: Callable, shape: tuple) -> None:
    model = make_model(len(shape), [32, 32, 32][-len(shape) :])
    pixels = pixels_of(shape)
    expected = whole(model, pixels)
    found = mapped(predictor_of(model, overlap=0.5), pixels)
    assert expected.std() > 0.003
    difference = np.abs(found - expected)
    inside = tuple(slice(4, -4) for _ in shape)
    assert np.median(difference[inside]) < 1e-3
    assert difference[inside].max() < 0.1 * np.ptp(expected)


def test_there_are_no_seams(make_model: Callable) -> None:
    model = make_model(2)
    predictor = predictor_of(model, overlap=0.5)
    pixels = pixels_of((120, 130))
    difference = np.abs(mapped(predictor, pixels) - whole(model, pixels))[6:-6, 6:-6]
    sides = predictor.layout((120, 130)).starts[0][1:]
    at = difference[[s - 6 for s in sides if 6 <= s < 114]].mean()
    # at the end of a window its weight is a thousandth of its neighbour's
    assert at < 3 * difference.mean() + 1e-4


def test_neighbouring_boxes_give_the_map_of_the_whole(make_model: Callable) -> None:
    predictor = predictor_of(make_model(3), overlap=0.3)
    pixels = pixels_of((30, 80, 100))
    windows = predictor.layout(pixels.shape)
    levels = predictor.measure_intensity("x", pixels)

    ready = partial(predictor.prepare, levels=levels), partial(predictor.predict, levels=levels)
    whole_box = tuple(slice(0, n) for n in pixels.shape)
    expected = np.zeros(pixels.shape, np.float32)
    for box, maps in sliding_window_inference(pixels, windows, *ready, whole_box, 1, 3):
        expected[box] = maps[0]
    found = np.full(pixels.shape, np.nan, np.float32)
    for z in (slice(0, 7), slice(7, 30)):
        for y in (slice(0, 40), slice(40, 80)):
            for box, maps in sliding_window_inference(
                pixels, windows, *ready, (z, y, slice(0, 100)), 1, 4
            ):
                assert np.isnan(found[box]).all()  # nothing twice
                found[box] = maps[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_large_planes_are_cut_into_parts_that_tile_them() -> None:
    windows = WindowLayout((64, 3000, 2900), (16, 64, 64), (4, 16, 16))
    boxes = tile_image(windows, 1, 1, max_bytes=2**26)
    assert len(boxes) > 4
    area = np.zeros((3000, 2900), np.uint8)
    for box in boxes:
        assert box[0] == slice(0, 64)
        area[box[1:]] += 1
        assert np.prod([s.stop - s.start for s in box[1:]]) * 16 * 12 < 2**26 * 1.3
    assert (area == 1).all()
    assert len(tile_image(windows, 1, 1, max_bytes=2**40)) == 1


def test_images_smaller_than_a_window_are_mirrored(make_model: Callable) -> None:
    predictor = predictor_of(make_model(3))
    for shape in ((3, 20, 50), (2, 9, 7), (8, 32, 5)):
        found = mapped(predictor, pixels_of(shape))
        assert found.shape == shape and (found > 0).all()


def test_the_inverse_of_a_view_restores_the_image() -> None:
    image = torch.arange(2 * 4 * 6 * 6.0).reshape(2, 1, 4, 6, 6)
    assert [len(views(n, (4, 6, 6))) for n in ("none", "flips", "full")] == [1, 8, 16]
    assert len(views("full", (6, 6))) == 8 and len(views("full", (6, 8))) == 4
    seen = set()
    for view in views("full", (4, 6, 6)):
        assert torch.equal(view.invert(view.apply(image)), image)
        seen.add(tuple(view.apply(image).flatten().tolist()))
    assert len(seen) == 16
    with pytest.raises(ConfigError, match="flips"):
        WindowSettings(tta="all")


def test_augmentation_makes_the_result_symmetric(make_model: Callable) -> None:
    predictor = predictor_of(make_model(2, [32, 32]), tta="full")
    pixels = pixels_of((32, 32))
    turned = MemoryPixels(np.rot90(pixels.read((slice(0, 32),) * 2), 1, (1, 2)).copy(), None, ["0"])
    one, other = mapped(predictor, pixels), mapped(predictor, turned)
    np.testing.assert_allclose(np.rot90(one), other, atol=2e-3)
    plain = predictor_of(make_model(2, [32, 32]))
    assert np.abs(np.rot90(mapped(plain, pixels)) - mapped(plain, turned)).max() > 5e-3


def test_an_ensemble_is_the_mean_of_its_members(make_model: Callable) -> None:
    zscore = {"method": "zscore"}  # each network has its own normalisation
    models = [make_model(2, seed=1), make_model(2, seed=2, normalization=zscore)]
    pixels = pixels_of((40, 50))
    members = [mapped(predictor_of(m, overlap=0.25), pixels) for m in models]
    together = Predictor(
        [read_checkpoint(m) for m in models],
        WindowSettings(overlap=0.25, precision="32", accelerator="cpu", window="patch"),
    )
    np.testing.assert_allclose(mapped(together, pixels), np.mean(members, 0), atol=2e-3)
    assert np.abs(members[0] - members[1]).max() > 0.01
    with pytest.raises(ModelError, match="patch_size is"):
        Predictor([read_checkpoint(models[0]), read_checkpoint(make_model(2, [16, 16]))])


def test_intensity_statistics_are_those_of_the_whole_image(make_model: Callable) -> None:
    predictor = predictor_of(make_model(3))
    pixels = pixels_of((80, 200, 210))  # more voxels than statistics are taken from
    data = pixels.read(tuple(slice(0, n) for n in pixels.shape))
    expected = intensity_statistics(data, predictor.image["normalization"])
    (found,) = predictor.measure_intensity("x", pixels)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_background_nan_and_infinities(make_model: Callable) -> None:
    predictor = predictor_of(make_model(2))
    flat = MemoryPixels(np.full((1, 40, 40), 7, np.uint8), None, ["0"])
    assert predictor.measure_intensity("x", flat) is None and not mapped(predictor, flat).any()
    spotted = pixels_of((40, 40), dtype=np.float32)
    clean = mapped(predictor, spotted)
    spotted.read((slice(0, 40),) * 2)[0, 3, 3] = np.nan
    found = mapped(predictor, spotted)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[24:, 24:], clean[24:, 24:], atol=2e-3)
    with pytest.raises(ImageError, match="all NaN"):
        predictor.measure_intensity("x", MemoryPixels(np.full((1, 9, 9), np.nan), None, ["0"]))


def test_empty_windows_are_skipped_only_with_skip_empty(make_model: Callable) -> None:
    model = make_model(2)
    data = np.full((1, 64, 64), 50, np.uint16)
    data[:, 40:, 40:] = np.random.default_rng(0).integers(0, 900, (24, 24))
    pixels = MemoryPixels(data, None, ["0"])
    assert mapped(predictor_of(model, overlap=0.0), pixels)[:20, :20].min() > 0
    skipping = predictor_of(model, overlap=0.0, skip_empty=True)
    assert mapped(skipping, pixels)[:20, :20].max() == 0


def test_the_receptive_radius_is_that_of_the_convolutions() -> None:
    three = torch.nn.Conv3d(1, 1, 3, padding=1)
    torch.nn.init.constant_(three.weight, 1.0)
    assert receptive_radius(three, 1, (9, 15, 15)) == (1, 1, 1)
    one = torch.nn.Conv3d(1, 1, 1)
    assert receptive_radius(one, 1, (9, 15, 15)) == (0, 0, 0)
    assert overlap_voxels("auto", (16, 64, 64), (3, 5, 90)) == (6, 10, 32)
    assert overlap_voxels(0.25, (16, 64, 64), (3, 5, 90)) == (4, 16, 16)


def test_a_batch_that_does_not_fit_into_memory_is_split(
    make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = WindowSettings(precision="32", window="patch", batch_size=8)
    predictor = Predictor([read_checkpoint(make_model(2))], settings)
    pixels = MemoryPixels(np.random.default_rng(0).random((1, 100, 90), np.float32), None, "a")
    whole = mapped(predictor, pixels)
    predict_batch, sizes = predictor.predict_batch, []

    def small(windows: np.ndarray, levels: Any) -> np.ndarray:
        sizes.append(len(windows))
        if len(windows) > 3:
            raise torch.OutOfMemoryError
        return predict_batch(windows, levels)

    monkeypatch.setattr(predictor, "predict_batch", small)
    np.testing.assert_array_equal(mapped(predictor, pixels), whole)
    assert sizes[0] > 3 and max(sizes[2:]) <= 3  # the limit is kept

    def none(windows: np.ndarray, levels: Any) -> np.ndarray:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(predictor, "predict_batch", none)
    with pytest.raises(torch.OutOfMemoryError):
        mapped(predictor, pixels)


@pytest.mark.parametrize(
    "heads",
    [
        ["foreground", "../../x"],
        ["distance"],
        "distance",
        ["foreground", {"_target_": "os.system"}],
    ],
)
def test_unknown_heads_are_refused(make_model: Callable[..., Path], heads: Any) -> None:
    predictor = predictor_of(make_model(2, heads=heads))
    pixels = MemoryPixels(np.random.default_rng(0).random((1, 40, 40), np.float32), None, "a")
    with pytest.raises(ModelError, match="its heads are"):
        mapped(predictor, pixels)


def test_heads_without_an_output_of_the_network_are_refused(
    make_model: Callable[..., Path],
) -> None:
    predictor = predictor_of(make_model(2, heads=["foreground", "distance"]))
    pixels = MemoryPixels(np.random.default_rng(0).random((1, 40, 40), np.float32), None, "a")
    with pytest.raises(ModelError, match="has 1 outputs for probability, distance"):
        mapped(predictor, pixels)
