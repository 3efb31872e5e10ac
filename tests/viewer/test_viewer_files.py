"""Files that napari opens and saves with the plugin; results and scores as the panels read them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_images, write_tiff

from cytoloop.curation import CurationSettings, curate
from cytoloop.errors import ConfigError, ImageError, ManifestError
from cytoloop.io.labels import read_labels
from cytoloop.io.read import read_image
from cytoloop.io.writers.tiff import write_image
from cytoloop.manifest import read_manifest, write_manifest
from cytoloop.truth.regions import read_region, write_polygons_npy
from cytoloop.viewer.readers import find_reader, write_region_layer
from cytoloop.viewer.session.layer_files import predicted_count, save_layer, saved_layer, spacing_of
from cytoloop.viewer.session.scores import (
    OTHER,
    evaluate_words,
    load_compared,
    read_other,
    read_scores,
)
from cytoloop.viewer.session.thresholds import (
    load_maps,
    read_rows,
    try_settings,
    tuned_settings,
)


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    """A ``predictions.csv`` of one stack, whose two objects a threshold of 0.9 parts."""
    folder = tmp_path / "preds"
    probability = np.zeros((6, 20, 40), np.uint8)
    probability[1:5, 5:15, 4:18] = probability[1:5, 5:15, 22:36] = 250
    probability[1:5, 8:12, 18:22] = 180
    labels = (probability > 128).astype(np.uint8)
    for name, pixels in (("probability", probability), ("labels", labels)):
        write_image(folder / name / "a.ome.tif", pixels, "ZYX", (1.0, 0.5, 0.5))
    write_image(folder / "raw" / "a.ome.tif", probability, "ZYX", (1.0, 0.5, 0.5))
    cells = {
        "id": "a",
        "raw": "raw/a.ome.tif",
        "probability": "probability/a.ome.tif",
        "labels": "labels/a.ome.tif",
        "status": "done",
    }
    failed = {"id": "b", "raw": "raw/a.ome.tif", "status": "failed", "reason": "no such channel"}
    pending = {"id": "c", "raw": "raw/a.ome.tif", "status": "pending"}
    write_manifest(folder / "predictions.csv", [cells, failed, pending], (*cells, "reason"))
    return folder / "predictions.csv"


def test_other_values_are_tried_on_the_stored_map(predictions: Path) -> None:
    rows = read_rows(predictions.parent)
    stored = load_maps(rows[0])
    assert stored.spacing_um == (1.0, 0.5, 0.5)
    tuned = tuned_settings(stored)
    assert (tuned["threshold"], tuned["seed_smoothing"], tuned["min_depth"]) == (0.5, 1.0, 0.2)
    assert 0 < tuned["min_volume_um3"] < 50
    counts = {}
    for threshold in (0.5, 0.9):
        settings = {"threshold": threshold, "min_depth": 0.95, "seed_smoothing": 1.0}
        labels, planes = try_settings(stored, settings, plane=3)
        assert labels.shape == (6, 20, 40) and planes == slice(0, 6)
        counts[threshold] = len(np.unique(labels)) - 1
    assert counts == {0.5: 1, 0.9: 2}
    labels, _ = try_settings(stored, {"threshold": 0.9, "min_volume_um3": 1e6}, plane=3)
    assert not labels.any()


def test_of_a_large_stack_the_visible_slice_is_tried(
    predictions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cytoloop.viewer.session.thresholds as thresholds

    monkeypatch.setattr(thresholds, "_BLOCK_VOXELS", 100)
    stored = load_maps(read_rows(predictions)[0])
    labels, planes = try_settings(stored, {"threshold": 0.9, "min_volume_um3": 50.0}, plane=2)
    assert planes == slice(2, 3) and labels.shape == (1, 20, 40)
    assert len(np.unique(labels)) == 3


def test_rows_without_a_map_are_reported_in_words(predictions: Path) -> None:
    rows = read_rows(predictions)
    with pytest.raises(ImageError, match="no such channel"):
        load_maps(rows[1])
    with pytest.raises(ImageError, match="has no probability map"):
        load_maps(rows[2])
    with pytest.raises(ManifestError, match="no such manifest"):
        read_rows(predictions.parent / "other")
    assert predicted_count(predictions.parent) == (2, 3)
    assert predicted_count(predictions.parent / "other") == (0, 0)


def test_a_layer_becomes_a_file_with_its_voxel_size(tmp_path: Path) -> None:
    pixels = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    path = save_layer(tmp_path, "my layer [1]", pixels, (2.0, 0.5, 0.5))
    image = read_image(path)
    assert np.array_equal(image.data[0], pixels)
    assert image.spacing_um == pytest.approx((2.0, 0.5, 0.5))
    assert saved_layer(path, ["other", "my layer [1]"]) == "my layer [1]"
    assert saved_layer(path, ["other"]) is None
    assert saved_layer(tmp_path / path.name, ["my layer [1]"]) is None


def test_a_layer_of_colours_becomes_channels_and_other_axes_are_refused(tmp_path: Path) -> None:
    pixels = np.arange(4 * 5 * 4, dtype=np.uint8).reshape(4, 5, 4)
    image = read_image(save_layer(tmp_path, "slide", pixels, None, is_colour=True))
    assert image.channels == ("red", "green", "blue")
    assert np.array_equal(image.data.reshape(3, 4, 5), np.moveaxis(pixels[..., :3], -1, 0))
    with pytest.raises(ImageError, match=r"has 4 axes \(2, 3, 4, 5\)"):
        save_layer(tmp_path, "movie", np.zeros((2, 3, 4, 5)), None)
    assert not (tmp_path / "layers" / "movie.ome.tif").exists()


@pytest.mark.viewer
def test_the_voxel_size_of_a_layer_is_in_um() -> None:
    from napari.layers import Image

    from cytoloop.viewer.panels.layers import pixels_of

    def stated(**options: Any) -> Any:
        layer = Image(np.zeros((4, 5, 6)), **options)
        return spacing_of(layer.scale, layer.units)

    nanometres = stated(scale=(300, 65, 65), units=("nm",) * 3)
    assert nanometres == pytest.approx((0.3, 0.065, 0.065))
    assert stated(scale=(2, 0.3, 0.3)) == (2, 0.3, 0.3)
    assert stated() is None
    assert stated(units=("um",) * 3) == (1, 1, 1)
    assert spacing_of((2, 0.5, 0.5), ()) == (2, 0.5, 0.5)
    levels = Image([np.zeros((64, 64)), np.zeros((32, 32))], multiscale=True)
    assert pixels_of(levels).shape == (64, 64)


def test_scores_are_shown_from_the_worst_image_with_error_colours(tmp_path: Path) -> None:
    from cytoloop.__main__ import main

    images = make_images(tmp_path, 3)
    dataset = tmp_path / "dataset"
    curate(CurationSettings(raw=images / "raw", seg1=images / "seg", output=dataset))
    rows = []
    for row in read_manifest(dataset / "dataset.csv"):
        labels = read_labels(row.file("seg1") or "")
        if row.id == "img_1":
            labels[labels == 2] = 0
        write_tiff(tmp_path / "preds" / f"{row.id}.tif", labels)
        rows.append({"id": row.id, "labels": f"{row.id}.tif", "status": "done"})
    write_manifest(tmp_path / "preds" / "predictions.csv", rows, ("id", "labels", "status"))
    values = {
        "predictions": str(tmp_path / "preds" / "predictions.csv"),
        "truth": str(dataset / "dataset.csv"),
        "output": str(tmp_path / "scores"),
    }
    with pytest.raises(ConfigError, match=r"Predictions is empty\n.*Truth is empty"):
        evaluate_words({})
    with pytest.raises(ManifestError, match=r"holds no metrics\.csv"):
        read_scores(tmp_path / "scores", values["predictions"], values["truth"])
    assert main(["evaluate", *evaluate_words(values), "overlays=0", "log_to_mlflow=false"]) == 0
    scores = read_scores(values["output"], values["predictions"], values["truth"])
    assert scores.images[0]["id"] == "img_1"
    assert scores.objects["img_1"][0]["kind"] == "missed"
    compared = load_compared(scores, "img_1")
    assert compared.colours["truth"][2] == "#56B4E9"
    assert set(compared.colours["prediction"].values()) == {"#009E73"}
    assert compared.raw is not None and compared.labels["truth"].shape == compared.raw.shape[1:]
    with pytest.raises(ManifestError, match="Objects can be shown from a folder"):
        read_other("runs:/1", values["truth"])
    with pytest.raises(ManifestError, match=r"holds no metrics\.csv"):
        read_other(tmp_path, values["truth"])
    found = read_labels(tmp_path / "preds" / "img_1.tif")
    other = read_other(values["output"], values["truth"])  # its table names the predicted labels
    both = load_compared(scores, "img_1", other)
    assert np.array_equal(both.labels[OTHER], found)
    assert set(both.colours[OTHER]) == set(np.unique(found)) - {0}


def test_region_files_and_tables_open_and_labels_are_saved_as_a_region(
    tmp_path: Path, predictions: Path
) -> None:
    square = np.array([[2, 2], [2, 8], [8, 8], [8, 2]], float)
    write_polygons_npy(tmp_path / "region.npy", [square])
    reader = find_reader(str(tmp_path / "region.npy"))
    assert reader is not None
    ((shapes, options, kind),) = reader([str(tmp_path / "region.npy")])
    assert kind == "shapes" and options["shape_type"] == "polygon"
    assert np.array_equal(shapes[0], square)
    reader = find_reader([str(predictions)])
    assert reader is not None
    kinds = {data[1]["name"]: data[2] for data in reader(str(predictions))}
    assert kinds["a labels"] == "labels" and len(kinds) == 2
    (tmp_path / "other.csv").write_text("x,y\n1,2\n")
    assert find_reader(str(tmp_path / "other.csv")) is None
    assert find_reader("image.tif") is None
    labels = np.zeros((6, 9, 9), np.uint8)
    labels[2, 3:5, 3:5] = 7
    (path,) = write_region_layer(
        str(tmp_path / "r.ome.tif"), labels, {"scale": np.array([2, 0.5, 0.5])}
    )
    assert np.array_equal(read_region(path, labels.shape), labels > 0)
    assert read_image(path).spacing_um == pytest.approx((2.0, 0.5, 0.5))


def test_napari_finds_the_plugin_by_its_manifest() -> None:
    npe2 = pytest.importorskip("npe2")
    plugin = npe2.PluginManifest.from_distribution("cytoloop")
    assert [widget.display_name for widget in plugin.contributions.widgets] == ["CytoLoop"]
    assert plugin.contributions.readers and plugin.contributions.writers


@pytest.mark.viewer
def test_the_commands_of_the_manifest_can_be_imported(qapp: object) -> None:
    import npe2

    npe2.PluginManifest.from_distribution("cytoloop").validate_imports()


@pytest.mark.parametrize(
    ("words", "display", "message"),
    [
        (["data.path=nowhere", "input=no/where"], ":0", "input=no/where: no such file or folder"),
        ([], "", "there is no screen"),
        (["dataset=x"], ":0", "dataset"),
    ],
)
def test_view_says_what_is_wrong_before_it_opens_a_window(
    words: list[str],
    display: str,
    message: str,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from cytoloop.__main__ import main

    monkeypatch.setattr("sys.platform", "linux")
    for name in ("WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", display)
    assert main(["view", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_large_prediction_stays_on_disk_and_its_slice_is_tried(
    predictions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cytoloop.viewer.session.lazy as lazy
    import cytoloop.viewer.session.thresholds as thresholds

    whole = load_maps(read_rows(predictions)[0])
    monkeypatch.setattr(lazy, "LIMIT_BYTES", 100)
    monkeypatch.setattr(thresholds, "_BLOCK_VOXELS", 100)
    stored = load_maps(read_rows(predictions)[0])
    image = stored.maps["probability"]
    expected = np.asarray(whole.maps["probability"])
    assert isinstance(image, lazy.LazyImage) and isinstance(stored.labels, lazy.LazyImage)
    assert stored.raw is not None and isinstance(stored.raw[0], lazy.LazyImage)
    assert (image.shape, image.ndim, image.dtype) == ((6, 20, 40), 3, np.uint8)
    indices: list[object] = [2, (2, slice(3, 9)), (slice(None), 4), (..., 5), -1, slice(1, 5, 2)]
    for index in indices:
        assert np.array_equal(image[index], expected[index])  # type: ignore[index]
    assert np.array_equal(np.asarray(image), expected) and len(image) == 6
    labels, planes = try_settings(stored, {"threshold": 0.9, "min_volume_um3": 50.0}, plane=2)
    assert planes == slice(2, 3) and len(np.unique(labels)) == 3
    wide = replace(stored, maps={"probability": lazy.lazy_zeros((300, 300), np.uint8)})
    with pytest.raises(ConfigError, match="too many to try values on"):
        try_settings(wide, {"threshold": 0.9}, plane=0)


def test_a_decisions_log_opens_its_last_image_and_the_sample_has_a_voxel_size(
    tmp_path: Path,
) -> None:
    from cytoloop.curation import append_decision
    from cytoloop.viewer.readers import make_sample

    images = make_images(tmp_path, 3)
    dataset = tmp_path / "dataset"
    curate(CurationSettings(raw=images / "raw", seg1=images / "seg", output=dataset))
    log = dataset / "decisions.csv"
    append_decision(log, {"id": "img_1", "decision": "reject", "exclude": "saturated"})
    reader = find_reader(str(log))
    assert reader is not None
    names = [data[1]["name"] for data in reader(str(log))]
    assert [name.startswith("img_1 ") for name in names] == [True] * 3
    assert "img_1 target (reject)" in names
    sample = make_sample()
    assert [kind for _, _, kind in sample] == ["image", "labels"]
    assert sample[0][1]["units"] == ("um",) * 3 and sample[1][0].max() > 3
