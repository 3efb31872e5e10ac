"""Images that are larger than the bound stay on disk in Curate and Compare."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from conftest import make_blobs
from test_viewer_curate import Window, decisions_of, window  # noqa: F401

import cytoloop.io.pixels as pixels
import cytoloop.viewer.session.lazy as lazy
from cytoloop.curation import CurationSettings, curate
from cytoloop.errors import ImageError
from cytoloop.io.writers.tiff import write_image
from cytoloop.manifest import Row
from cytoloop.viewer.readers import find_reader
from cytoloop.viewer.session.dataset import open_dataset
from cytoloop.viewer.session.images import image_state, load_image
from cytoloop.viewer.session.large import open_labels
from cytoloop.viewer.session.lazy import LazyImage, open_image
from cytoloop.viewer.session.regions import add_region
from cytoloop.viewer.session.scores import Scores, load_compared


def lower_the_bounds(patch: pytest.MonkeyPatch) -> None:
    """Let small images count as large: neither read at once nor shown as a whole."""
    patch.setattr(pixels, "IN_MEMORY_BYTES", 0)
    patch.setattr(lazy, "LIMIT_BYTES", 1 << 14)
    patch.setattr(lazy, "WIDE_PIXELS", 1 << 12)
    patch.setattr(lazy, "_OVERVIEW_SIDE", 32)
    patch.setattr(lazy, "_STRIP_VALUES", 1 << 11)


@pytest.fixture
def wide(project: Path) -> Path:
    """Two pictures of 150 x 170 as tiled TIFF with two segmentations; 99 is unlabelled."""
    for number in range(2):
        raw, labels = make_blobs((150, 170), 12, number, radius=9)
        labels[:20] = 99
        other = np.where(labels == 2, 0, labels)
        for name, one in (("raw", raw), ("seg1", labels), ("seg2", other)):
            path = project / name / f"w{number}.tif"
            path.parent.mkdir(exist_ok=True)
            tifffile.imwrite(path, one, tile=(32, 32), compression="zlib")
    curate(
        CurationSettings(
            **{name: project / name for name in ("raw", "seg1", "seg2")},
            ignore_label=99,
            output=project / "dataset",
        )
    )
    return project / "dataset"


def test_what_stays_on_disk_equals_what_is_read(
    wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(wide)
    entry = dataset.entry("w1")
    whole = load_image(entry)
    square = np.zeros(whole.shape, bool)
    square[40:80, 30:90] = True
    nothing = np.zeros(whole.shape, bool)
    add_region(dataset, "w1", "exclude", square, None, nothing)
    add_region(dataset, "w1", "merge", ~square, None, nothing)
    decision = dataset.decision("w1")
    expected = image_state(whole, entry.row, decision, dataset)

    lower_the_bounds(monkeypatch)
    image = load_image(entry)
    assert image.is_large and not whole.is_large and image.shape == whole.shape
    assert image.nbytes == 0  # nothing to keep
    assert np.array_equal(np.asarray(image.raw[0]), whole.raw[0])
    for name in ("seg1", "seg2"):
        assert np.array_equal(np.asarray(image.segmentations[name]), whole.segmentations[name])
    state = image_state(image, entry.row, decision, dataset)
    assert np.array_equal(np.asarray(state.excluded), expected.excluded)
    assert np.array_equal(np.asarray(state.merged), expected.merged)
    target = np.asarray(state.target)
    assert np.array_equal(target > 0, expected.target > 0)
    assert len(np.unique(target)) == len(np.unique(expected.target))
    assert isinstance(state.target, LazyImage)
    full, reduced = state.target.levels
    assert full is state.target and max(reduced.shape) <= 32
    step = -(-170 // 32)
    assert np.array_equal(reduced[...], target[::step, ::step])
    assert np.array_equal(reduced[3:9, 4:7], target[::step, ::step][3:9, 4:7])
    low, high = image.contrast[0]
    assert whole.raw[0].min() <= low < high <= whole.raw[0].max()


def test_wrong_labels_are_reported_before_napari_reads_them(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lower_the_bounds(monkeypatch)
    write_image(project / "a.ome.tif", np.full((90, 90), 0.5, np.float32), "YX")
    write_image(project / "b.ome.tif", np.zeros((2, 90, 90), np.uint8), "CYX")
    with pytest.raises(ImageError, match="holds fractions"):
        open_labels(Row({"labels": str(project / "a.ome.tif")}), "labels")
    with pytest.raises(ImageError, match="has 2 channels"):
        open_labels(Row({"labels": str(project / "b.ome.tif")}), "labels")


def test_a_plane_of_a_stack_of_ome_zarr_is_read_once(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cytoloop.io.writers.zarr import write_zarr

    raw, _ = make_blobs((9, 80, 70), 5, 0)
    write_zarr(project / "s.ome.zarr", raw, "ZYX", (1.0, 0.5, 0.5))
    lower_the_bounds(monkeypatch)
    monkeypatch.setattr(lazy, "LIMIT_BYTES", 90_000)  # room for one plane
    (image,) = open_image(project / "s.ome.zarr")
    assert isinstance(image, LazyImage)
    reads = []
    read = image._read_box
    image._read_box = lambda box: (reads.append(box), read(box))[1]
    for _ in range(2):
        assert np.array_equal(image[4], raw[4])
    assert reads == [(slice(4, 5), slice(0, 80), slice(0, 70))]
    assert np.array_equal(image.middle_plane(), raw[4][::3, ::3])
    reads.clear()
    part = image[:, 5:30, 8:60]  # napari cuts out what is in view, then takes a plane
    assert isinstance(part, LazyImage) and reads == []
    assert np.array_equal(part[6], raw[6, 5:30, 8:60])
    assert reads == [(slice(6, 7), slice(5, 30), slice(8, 60))]
    assert np.array_equal(np.asarray(part), raw[:, 5:30, 8:60])


@pytest.mark.viewer
def test_a_wide_picture_is_curated_from_disk(
    window: Window,  # noqa: F811
    wide: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from qtpy.QtCore import Qt

    lower_the_bounds(monkeypatch)
    window.open(wide)
    shown, row_id = window.viewer.layers, window.current.id
    for name in ("raw", "seg1", "seg2", "target", "excluded", "merged"):
        assert shown[name].multiscale and isinstance(shown[name].data[0], LazyImage)
    assert not shown["target"].editable
    window.curate.regions.use_tool("Rectangle")
    box = [[50, 50], [50, 90], [80, 90], [80, 50]]
    shown["draw region"].add_rectangles(box)
    window.curate.regions.exclude()
    window.wait()
    assert not window.error()
    assert np.asarray(shown["excluded"].data[0])[60, 60] == 1
    window.press(window.curate.correct.buttons["Delete"])
    window.click_image((100.0, 100.0))
    assert "stay on disk" in window.error() and "cytoloop annotate" in window.error()
    boxes = {button.text(): button for button in window.curate.regions.findChildren(_button())}
    window.press(boxes["Brush"])
    assert "this image stays on disk" in window.error()
    window.key(Qt.Key.Key_K)
    found = decisions_of(wide)[row_id]
    assert found.decision == "keep" and found.exclude and found.labels == ""


@pytest.mark.viewer
def test_a_wide_picture_is_compared_and_opened_from_disk(
    window: Window,  # noqa: F811
    wide: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lower_the_bounds(monkeypatch)
    dataset = open_dataset(wide)
    row = dataset.entry("w0").row
    predicted = Row({"id": "w0", "labels": row["seg2"]}, row.root)
    objects = [{"side": "true", "object": "2", "kind": "missed", "y": "60", "x": "60"}]
    scores = Scores((), [{"id": "w0"}], {"w0": objects}, {"w0": predicted}, {"w0": row})
    compared = load_compared(scores, "w0")
    compare = window.panels.compare
    compare.scores = scores
    compare._show(compared)
    window.wait()
    shown = window.viewer.layers
    assert all(shown[name].multiscale for name in ("raw", "truth", "prediction"))
    truth = np.asarray(compared.labels["truth"])
    place = np.argwhere(truth == 2)[0]
    monkeypatch.setattr(compare, "isVisible", lambda: True)
    compare.objects.clearSelection()
    compare._on_click(window.viewer, SimpleNamespace(position=tuple(map(float, place))))
    assert compare.objects.currentRow() == 0
    reader: Any = find_reader(str(wide / "dataset.csv"))
    kinds = {
        options["name"]: (kind, options) for _, options, kind in reader(str(wide / "dataset.csv"))
    }
    assert kinds and all(options["multiscale"] for _, options in kinds.values())
    for data, options, kind in reader(str(wide / "dataset.csv")):
        getattr(window.viewer, f"add_{kind}")(data, **options)


def _button() -> Any:
    from qtpy.QtWidgets import QPushButton

    return QPushButton
