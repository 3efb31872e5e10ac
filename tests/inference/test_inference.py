from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cytoloop.errors import ConfigError, ManifestError, OutputError
from cytoloop.images import Image
from cytoloop.inference.inputs import list_inputs, unique_names
from cytoloop.inference.instances import label_instances
from cytoloop.inference.run import (
    _channels_by_name,
    _smallest,
    _spacing,
    check_settings,
    claim_output,
    failures,
)
from cytoloop.manifest import Row, write_manifest


def ball(shape: tuple[int, ...], centre: tuple[float, ...], radius: float, step: float = 1.0):
    grid = np.indices(shape).astype(float)
    grid[0] *= step
    return sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= radius**2


def test_two_touching_balls_are_two_objects_and_one_is_one() -> None:
    shape = (24, 40, 60)
    one = ball(shape, (12, 20, 20), 9)
    both = one | ball(shape, (12, 20, 36), 9)
    assert label_instances(one).max() == 1
    labels = label_instances(both)
    assert labels.max() == 2 and labels.dtype == np.uint8
    assert ((labels > 0) == both).all()
    sizes = np.bincount(labels.ravel())[1:]
    assert abs(sizes[0] - sizes[1]) < 0.1 * sizes.sum()


def test_anisotropic_voxels_are_respected() -> None:
    shape = (12, 60, 90)  # z is 4 times coarser
    both = ball(shape, (24, 30, 30), 20, 4.0) | ball(shape, (24, 30, 62), 20, 4.0)
    assert label_instances(both, (4.0, 1.0, 1.0)).max() == 2


def test_two_dimensions() -> None:
    both = ball((40, 60), (20, 20), 10) | ball((40, 60), (20, 37), 10)
    assert label_instances(both).max() == 2


def test_empty_full_and_tiny() -> None:
    assert label_instances(np.zeros((5, 9, 9), bool)).max() == 0
    assert label_instances(np.ones((5, 9, 9), bool)).max() == 1
    dust = np.zeros((9, 20, 20), bool)
    dust[4, 4, 4:7] = True
    assert label_instances(dust).max() == 0
    cube = np.zeros((9, 20, 20), bool)
    cube[2:6, 2:6, 2:6] = True  # 64 voxels
    assert label_instances(cube, min_voxels=64).max() == 1
    assert label_instances(cube, min_voxels=65).max() == 0


@pytest.mark.parametrize(
    "trained, known, volume, expected",
    [
        ((1.0, 1.0, 1.0), (0.5, 0.5, 0.5), None, 0.05 * 800 * 8),
        ((1.0, 1.0, 1.0), None, None, 0.05 * 800),  # an unknown voxel size is taken as that
        (None, (0.02, 0.02, 0.02), None, 0.05 * 800),  # of training, never as 1 um
        (None, (0.5, 0.5, 0.5), 10.0, 80.0),
    ],
)
def test_crumbs_are_told_from_objects_in_um_where_both_sizes_are_known(
    trained: Any, known: Any, volume: float | None, expected: float
) -> None:
    predictor: Any = SimpleNamespace(spacing_um=trained, image={"object_voxels": 800})
    assert _smallest(volume, known, predictor, 3) == pytest.approx(expected)


def test_more_than_255_objects_fit() -> None:
    mask = np.zeros((4, 170, 170), bool)
    for y in range(0, 168, 8):
        for x in range(0, 168, 8):
            mask[:, y : y + 4, x : x + 4] = True
    labels = label_instances(mask)
    assert labels.max() == 441 and labels.dtype == np.uint16


def test_images_of_one_name_get_names_of_their_own(tmp_path: Path, tiff: Callable) -> None:
    for name in ("a/img.tif", "b/img.tif", "b/IMG.tiff", "b/other.tif"):
        tiff(tmp_path / name, np.zeros((4, 4), np.uint8))
    rows = list_inputs(f"{tmp_path}/*/*.tif*")
    names = [row["name"] for row in rows]
    assert len({name.lower() for name in names}) == 4
    assert "a__img" in names and "other" in names
    assert len({row.id for row in rows}) == 4
    assert [row.file("raw") for row in rows] == sorted(tmp_path.glob("*/*.tif*"))


def test_names_never_lead_out_of_the_folder(tmp_path: Path) -> None:
    rows = [Row({"id": text, "raw": "x.tif"}, tmp_path) for text in ("../../etc", "a/b", "..", "")]
    assert unique_names(rows) == ["etc", "a_b", "image", "x"]


def test_rejected_rows_are_not_predicted(tmp_path: Path) -> None:
    rows = [{"raw": "a.tif", "status": "reject"}, {"raw": "b.tif"}]
    write_manifest(tmp_path / "m.csv", rows)
    assert [row.id for row in list_inputs(tmp_path / "m.csv")] == ["b"]
    write_manifest(tmp_path / "none.csv", rows[:1])
    with pytest.raises(ManifestError, match="has no rows"):
        list_inputs(tmp_path / "none.csv")


def test_another_models_folder_is_not_overwritten(tmp_path: Path) -> None:
    claim_output(tmp_path, "aaa", overwrite=False)
    write_manifest(tmp_path / "predictions.csv", [{"id": "x", "model_sha256": "aaa"}])
    claim_output(tmp_path, "aaa", overwrite=False)
    with pytest.raises(OutputError, match="another model.*\n.*overwrite=true"):
        claim_output(tmp_path, "bbb", overwrite=False)
    claim_output(tmp_path, "bbb", overwrite=True)


def test_failures_name_every_image() -> None:
    done = {"id": "a", "status": "done"}
    bad = [{"id": n, "status": "failed", "reason": "broken"} for n in "bc"]
    assert failures([done]) is None
    assert "b: broken\n  c: broken\nThe other 1 are done" in str(failures([done, *bad]))


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        _spacing([1, 0, 1])
    with pytest.raises(ConfigError, match="some of probability, mask, labels"):
        check_settings(["logits"], {"threshold": 0.5, "seed_smoothing": 1, "min_depth": 0.2}, 4)


def test_ids_of_a_manifest_stay_and_only_file_names_are_made_safe(tmp_path: Path) -> None:
    rows = [{"raw": "a.tif", "id": "cell (1)"}, {"raw": "b.tif", "id": "a#5"}]
    write_manifest(tmp_path / "m.csv", rows)
    found = list_inputs(tmp_path / "m.csv")
    assert [row.id for row in found] == ["cell (1)", "a#5"]
    assert [row["name"] for row in found] == ["cell _1_", "a_5"]


def test_channels_are_put_into_the_order_of_training(caplog: pytest.LogCaptureFixture) -> None:
    image = Image(np.arange(2)[:, None, None], None, ("GFP", "DAPI"))
    swapped = _channels_by_name("a", image, ["DAPI", "GFP"])
    assert swapped.channels == ("DAPI", "GFP") and swapped.data.ravel().tolist() == [1, 0]
    assert _channels_by_name("a", image, ["DAPI"]).data.ravel().tolist() == [1]
    assert not caplog.records
    assert _channels_by_name("a", image, ["DAPI", "RFP"]) is image
    assert "channels are GFP, DAPI, the model was trained on DAPI, RFP" in caplog.text


@pytest.mark.realdata
def test_scenes_and_time_points_become_rows_of_their_own(real_data: Path) -> None:
    czi = real_data / "formats/czi"
    two = list_inputs(czi / "WellD6-7_S2.czi")
    assert [row["scene"] for row in two] == ["D6-D6", "D7-D7"]
    three = list_inputs(czi / "CellDivision_T3_Z5_CH2_X240_Y170.czi")
    assert [row["time"] for row in three] == ["0", "1", "2"]
    assert len({row["name"] for row in [*two, *three]}) == 5
