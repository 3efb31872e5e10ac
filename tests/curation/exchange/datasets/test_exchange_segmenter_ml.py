"""Segmenter ML format."""

from __future__ import annotations

import csv
import json
import logging
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from cytoloop.curation.exchange.datasets.segmenter_ml import is_project, read, write
from cytoloop.errors import ManifestError, OutputError
from cytoloop.io.read import read_image
from cytoloop.io.writers.tiff import write_image
from cytoloop.manifest import Row
from cytoloop.truth.targets import read_target

SHAPE = (6, 24, 28)
HEADER = ["", "raw", "seg1", "seg2", "merge_mask", "exclude_mask", "base_image"]
TRIANGLES = [
    np.array([[2.5, 3.0], [2.5, 12.0], [14.0, 6.0]]),
    np.array([[18, 18], [18, 24], [22, 20]]),
]


def write_tiff(path: Path, data: np.ndarray) -> None:
    """Write an ImageJ TIFF, which is read much faster than an OME-TIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    axes = {"axes": "ZYX"[-data.ndim :]}
    tifffile.imwrite(path, data.astype(np.uint16), imagej=True, metadata=axes)


def write_images(home: Path, count: int) -> list[dict[str, Path]]:
    """Write ``images/{raw,seg1,seg2}/img_N.tif`` below a folder."""
    rng = np.random.default_rng(count)
    found = []
    for number in range(count):
        files = {c: home / "images" / c / f"img_{number}.tif" for c in ("raw", "seg1", "seg2")}
        for column, path in files.items():
            top = 4000 if column == "raw" else 3
            write_tiff(path, rng.integers(0, top, SHAPE))
        found.append(files)
    return found


def save_polygons(path: Path, polygons: Sequence[np.ndarray]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ragged = np.empty(len(polygons), object)
    ragged[:] = list(polygons)
    np.save(path, ragged, allow_pickle=True)
    return path


def write_table(path: Path, rows: Sequence[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for number, row in enumerate(rows):
            writer.writerow([number, *(str(row.get(column, "")) for column in HEADER[1:])])


def make_experiment(home: Path, channels: object = None) -> Path:
    """Write an experiment as the plugin does: six images, two of them in val and in test."""
    folder = home / "exp"
    rows: list[dict[str, object]] = [{**p, "base_image": "seg1"} for p in write_images(home, 6)]
    for row in rows:
        del row["seg2"]
    masks = folder / "excluding_masks" / "excluding_mask_img_0.npy"
    rows[0]["exclude_mask"] = save_polygons(masks, TRIANGLES)
    rows[1]["seg2"] = home / "images" / "seg2" / "img_1.tif"
    rows[1]["merge_mask"] = save_polygons(
        folder / "merging_masks" / "merging_mask_img_1.npy", TRIANGLES[:1]
    )
    rows[1]["base_image"] = "seg2"
    data = folder / "data"
    write_table(data / "train.csv", rows[:4])
    for name in ("val", "test"):
        write_table(data / f"{name}.csv", rows[4:])
    chosen = {"raw": 0, "seg1": 0, "seg2": None} if channels is None else channels
    (data / "selected_channels.json").write_text(json.dumps(chosen))
    return folder


def by_id(rows: Sequence[Row]) -> dict[str, Row]:
    return {row.id: row for row in rows}


def test_experiment_is_read_with_its_masks_and_channels(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path, {"raw": 2, "seg1": 0, "seg2": 1})
    (folder / "train_config.yaml").write_text("model: {_target_: os.abort}")
    rows = by_id(read(folder))
    assert sorted(rows) == [f"img_{n}" for n in range(6)]
    assert rows["img_0"].values == {
        "raw": str(tmp_path / "images/raw/img_0.tif"),
        "seg1": str(tmp_path / "images/seg1/img_0.tif"),
        "seg2": "",
        "merge_mask": "",
        "exclude_mask": str(folder / "excluding_masks/excluding_mask_img_0.npy"),
        "base_image": "seg1",
        "id": "img_0",
        "split": "train",
        "channel": "2",
        "channel_seg1": "0",
        "channel_seg2": "",
    }
    assert (rows["img_1"]["base_image"], rows["img_1"]["channel_seg2"]) == ("seg2", "1")
    assert not read_target(rows["img_0"])[1].all()


def test_image_in_val_and_test_gets_the_split_valid_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = read(make_experiment(tmp_path))
    assert [row["split"] for row in rows] == ["train"] * 4 + ["valid"] * 2
    assert "2 images are in val.csv and in test.csv" in caplog.text


def test_images_only_in_test_keep_the_split_test(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_experiment(tmp_path)
    files = write_images(tmp_path / "more", 2)
    write_table(folder / "data/test.csv", [{**f, "base_image": ""} for f in files])
    rows = read(folder)
    assert [row["split"] for row in rows] == ["train"] * 4 + ["valid"] * 2 + ["test"] * 2
    assert rows[-1]["base_image"] == "seg1"
    assert not caplog.records


def test_image_in_train_and_test_is_refused(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path)
    shutil.copy(folder / "data/train.csv", folder / "data/test.csv")
    with pytest.raises(
        ManifestError, match=r"test.csv row 2 \(img_1\).*is also row 2 of train.csv"
    ):
        read(folder)


def test_image_that_differs_between_val_and_test_is_refused(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path)
    path = folder / "data/test.csv"
    path.write_text(
        path.read_text().replace(",seg1\n", ",seg2\n").replace(",seg1\r\n", ",seg2\r\n")
    )
    with pytest.raises(ManifestError, match=r"img_4.*differs from row 1 of val.csv"):
        read(folder)


def test_moved_experiment_finds_its_files(tmp_path: Path) -> None:
    make_experiment(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    rows = by_id(read(tmp_path / "new" / "exp"))
    for row in rows.values():
        for column in ("raw", "seg1", "seg2", "merge_mask", "exclude_mask"):
            assert not row[column] or str(tmp_path / "new") in row[column]
    assert not read_target(rows["img_0"])[1].all()
    assert rows["img_1"]["seg2"] == str(tmp_path / "new/images/seg2/img_1.tif")


def test_experiment_of_another_system_finds_its_files(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path)
    for path in (folder / "data").glob("*.csv"):
        path.write_text(path.read_text().replace(str(tmp_path), "C:\\Users\\me").replace("/", "\\"))
    rows = by_id(read(folder))
    assert rows["img_1"]["raw"] == str(tmp_path / "images/raw/img_1.tif")
    assert rows["img_1"]["merge_mask"].startswith(str(folder / "merging_masks"))


def test_missing_file_keeps_its_path(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path)
    # the same name in another folder is not the same file
    (tmp_path / "images/seg1/img_2.tif").rename(folder / "img_2.tif")
    row = by_id(read(folder))["img_2"]
    assert row["seg1"] == str(tmp_path / "images/seg1/img_2.tif")


def test_all_faults_are_reported_together(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path, {"raw": -1, "seg1": True})
    table = folder / "data/train.csv"
    table.write_text(table.read_text().replace("seg1", "seg9"))
    path = folder / "data/val.csv"
    path.write_text(
        path.read_text().replace(",seg1\n", ",both\n").replace(",seg1\r\n", ",both\r\n")
    )
    with pytest.raises(ManifestError) as caught:
        read(folder)
    assert len(caught.value.problems) >= 4
    for word in (
        "raw: channel -1, expected",
        "seg1: channel True, expected",
        "no column seg1",
        "'both'; expected",
    ):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fault"), [("{", "is not valid JSON"), ("[0]", "expected channels by column")]
)
def test_faulty_channels_are_refused(tmp_path: Path, text: str, fault: str) -> None:
    folder = make_experiment(tmp_path)
    (folder / "data/selected_channels.json").write_text(text)
    with pytest.raises(ManifestError, match=fault):
        read(folder)


def test_without_channels_the_cells_are_empty(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path)
    (folder / "data/selected_channels.json").unlink()
    assert {row["channel"] + row["channel_seg1"] for row in read(folder)} == {""}


def test_other_folders_are_not_experiments(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("raw,seg1\n")
    assert not is_project(tmp_path)
    assert not is_project(tmp_path / "none")
    assert is_project(make_experiment(tmp_path))
    with pytest.raises(ManifestError, match="is not an experiment of Segmenter ML"):
        read(tmp_path)


def test_ids_are_unique_in_any_order_of_rows(tmp_path: Path) -> None:
    folder = tmp_path / "exp"
    names = ["a/x.tif", "b/x.tif", "b/x.ome.tif", "y.tif", "c/a_x.tif"]
    found = []
    for order in (names, names[::-1]):
        rows = [{"raw": f"/none/{n}", "seg1": f"/none/seg/{n}"} for n in order]
        write_table(folder / "data/train.csv", rows[1:])
        write_table(folder / "data/val.csv", rows[:1])
        found.append({row["raw"]: row.id for row in read(folder)})
    assert found[0] == found[1]
    assert len(set(found[0].values())) == len(names)
    assert found[0]["/none/y.tif"] == "y"


@st.composite
def regions(draw: st.DrawFn) -> np.ndarray | None:
    """Draw None, or a 2D region with holes and single pixels."""
    density = draw(st.sampled_from([None, 0.2, 0.8]))
    if density is None:
        return None
    coarse = np.random.default_rng(draw(st.integers(0, 10**6))).random((6, 7)) < density
    mask = coarse.repeat(4, 0).repeat(4, 1)
    mask[5, 5] = ~mask[5, 5]
    return mask


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Path]]:
    return write_images(tmp_path_factory.mktemp("home"), 4)


@settings(max_examples=6, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["train", "valid", "test"]),
            st.sampled_from(["seg1", "seg2"]),
            regions(),
            regions(),
        ),
        min_size=2,
        max_size=2,
    )
)
def test_experiment_survives_the_round_trip(
    images: list[dict[str, Path]],
    wanted: list[tuple[str, str, np.ndarray | None, np.ndarray | None]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        rows = []
        choices = [("train", "seg1", None, None), ("valid", "seg1", None, None), *wanted]
        for number, (files, (split, base, merge, exclude)) in enumerate(
            zip(images, choices, strict=True)
        ):
            values = {column: str(path) for column, path in files.items()}
            values |= {"id": f"img_{number}", "split": split, "base_image": base}
            for column, mask in (("merge_mask", merge), ("exclude_mask", exclude)):
                if mask is not None:
                    values[column] = str(home / f"{column}_{number}.tif")
                    write_tiff(Path(values[column]), mask)
            rows.append(Row(values))
        write(home / "exp", rows)
        back = by_id(read(home / "exp"))
        assert set(back) == {row.id for row in rows}
        for row in rows:
            other = back[row.id]
            for column in ("raw", "seg1", "seg2", "split", "base_image"):
                assert other[column] == row[column], column
            for one, same in zip(read_target(row), read_target(other), strict=True):
                np.testing.assert_array_equal(one, same)


def simple_rows(home: Path, count: int = 4) -> list[Row]:
    splits = ["train", "valid", "train", "train"]
    return [
        Row({"raw": str(f["raw"]), "seg1": str(f["seg1"]), "split": s, "id": f"i{n}"}, Path(), n)
        for n, (f, s) in enumerate(zip(write_images(home, count), splits[:count], strict=True), 1)
    ]


def test_written_experiment_has_the_plugins_format(tmp_path: Path) -> None:
    rows = simple_rows(tmp_path)
    rows[0].values["exclude_mask"] = str(save_polygons(tmp_path / "e.npy", TRIANGLES))
    result = write(tmp_path / "exp", rows)
    data = tmp_path / "exp" / "data"
    with (data / "train.csv").open(newline="") as file:
        header, first, *_ = csv.reader(file)
    assert header == HEADER
    mask = tmp_path / "exp/excluding_masks/excluding_mask_img_0.npy"
    assert first == ["0", rows[0]["raw"], rows[0]["seg1"], "", "", str(mask), "seg1"]
    polygons = np.load(mask, allow_pickle=True)
    assert polygons.dtype == object and all(p.shape[1] == 2 for p in polygons)
    for drawn, kept in zip(TRIANGLES, polygons, strict=True):
        np.testing.assert_array_equal(drawn, kept)
    assert json.loads((data / "selected_channels.json").read_text()) == {
        "raw": 0,
        "seg1": 0,
        "seg2": None,
    }
    assert mask in result.files and not result.left_out
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_test_table_repeats_the_validation_rows_without_test_rows(tmp_path: Path) -> None:
    write(tmp_path / "exp", simple_rows(tmp_path))
    data = tmp_path / "exp" / "data"
    assert (data / "test.csv").read_bytes() == (data / "val.csv").read_bytes()


def test_too_few_images_give_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        write(tmp_path / "exp", simple_rows(tmp_path, 2))
    assert "needs 4 images to train; these are 2" in caplog.text


def test_channel_that_all_rows_share_is_written(tmp_path: Path) -> None:
    rows = simple_rows(tmp_path)
    for number, row in enumerate(rows):
        path = tmp_path / f"two_{number}.ome.tif"
        write_image(path, np.full((2, *SHAPE), number, np.uint16), "CZYX", None, ["A", "B"])
        row.values |= {"raw": str(path), "channel": "B" if number else "1"}
    write(tmp_path / "exp", rows)
    back = read(tmp_path / "exp")
    assert {row["channel"] for row in back} == {"1"}
    assert sorted(row["raw"] for row in back) == sorted(row["raw"] for row in rows)


def test_different_channels_are_written_as_single_channel_images(tmp_path: Path) -> None:
    rows = simple_rows(tmp_path)
    path = tmp_path / "two.ome.tif"
    write_image(path, np.stack([np.zeros(SHAPE, np.uint16), np.ones(SHAPE, np.uint16)]), "CZYX")
    rows[0].values |= {"raw": str(path), "channel": "1"}
    write(tmp_path / "exp", rows)
    back = {Path(row["raw"]).name: row for row in read(tmp_path / "exp")}
    assert {row["channel"] for row in back.values()} == {"0"}
    assert (read_image(back["two.ome.tif"]["raw"]).data == 1).all()


def test_rows_that_the_plugin_cannot_use_are_refused_or_left_out(tmp_path: Path) -> None:
    rows = simple_rows(tmp_path)
    mask = np.zeros(SHAPE, bool)
    mask[2, 3:9, 3:9] = True
    write_image(tmp_path / "m.ome.tif", mask, "ZYX")
    rows[2].values["exclude_mask"] = str(tmp_path / "m.ome.tif")
    with pytest.raises(ManifestError, match="row 3.*differs between planes"):
        write(tmp_path / "exp", rows)
    assert not (tmp_path / "exp").exists()
    result = write(tmp_path / "exp", rows, on_problem="reject")
    assert list(result.left_out) == ["i3"]
    assert len(read(tmp_path / "exp")) == 3


def test_files_that_the_plugin_added_are_never_replaced(tmp_path: Path) -> None:
    rows = simple_rows(tmp_path)
    write(tmp_path / "exp", rows)
    write(tmp_path / "exp", rows)
    checkpoint = tmp_path / "exp/checkpoints/last.ckpt"
    checkpoint.parent.mkdir()
    checkpoint.write_text("trained")
    with pytest.raises(OutputError, match="checkpoints/last.ckpt"):
        write(tmp_path / "exp", rows)
    assert checkpoint.exists()
