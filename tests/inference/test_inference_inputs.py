"""Inputs of a prediction: rows with unique names, channels in order, sizes in um."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cytoloop.errors import ManifestError
from cytoloop.inference.inputs.list_inputs import list_inputs, unique_names
from cytoloop.inference.inputs.open_input import _channels_by_name
from cytoloop.inference.postprocess.instance_rule import instance_rule
from cytoloop.inference.postprocess.segment_maps import segment_maps
from cytoloop.inference.postprocess.settings import TUNED, PostprocessSettings
from cytoloop.inference.postprocess.training_facts import TrainingFacts
from cytoloop.instances.blocks import in_memory
from cytoloop.manifest import Row, write_manifest

SETTINGS = PostprocessSettings(min_depth=0.3)


def test_images_of_the_same_name_get_unique_names(tmp_path: Path, tiff: Callable) -> None:
    for name in ("a/img.tif", "b/img.tif", "b/IMG.tiff", "b/other.tif"):
        tiff(tmp_path / name, np.zeros((4, 4), np.uint8))
    rows = list_inputs(f"{tmp_path}/*/*.tif*")
    names = [row["name"] for row in rows]
    assert len({name.lower() for name in names}) == 4
    assert "a__img" in names and "other" in names
    assert len({row.id for row in rows}) == 4
    assert [row.file("raw") for row in rows] == sorted(tmp_path.glob("*/*.tif*"))


def test_names_stay_inside_the_folder(tmp_path: Path) -> None:
    rows = [Row({"id": text, "raw": "x.tif"}, tmp_path) for text in ("../../etc", "a/b", "..", "")]
    assert unique_names(rows) == ["etc", "a_b", "image", "x"]


def test_rejected_rows_are_not_predicted(tmp_path: Path) -> None:
    rows = [{"raw": "a.tif", "status": "reject"}, {"raw": "b.tif"}]
    write_manifest(tmp_path / "m.csv", rows)
    assert [row.id for row in list_inputs(tmp_path / "m.csv")] == ["b"]
    write_manifest(tmp_path / "none.csv", rows[:1])
    with pytest.raises(ManifestError, match="has no rows"):
        list_inputs(tmp_path / "none.csv")


def test_ids_of_a_manifest_are_kept_and_only_file_names_are_made_safe(tmp_path: Path) -> None:
    rows = [{"raw": "a.tif", "id": "cell (1)"}, {"raw": "b.tif", "id": "a#5"}]
    write_manifest(tmp_path / "m.csv", rows)
    found = list_inputs(tmp_path / "m.csv")
    assert [row.id for row in found] == ["cell (1)", "a#5"]
    assert [row["name"] for row in found] == ["cell _1_", "a_5"]


def test_channels_are_put_into_the_order_of_training(caplog: pytest.LogCaptureFixture) -> None:
    assert _channels_by_name("a", ("GFP", "DAPI"), ["DAPI", "GFP"]) == ["DAPI", "GFP"]
    assert _channels_by_name("a", ("GFP", "DAPI"), ["DAPI"]) == ["DAPI"]
    assert _channels_by_name("a", ("DAPI",), ["DAPI"]) is None
    assert not caplog.records
    assert _channels_by_name("a", ("GFP", "DAPI"), ["DAPI", "RFP"]) is None
    assert "channels are GFP, DAPI, the model was trained on DAPI, RFP" in caplog.text


@pytest.mark.parametrize(
    "trained, known, volume, expected",
    [
        ((1.0, 1.0, 1.0), (0.5, 0.5, 0.5), None, 0.05 * 800 * 8),
        ((1.0, 1.0, 1.0), None, None, 0.05 * 800),  # an unknown voxel size is taken as that
        (None, (0.02, 0.02, 0.02), None, 0.05 * 800),  # of training, not as 1 um
        (None, (0.5, 0.5, 0.5), 10.0, 80.0),
    ],
)
def test_the_smallest_object_is_measured_in_um_where_both_voxel_sizes_are_known(
    trained: tuple | None, known: tuple | None, volume: float | None, expected: float
) -> None:
    training = TrainingFacts(trained, 800)
    settings = replace(SETTINGS, min_volume_um3=volume).resolve_tuned(training.tuned)
    rule = instance_rule(settings, 0.5, known, training, 3)
    assert rule.min_voxels == pytest.approx(expected)


def test_tuned_settings_take_the_values_of_training_unless_these_are_out_of_range() -> None:
    chosen = {"threshold": 0.41, "seed_smoothing": 2.0, "min_depth": 0.1, "dice": 0.9}
    training = TrainingFacts.from_checkpoint({"tuned": chosen})
    found = SETTINGS.resolve_tuned(training.tuned)
    assert (found.threshold, found.seed_smoothing, found.min_depth) == (0.41, 2.0, 0.3)
    for odd in (None, {}, {"threshold": 7.0}, {"threshold": "high"}, "yes"):
        training = TrainingFacts.from_checkpoint({"tuned": odd})
        assert SETTINGS.resolve_tuned(training.tuned).threshold == TUNED["threshold"]


@pytest.mark.parametrize(
    "trained, typed, hole",
    [
        (None, "auto", 1),
        ("auto", "auto", 1),
        (False, "auto", 0),
        (False, True, 1),
        (True, False, 0),
    ],
)
def test_holes_are_filled_as_in_training_unless_typed(
    tmp_path: Path, trained: bool | str | None, typed: bool | str, hole: int
) -> None:
    ring = np.pad(np.full((11, 11), 255, np.uint8), 4)
    ring[7:12, 7:12] = 0
    TrainingFacts.from_checkpoint({"spatial_dims": 2, "fill_holes": trained}).write(tmp_path)
    training = TrainingFacts.read(tmp_path)  # as reprocess= does
    settings = replace(SETTINGS, fill_holes=typed, min_depth=0.9)
    found = segment_maps({"probability": ring}, None, settings, training, in_memory)
    assert np.asarray(found.volumes["labels"])[9, 9] == hole


@pytest.mark.realdata
def test_each_scene_and_time_point_becomes_a_row(real_data: Path) -> None:
    czi = real_data / "formats/czi"
    two = list_inputs(czi / "WellD6-7_S2.czi")
    assert [row["scene"] for row in two] == ["D6-D6", "D7-D7"]
    three = list_inputs(czi / "CellDivision_T3_Z5_CH2_X240_Y170.czi")
    assert [row["time"] for row in three] == ["0", "1", "2"]
    assert len({row["name"] for row in [*two, *three]}) == 5
