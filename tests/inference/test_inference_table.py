"""The table predictions.csv: finished images are kept, and only those of the same run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import KilledWorker
from skimage.filters import threshold_otsu
from test_inference_predict import noise, place, predict, rows_of, write

from cytoloop.errors import ImageError
from cytoloop.inference import cluster, image_task, volume_storage
from cytoloop.inference.image_task import ImageTask
from cytoloop.inference.inputs.list_inputs import list_inputs, unique_names
from cytoloop.inference.model_source import ModelSource
from cytoloop.inference.results.predictions_csv import PredictionsTable
from cytoloop.inference.settings import PredictionSettings
from cytoloop.io.read import read_image
from cytoloop.io.writers.tiff import write_image
from cytoloop.manifest import Row
from cytoloop.workers.cluster import result_of

__all__ = ["place"]  # a fixture
COMMON = {"model_sha256": "m", "settings": "s"}


def rows(folder: Path, *names: str) -> list[Row]:
    return [Row({"id": n, "raw": f"{n}.tif"}, folder) for n in names]


def is_kept(table: PredictionsTable, number: int, content: str) -> bool:
    """Keep the earlier results of a row if it is up to date."""
    table.set_input(number, content)
    kept = table.is_up_to_date(number)
    if kept:
        table.keep_earlier(number)
    return kept


def test_a_second_kill_loses_no_finished_image(tmp_path: Path) -> None:
    (tmp_path / "labels.tif").touch()
    found = {"status": "done", "labels": "labels.tif"}
    first = PredictionsTable(tmp_path, rows(tmp_path, "a", "b"), COMMON)
    for number in (0, 1):
        assert not is_kept(first, number, f"content {number}")
        first.finish(number, "ab"[number], found, PredictionSettings())
    # killed with a journal; then killed again before anything was compared
    PredictionsTable(tmp_path, rows(tmp_path, "a", "b"), COMMON)
    second = PredictionsTable(tmp_path, rows(tmp_path, "a", "b", "c"), COMMON)
    assert is_kept(second, 0, "content 0") and not is_kept(second, 1, "changed")
    second.write()  # and killed while the other images are predicted
    third = PredictionsTable(tmp_path, rows(tmp_path, "a", "b", "c"), COMMON)
    assert is_kept(third, 0, "content 0")
    assert not is_kept(third, 1, "content 1")  # its files may have been replaced in part


def test_a_moved_image_has_its_new_path(make_model: Callable, place: Path) -> None:
    model = make_model(2)
    write(place / "in/a.ome.tif", noise((40, 40)))
    assert predict(f"checkpoint={model}", "input=in", "output=p") == 0
    (place / "in").rename(place / "moved")
    assert predict(f"checkpoint={model}", "input=moved", "output=p") == 0
    assert rows_of(place / "p")["a"]["raw"] == str(place / "moved/a.ome.tif")


def test_reprocessed_results_are_not_mistaken_for_predicted_ones(
    make_model: Callable, place: Path
) -> None:
    model = make_model(2)
    write(place / "in/a.ome.tif", noise((40, 40)))
    otsu = "postprocess=otsu"
    assert predict(f"checkpoint={model}", "input=in", "output=q", otsu) == 0
    assert predict(f"checkpoint={model}", "input=in", "output=p", "tta=flips") == 0
    assert predict("reprocess=p/predictions.csv", otsu) == 0  # in place
    assert predict(f"checkpoint={model}", "input=in", "output=p", otsu) == 0
    one, other = (read_image(place / f"{o}/probability/a.ome.tif").data for o in "pq")
    np.testing.assert_array_equal(one, other)


def test_reprocessing_keeps_failed_rows_and_survives_a_stop(
    make_model: Callable,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name in "ab":
        write(place / f"in/{name}.ome.tif", noise((40, 40), ord(name)))
    (place / "in/broken.tif").touch()
    assert predict(f"checkpoint={make_model(2)}", "input=in", "output=p") == 2
    whole = image_task.cells_or_failure
    calls: list[int] = []

    def stopped(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(work)

    monkeypatch.setattr("cytoloop.inference.reprocess.cells_or_failure", stopped)
    assert predict("reprocess=p/predictions.csv", "postprocess=value") == 130
    found = rows_of(place / "p")
    assert {n: r["status"] for n, r in found.items()} == {
        "a": "done", "b": "pending", "broken": "failed",
    }  # fmt: skip
    monkeypatch.setattr("cytoloop.inference.reprocess.cells_or_failure", whole)
    capfd.readouterr()
    assert predict("reprocess=p/predictions.csv", "postprocess=value") == 2
    text = capfd.readouterr().err
    assert "broken: " in text and "0 bytes" in text and "The other 2 are done" in text


def test_maps_without_a_voxel_size_are_not_given_one(make_model: Callable, place: Path) -> None:
    write(place / "in/a.ome.tif", noise((12, 40, 40)), None)  # type: ignore[arg-type]
    words = ("format=ome-zarr", "postprocess=value")
    assert predict(f"checkpoint={make_model()}", "input=in", "output=p", *words) == 0
    assert predict("reprocess=p/predictions.csv", "output=q", *words) == 0
    one, other = (rows_of(place / o)["a"] for o in "pq")
    assert one["spacing_um"] == other["spacing_um"] == ""
    labels = [read_image(place / o / r["labels"]).data for o, r in (("p", one), ("q", other))]
    np.testing.assert_array_equal(*labels)


def test_names_with_a_number_are_unique(tmp_path: Path) -> None:
    made = [Row({"id": n, "raw": f"in/{n}.tif"}, tmp_path) for n in ("a", "a", "in__a-1")]
    names = unique_names(made)
    assert len({name.lower() for name in names}) == 3
    for name in ("a.ome.tif", "a.tif", "in__a-1.ome.tif"):
        write(tmp_path / "in" / name, noise((20, 20)))
    listed = list_inputs(tmp_path / "in")
    assert len({row.id for row in listed}) == len({row["name"] for row in listed}) == 3


def test_an_image_that_cannot_be_fetched_fails_alone(
    make_model: Callable, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(place / "a.ome.tif", noise((40, 40)))
    (place / "t.csv").write_text("id,raw\na,a.ome.tif\nb,http://127.0.0.1:9/b.tif\n")
    assert predict(f"checkpoint={make_model(2)}", "input=t.csv", "output=p") == 2
    found = rows_of(place / "p")
    assert found["a"]["status"] == "done" and found["b"]["status"] == "failed"
    text = capfd.readouterr().err
    assert "127.0.0.1:9" in text and "The other 1 are done; repair these" in text
    (place / "t.csv").write_text("id,raw\nb,http://127.0.0.1:9/b.tif\n")
    assert predict(f"checkpoint={make_model(2)}", "input=t.csv", "output=q") == 2
    assert "Repair these and predict them again" in capfd.readouterr().err


def test_an_image_that_does_not_fit_into_memory_fails_alone(
    make_model: Callable, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        write(place / f"in/{name}.ome.tif", noise((40, 40), ord(name)))
    whole = image_task.predict_image

    def short(row: Row, *rest: Any) -> dict[str, Any]:
        if row.id == "a":
            np.empty(2**50, np.uint8)
        return whole(row, *rest)

    monkeypatch.setattr(image_task, "predict_image", short)
    assert predict(f"checkpoint={make_model(2)}", "input=in", "output=p") == 2
    found = rows_of(place / "p")
    assert "does not fit into memory" in found["a"]["reason"]
    assert found["b"]["status"] == "done"


def test_an_image_that_kills_its_workers_is_an_error() -> None:
    class Lost:
        def result(self) -> None:
            raise KilledWorker("predict-1", None, 3)  # type: ignore[arg-type]

    with pytest.raises(ImageError, match="was killed, probably for lack of memory"):
        result_of(Lost(), "a")


@pytest.mark.slow
def test_empty_windows_and_short_axes_are_the_same_on_a_cluster(
    make_model: Callable, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = noise((6, 600, 40))  # shorter than a window along two axes: mirrored
    data[:, :500] = 7
    write(place / "in/a.ome.tif", data)
    steps = ["clip", {"median": {"radius": 1}}]
    words = (
        f"checkpoint={make_model(preparation=steps)}",
        "input=in",
        "skip_empty=true",
        "window=patch",
        "postprocess.haze=0.3",
    )
    words = (*words, "format=ome-zarr")
    assert predict(*words, "output=p") == 0
    monkeypatch.setattr(volume_storage, "IN_MEMORY_VOXELS", 1000)
    monkeypatch.setattr(cluster, "BLOCK", (16, 256, 256))
    assert predict(*words, "output=q", "workers=2") == 0
    for kind in ("probability", "brightness"):
        one, other = (read_image(place / o / f"{kind}/a.ome.zarr").data for o in "pq")
        np.testing.assert_array_equal(one, other)
        if kind == "probability":
            assert one[0, :, :100].max() == 0 < one[0, :, 560:].max()


def test_a_model_that_zooms_predicts_each_image_as_one_task(
    make_model: Callable, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place / "a.ome.tif", noise((6, 60, 40)))
    monkeypatch.setattr(volume_storage, "IN_MEMORY_VOXELS", 1000)
    task = ImageTask(0, Row({"id": "a", "raw": "a.ome.tif"}, place), "key")
    function = [{"_target_": "monai.transforms.ScaleIntensity"}]
    for image, expected in (
        ({}, {0}), ({"zoom": [0.5, 0.5, 0.5]}, set()),
        ({"object_diameter_px": [10, 34], "anisotropy": [1, 4]}, set()),
        ({"preparation": ["clip"]}, {0}), ({"preparation": function}, set()),
    ):  # fmt: skip
        model = ModelSource((str(make_model(**image)),))
        assert cluster.images_in_blocks([task], model, PredictionSettings()) == expected


def test_a_scheduler_needs_the_engine_dask(place: Path, capfd: pytest.CaptureFixture) -> None:
    assert predict("checkpoint=x", "input=y", "output=z", "scheduler=tcp://127.0.0.1:9") == 2
    assert "scheduler=tcp://127.0.0.1:9: needs engine=dask" in capfd.readouterr().err


def test_channels_without_names_are_taken_with_a_warning(
    make_model: Callable, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from cytoloop.inference.inputs.open_input import _channels_by_name

    numbers = [f"Channel:0:{n}" for n in range(3)]
    with caplog.at_level(logging.WARNING):
        assert _channels_by_name("a", numbers, numbers[:1]) == numbers[:1]
    assert "by number" in caplog.text and "channel=NUMBER" in caplog.text
    caplog.clear()
    assert _channels_by_name("a", ["DNA", "actin"], ["DNA"]) == ["DNA"]
    assert not caplog.text


def test_the_thickness_of_a_plane_does_not_count_as_voxel_size(
    make_model: Callable, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_as = "spacing_um=[9,0.5,0.5]"
    write(place / "in/a.ome.tif", noise((40, 40)), None)  # type: ignore[arg-type]
    assert predict(f"checkpoint={make_model(2)}", "input=in", "output=p", write_as) == 0
    assert "expect poor results" not in capfd.readouterr().err
    write_as = "spacing_um=[9,5,5]"
    assert predict(f"checkpoint={make_model(2)}", "input=in", "output=p", write_as) == 0
    assert "expect poor results" in capfd.readouterr().err


def test_the_result_from_thresholding_a_probability_map_image(
    make_model: Callable, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The seed: "the result from thresholding a probability-map image"."""
    write(place / "in/a.ome.tif", noise((8, 60, 40)))
    assert predict(f"checkpoint={make_model()}", "input=in", "output=p") == 0
    probability = read_image(place / "p/probability/a.ome.tif").data[0]
    wanted = read_image(place / "p/labels/a.ome.tif").data
    cut = rows_of(place / "p")["a"]["threshold"]
    words = ("postprocess=value", f"postprocess.threshold={cut}", "postprocess.min_volume_um3=0")
    assert predict("reprocess=p/predictions.csv", *words, "output=same") == 0
    wanted = read_image(place / "same/mask/a.ome.tif").data
    write(place / "maps/u8.ome.tif", probability)
    write(place / "maps/u16.ome.tif", probability.astype(np.uint16) * 257)
    write(place / "maps/float.ome.tif", probability.astype(np.float32) / 255)
    assert predict("reprocess=maps", *words, "output=q") == 0
    found = rows_of(place / "q")
    assert set(found) == {"u8", "u16", "float"}
    for row in found.values():
        assert row["spacing_um"] == "1 0.5 0.5" and row["status"] == "done"
        np.testing.assert_array_equal(read_image(place / "q" / row["mask"]).data, wanted)
    assert predict("reprocess=maps/u8.ome.tif", "postprocess=otsu_plain") == 0
    (table,) = (place / "runs/predict").glob("*/predictions.csv")
    plain = float(rows_of(table.parent)["u8"]["threshold"])
    assert plain == pytest.approx(threshold_otsu(probability) / 255, abs=0.005)
    # what is no map is an answer
    write(place / "bad/logits.ome.tif", probability.astype(np.float32) - 300)
    write_image(place / "bad/two.ome.tif", np.stack([probability] * 2), "CZYX", (1.0, 0.5, 0.5))
    write(place / "bad/labels.ome.tif", probability.astype(np.int32))
    assert predict("reprocess=bad", *words, "output=r") == 2
    text = capfd.readouterr().err
    assert "has values from -" in text and "expected 0 to 1" in text
    assert "has 2 channels" in text and "holds int32, which is no probability map" in text
