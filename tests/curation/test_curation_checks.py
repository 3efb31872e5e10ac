"""Checks: each problem of one or several rows has a message; good rows have none."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cytoloop.curation import check_row, check_rows, validate_dataset, validate_rows
from cytoloop.errors import ManifestError
from cytoloop.io.digest import file_hash
from cytoloop.io.writers.tiff import write_image
from cytoloop.manifest import Manifest, Row

Blobs = Callable[..., tuple[np.ndarray, np.ndarray]]


@pytest.fixture
def make_row(tmp_path: Path, blobs: Blobs) -> Callable[..., Row]:
    """Maker of rows: arrays become files, other values cells; raw and seg1 are given."""
    raw, labels = blobs((6, 24, 28), 3, 1, radius=3.0)

    def make(name: str = "fov", number: int = 1, **cells: object) -> Row:
        values = {"id": name}
        for column, cell in {"raw": raw, "seg1": labels, **cells}.items():
            if isinstance(cell, np.ndarray):
                path = tmp_path / f"{name}_{column}.ome.tif"
                axes = "CZYX"[-cell.ndim :]
                write_image(path, cell, axes, (1.0, 0.5, 0.5))
                cell = path.name
            values[column] = str(cell)
        return Row(values, tmp_path, number)

    return make


def texts(row: Row) -> list[str]:
    return [f"{problem.column}: {problem.text}" for problem in check_row(row).problems]


def only(row: Row) -> str:
    found = texts(row)
    assert len(found) == 1, found
    return found[0]


@pytest.fixture
def labels(blobs: Blobs) -> np.ndarray:
    return blobs((6, 24, 28), 3, 1, radius=3.0)[1]


@pytest.fixture
def raw(blobs: Blobs) -> np.ndarray:
    return blobs((6, 24, 28), 3, 1, radius=3.0)[0]


def test_checks_result_of_a_good_row(
    make_row: Callable[..., Row], labels: np.ndarray, tmp_path: Path
) -> None:
    result = check_row(make_row())
    assert result.problems == ()
    assert (result.id, result.shape, result.channels) == ("fov", (6, 24, 28), 1)
    assert result.spacing_um == result.file_spacing_um == (1.0, 0.5, 0.5)
    assert result.objects == 3
    assert result.foreground == pytest.approx((labels > 0).mean())
    assert result.sha256 == {
        name: file_hash(tmp_path / f"fov_{name}.ome.tif") for name in ("raw", "seg1")
    }


def test_checks_a_binary_segmentation_counts_its_pieces(
    make_row: Callable[..., Row], labels: np.ndarray
) -> None:
    assert check_row(make_row(seg1=(labels > 0).astype(np.uint8) * 255)).objects == 3


def test_checks_count_what_is_not_excluded(
    make_row: Callable[..., Row], labels: np.ndarray
) -> None:
    mask = labels == 2
    result = check_row(make_row(exclude_mask=mask.astype(np.uint8)))
    assert result.problems == () and result.objects == 2
    assert result.foreground == pytest.approx((labels[~mask] > 0).mean())


def test_checks_the_merged_target(make_row: Callable[..., Row], labels: np.ndarray) -> None:
    empty = np.zeros_like(labels)
    everywhere = np.ones_like(labels, np.uint8)
    row = make_row(seg1=empty, seg2=labels, merge_mask=everywhere)
    assert check_row(row).problems == () and check_row(row).objects == 3
    assert check_row(make_row(seg1=empty, seg2=labels, base_image="seg2")).objects == 3


def test_checks_list_all_missing_and_empty_cells(make_row: Callable[..., Row]) -> None:
    row = make_row(raw="gone.tif", seg1="", exclude_mask="lost.npy", base_image="seg3", time="x")
    assert texts(row) == [
        "raw: file not found: gone.tif",
        "seg1: is empty; name a file",
        "exclude_mask: file not found: lost.npy",
        "time: 'x' is not a time point; expected 0, 1, 2 ...",
        "base_image: 'seg3'; expected seg1 or seg2",
    ]


def test_checks_unreadable_files(make_row: Callable[..., Row], tmp_path: Path) -> None:
    (tmp_path / "bad.tif").write_bytes(b"no tiff")
    (tmp_path / "empty.tif").touch()
    first, second = texts(make_row(raw="bad.tif", seg1="empty.tif"))
    assert first.startswith("raw: bad.tif: cannot be read: ") and "export it again" in first
    assert second == "seg1: empty.tif: the file is empty (0 bytes). Copy or export it again."


def test_checks_find_a_truncated_file_with_a_valid_header(
    make_row: Callable[..., Row], tmp_path: Path, raw: np.ndarray
) -> None:
    tifffile.imwrite(tmp_path / "cut.tif", raw)
    whole = (tmp_path / "cut.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) - 3000])
    assert "raw: cut.tif: cannot be read" in only(make_row(raw="cut.tif"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, :20], r"seg1: shape \(6, 20, 28\) but raw is \(6, 24, 28\)"),
        (lambda x: x[3], r"seg1: shape \(24, 28\) but raw is \(6, 24, 28\)"),
        (lambda x: x * 0, r"seg1: holds no object \(all background\)"),
        (
            lambda x: x.astype(np.float32) / 3,
            r"seg1: .*holds fractions, infinity or NaN.*Threshold it",
        ),
        (lambda x: x.astype(np.int16) - 1, r"seg1: .*holds negative labels \(down to -1\)"),
        (lambda x: np.stack([x, x]), r"seg1: has channels 0: .*, 1: .*'channel_seg1'"),
    ],
)
def test_checks_segmentation(
    make_row: Callable[..., Row],
    labels: np.ndarray,
    change: Callable[[np.ndarray], np.ndarray],
    message: str,
) -> None:
    assert re.match(message, only(make_row(seg1=change(labels))))


def test_checks_channel_of_the_segmentation_may_be_named(
    make_row: Callable[..., Row], labels: np.ndarray
) -> None:
    assert texts(make_row(seg1=np.stack([labels * 0, labels]), channel_seg1="1")) == []


def test_checks_raw_intensities(make_row: Callable[..., Row], raw: np.ndarray) -> None:
    holes = raw.astype(np.float32)
    holes[0, 0, :3] = np.nan, np.inf, -np.inf
    assert only(make_row(raw=holes)).startswith("raw: holds 3 values that are NaN or infinite")
    assert only(make_row(raw=np.full_like(raw, 7))) == (
        "raw: is constant: 7 everywhere; leave it out"
    )
    assert texts(make_row(raw=np.stack([raw, raw * 0]))) == []  # one channel has a signal


def test_checks_channel_out_of_range(make_row: Callable[..., Row], raw: np.ndarray) -> None:
    message = "has no channel '2'. Its channels are 0: "
    assert message in only(make_row(raw=np.stack([raw, raw]), channel="2"))
    assert check_row(make_row(raw=np.stack([raw, raw])), channel="0").channels == 1


def test_checks_spacing_of_raw_against_segmentation(
    make_row: Callable[..., Row], labels: np.ndarray, tmp_path: Path
) -> None:
    for name, spacing in (("far", (2.0, 0.5, 0.5)), ("near", (1.01, 0.5, 0.5))):
        write_image(tmp_path / f"{name}.ome.tif", labels, "ZYX", spacing)
    assert "voxel size (z x y x x) is 2 x 0.5 x 0.5 um but raw has 1 x 0.5 x 0.5 um" in only(
        make_row(seg1="far.ome.tif")
    )
    assert texts(make_row(seg1="near.ome.tif")) == []
    settled = check_row(make_row(seg1="far.ome.tif", spacing_um="3 1 1"))
    assert settled.problems == () and settled.spacing_um == (3.0, 1.0, 1.0)


def test_checks_spacing_cell(make_row: Callable[..., Row]) -> None:
    assert only(make_row(spacing_um="thick")).startswith(
        "spacing_um: 'thick' is not a voxel size. Expected three"
    )


def test_checks_require_a_choice_of_time_point_and_scene(
    make_row: Callable[..., Row], raw: np.ndarray, tmp_path: Path
) -> None:
    write_image(tmp_path / "time.ome.tif", np.stack([raw, raw]), "TZYX")
    assert "holds 2 time points; name one in column 'time'" in only(make_row(raw="time.ome.tif"))
    assert texts(make_row(raw="time.ome.tif", time="1")) == []
    assert "has no time point 5" in only(make_row(raw="time.ome.tif", time="5"))
    write_image(tmp_path / "zt.ome.tif", raw, "TYX")
    assert any("is z saved as time" in text for text in texts(make_row(raw="zt.ome.tif")))
    with tifffile.TiffWriter(tmp_path / "scenes.ome.tif", ome=True) as tif:
        tif.write(raw, metadata={"axes": "ZYX"})
        tif.write(raw[::-1], metadata={"axes": "ZYX"})
    assert "holds scenes Image:0, Image:1; name one" in only(make_row(raw="scenes.ome.tif"))
    assert texts(make_row(raw="scenes.ome.tif", scene="Image:1")) == []


def test_checks_excluding_mask(make_row: Callable[..., Row], labels: np.ndarray) -> None:
    mask = np.ones_like(labels, np.uint8)
    assert "excludes the whole image" in only(make_row(exclude_mask=mask))
    assert "excludes every object" in only(make_row(exclude_mask=(labels > 0).astype(np.uint8)))
    assert "shape (6, 20, 28) but the image is (6, 24, 28)" in only(
        make_row(exclude_mask=mask[:, :20])
    )


def test_checks_region_files_of_any_content(make_row: Callable[..., Row], tmp_path: Path) -> None:
    np.save(tmp_path / "good.npy", np.array([[[2, 2], [2, 6], [6, 6]]], float))
    assert texts(make_row(exclude_mask="good.npy")) == []
    np.save(tmp_path / "pickled.npy", np.array([[1], [2, 3]], object))
    assert "polygon 1 is list, not a list of positions" in only(
        make_row(exclude_mask="pickled.npy")
    )
    np.save(tmp_path / "words.npy", np.array([[["a", "b"]]]))
    assert "polygon 1 is an array (1, 2), not a list of positions" in only(
        make_row(exclude_mask="words.npy")
    )
    (tmp_path / "void.npy").touch()
    assert "void.npy" in only(make_row(exclude_mask="void.npy"))


def test_checks_merging_needs_both_segmentations(
    make_row: Callable[..., Row], labels: np.ndarray
) -> None:
    assert only(make_row(merge_mask=(labels > 0).astype(np.uint8))) == (
        "seg2: is empty, but merging needs a second segmentation; give seg2"
    )


def test_checks_raw_given_as_its_own_segmentation(make_row: Callable[..., Row]) -> None:
    row = make_row()
    row.values["seg1"] = row["raw"]
    assert "seg1: is the raw image itself" in only(row)


def test_checks_a_file_that_changed_since_it_was_curated(make_row: Callable[..., Row]) -> None:
    assert "has changed since it was curated" in only(make_row(sha256="0" * 64))


def test_checks_of_rows_raise_all_problems_one_line_per_problem(
    make_row: Callable[..., Row], labels: np.ndarray
) -> None:
    rows = [
        make_row("a", 1),
        make_row("b", 2, seg1=labels[:, :20]),
        make_row("c", 3, raw="gone.tif"),
        make_row("d", 4, seg1=labels[:, :20]),
    ]
    with pytest.raises(ManifestError) as caught:
        validate_rows(rows, where="train.csv")
    assert str(caught.value).splitlines() == [
        "train.csv: 2 problems",
        "  rows 2, 4 (b, d), column 'seg1': shape (6, 20, 28) but raw is (6, 24, 28)",
        "  row 3 (c), column 'raw': file not found: gone.tif",
        "Fix or reject these rows, then run `cytoloop curate` again.",
    ]
    assert [result.id for result in validate_rows(rows[:1])] == ["a"]


def test_checks_of_rows_find_other_dimensions_and_channel_counts(
    make_row: Callable[..., Row], raw: np.ndarray, labels: np.ndarray
) -> None:
    rows = [
        make_row("a", 1),
        make_row("b", 2),
        make_row("flat", 3, raw=raw[3], seg1=labels[3]),
        make_row("two", 4, raw=np.stack([raw, raw])),
    ]
    found = [[problem.text for problem in result.problems] for result in check_rows(rows)]
    assert found[:3] == [[], [], ["is 2D, most images are 3D"]]
    assert found[3] == ["has 2 channels, most images have 1; name the right one (channel)"]


def test_checks_dataset_finds_leaks_and_names_the_file(
    make_row: Callable[..., Row], raw: np.ndarray, tmp_path: Path
) -> None:
    other = raw[::-1]
    parts = {
        "train": [make_row("a", 1, group="E1"), make_row("b", 2, raw=other, group="E2")],
        "valid": [make_row("copy", 1, group="E3"), make_row("e", 2, raw=raw + 1, group="E2")],
    }
    dataset = {split: Manifest(tmp_path / f"{split}.csv", rows) for split, rows in parts.items()}
    with pytest.raises(ManifestError) as caught:
        validate_dataset(dataset)
    assert caught.value.where == str(tmp_path)
    assert caught.value.problems == [
        "valid.csv: row 1 (copy), column 'raw': same image as a in 'train'; "
        "keep one of them, or give both the same group",
        "valid.csv: row 2 (e), column 'group': group 'E2' is also in train; "
        "a group must be in one split",
    ]
    dataset["valid"].rows = []
    assert [result.id for result in validate_dataset(dataset)["train"]] == ["a", "b"]


def test_checks_2d(make_row: Callable[..., Row], raw: np.ndarray, labels: np.ndarray) -> None:
    polygon = np.array([[[0, 0], [0, 4], [4, 4], [4, 0]]], float)
    row = make_row(raw=raw[3], seg1=labels[3])
    np.save(row.root / "region.npy", polygon)
    row.values["exclude_mask"] = "region.npy"
    result = check_row(row)
    assert result.problems == () and result.shape == (24, 28)


def test_checks_show_a_bar_only_when_asked(
    make_row: Callable[..., Row], capfd: pytest.CaptureFixture[str]
) -> None:
    check_rows([make_row()], progress=True)
    assert capfd.readouterr() == ("", "")  # no terminal, no bar


def test_checks_two_spacings_of_a_stack(make_row: Callable[..., Row]) -> None:
    found = only(make_row(spacing_um="1 2"))
    assert found == "spacing_um: has two numbers, but the image is a stack; give z y x"
