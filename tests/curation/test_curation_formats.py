"""Curation of files in the formats that people have: PNG, nnU-Net, labels inside OME-Zarr."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from cytoloop.curation import CurationSettings, curate
from cytoloop.errors import ImageError, ManifestError
from cytoloop.io.writers.zarr import write_zarr
from cytoloop.manifest import Row, read_manifest
from cytoloop.truth.targets import read_raw, read_target

RNG = np.random.default_rng(0)


def rows_of(folder: Path) -> dict[str, dict[str, str]]:
    return {row.id: row.values for row in read_manifest(folder / "dataset.csv")}


@pytest.mark.realdata
@pytest.mark.parametrize(
    "raw, seg1, ids",
    [
        ("07_png/images", "07_png/masks", ["p0", "p1", "p2"]),
        ("10_nnunet/Dataset001_X", None, ["x_000", "x_001", "x_002"]),
        (
            "10_nnunet/Dataset001_X/imagesTr",
            "10_nnunet/Dataset001_X/labelsTr",
            ["x_000", "x_001", "x_002"],
        ),
    ],
)
def test_cases_are_curated(
    real_data: Path, tmp_path: Path, raw: str, seg1: str | None, ids: list[str]
) -> None:
    cases = real_data / "cases"
    sources = {"raw": str(cases / raw), "seg1": str(cases / seg1) if seg1 else None}
    curate(CurationSettings(**sources, output=str(tmp_path / "d"), test=0, leakage="allow"))
    manifest = read_manifest(tmp_path / "d" / "dataset.csv")
    assert [row.id for row in manifest] == ids
    for row in manifest:
        image, (labels, valid) = read_raw(row), read_target(row)
        assert image.data.shape[1:] == labels.shape and labels.any()
        assert len(image.channels) == (2 if "nnunet" in raw else 1)
        assert valid.all() == (not np.isin(2, labels) or seg1 is not None)
        from_folder = "nnunet" in raw and seg1 is None
        assert row["exclude"] == ("labels(2)" if from_folder else "")  # the ignore label


def test_labels_inside_ome_zarr_and_warnings_of_reading(tmp_path: Path) -> None:
    for name in "abc":
        labels = np.zeros((4, 40, 40), np.uint16)
        labels[:, 5:15, 5:15] = 1
        path = tmp_path / "images" / f"{name}.ome.zarr"
        write_zarr(path, RNG.integers(0, 99, labels.shape) + labels * 300, "ZYX", (2.0, 0.5, 0.5))
        write_zarr(path / "labels" / "nuclei", labels, "ZYX", (2.0, 0.5, 0.5))
    images = f"{tmp_path}/images/*.ome.zarr"
    given = (
        {"seg1": f"{images}/labels/nuclei"},
        {"seg1": images, "scene_seg1": "labels/nuclei"},
    )
    for number, words in enumerate(given):
        output = tmp_path / str(number)
        curate(CurationSettings(raw=images, output=str(output), test=0, leakage="allow", **words))
        assert list(rows_of(output)) == ["a", "b", "c"]
        assert {row["warnings"] for row in rows_of(output).values()} == {""}


def test_axes_of_raw_count_for_its_labels_and_a_guess_is_in_the_table(tmp_path: Path) -> None:
    for folder in ("raw", "seg"):
        (tmp_path / folder).mkdir()
    labels = np.zeros((5, 40, 40), np.uint16)
    labels[:, 5:15, 5:15] = 1
    for name in "abc":
        raw = RNG.integers(0, 99, labels.shape).astype(np.uint16) + labels * 300
        tifffile.imwrite(tmp_path / "raw" / f"{name}.tif", raw)
        tifffile.imwrite(tmp_path / "seg" / f"{name}.tif", labels)
    sources = {"raw": str(tmp_path / "raw"), "seg1": str(tmp_path / "seg")}
    sources |= {"test": 0, "leakage": "allow"}
    curate(CurationSettings(**sources, output=str(tmp_path / "stacks")))
    stacks = rows_of(tmp_path / "stacks")
    assert len(stacks) == 3 and "5 planes (5 x 40 x 40)" in stacks["a"]["warnings"]
    curate(CurationSettings(**sources, output=str(tmp_path / "movies"), axes="TYX"))
    movies = rows_of(tmp_path / "movies")
    assert list(movies)[:5] == [f"a_t00{n}" for n in range(5)] and len(movies) == 15
    assert movies["a_t000"]["axes"] == "TYX" and movies["a_t000"]["warnings"] == ""
    with pytest.raises(ManifestError, match="axes=TCYX names 4 axes, but the file has 3"):
        curate(CurationSettings(**sources, output=str(tmp_path / "no"), axes="TCYX"))


def test_wells_of_a_plate_are_groups_and_each_field_has_its_labels(tmp_path: Path) -> None:
    plate = tmp_path / "plate.ome.zarr"
    group = zarr.open_group(plate, mode="w", zarr_format=2)
    wells = ["A/1", "A/2", "B/1"]
    group.attrs["plate"] = {"wells": [{"path": well} for well in wells]}
    truth = {}
    for well in wells:
        fields = {"images": [{"path": "0"}, {"path": "1"}]}
        zarr.open_group(plate / well, mode="a", zarr_format=2).attrs["well"] = fields
        for field in "01":
            labels = np.zeros((40, 40), np.uint16)
            corner = RNG.integers(2, 20, 2)
            labels[corner[0] : corner[0] + 12, corner[1] : corner[1] + 12] = 1
            raw = (RNG.integers(0, 99, labels.shape) + labels * 300).astype(np.uint16)
            write_zarr(plate / well / field, raw, "YX")
            write_zarr(plate / well / field / "labels" / "nuclei", labels, "YX")
            truth[f"plate_{well}/{field}"] = labels
    words = {"raw": str(plate), "seg1": str(plate), "scene_seg1": "labels/nuclei", "test": 0}
    curate(CurationSettings(output=str(tmp_path / "d"), leakage="allow", **words))
    manifest = read_manifest(tmp_path / "d" / "dataset.csv")
    assert [row.id for row in manifest] == sorted(truth)
    assert {row["group"] for row in manifest} == {f"plate_{well}" for well in wells}
    for row in manifest:
        np.testing.assert_array_equal(read_target(row)[0], truth[row.id])


def test_training_reads_the_part_and_the_axes_that_a_row_names(tmp_path: Path) -> None:
    from cytoloop.data.cache_builder import cache_key, read_row

    movie = RNG.integers(1, 99, (5, 2, 16, 18)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "raw.tif", movie, photometric="minisblack")
    tifffile.imwrite(tmp_path / "seg.tif", movie[:, 0] % 4, photometric="minisblack")
    values = {"raw": str(tmp_path / "raw.tif"), "seg1": str(tmp_path / "seg.tif"), "id": "a"}
    row = Row({**values, "axes": "TCYX", "time": "3", "channel": "1"})
    image, labels, valid, _ = read_row(row)
    np.testing.assert_array_equal(image, movie[3, 1:])
    np.testing.assert_array_equal(labels, movie[3, 0] % 4)
    assert valid.all()
    assert cache_key(row) != cache_key(Row({**row.values, "axes": "CTYX"}))
    with pytest.raises(ImageError, match="has 5 time points, expected one"):
        read_row(Row({**values, "axes": "TCYX"}))
