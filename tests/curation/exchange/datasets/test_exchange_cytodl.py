"""CytoDL format."""

from __future__ import annotations

import csv
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from cytoloop.curation import CurationSettings, curate
from cytoloop.curation.exchange.datasets import cytodl
from cytoloop.curation.exchange.datasets.cytodl import is_project, read, write
from cytoloop.errors import ConfigError, ManifestError, OutputError
from cytoloop.io.read import read_image
from cytoloop.io.writers.tiff import write_image
from cytoloop.manifest import CYTODL_COLUMNS, Row, read_dataset
from cytoloop.truth.targets import read_target

SHAPE = (6, 24, 28)
Blobs = Callable[..., tuple[np.ndarray, np.ndarray]]


def write_tiff(path: Path, data: np.ndarray) -> None:
    """Write an ImageJ TIFF, which is read much faster than an OME-TIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    axes = {"axes": "ZYX"[-data.ndim :]}
    tifffile.imwrite(path, data.astype(np.uint16), imagej=True, metadata=axes)


def write_row(folder: Path, name: str, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Row:
    """Write a raw image and two segmentations; return their row."""
    rng = np.random.default_rng(seed)
    values = {"id": name, "split": "train", "base_image": "seg1"}
    for column, top in (("raw", 4000), ("seg1", 3), ("seg2", 3)):
        path = folder / column / f"{name}.tif"
        write_tiff(path, rng.integers(0, top, shape))
        values[column] = str(path)
    return Row(values, folder, seed + 1)


def set_region(row: Row, column: str, mask: np.ndarray) -> None:
    path = row.root / f"{column}_{row.id}.tif"
    write_tiff(path, mask)
    row.values[column] = path.name  # relative to the manifest


def make_mask(shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[..., 3:15, 4:20] = True
    mask[..., 8:10, 8:12] = False
    return mask


def read_exported(folder: Path) -> dict[str, Row]:
    return {row.id: row for part in read_dataset(folder).values() for row in part}


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """Return one row for training and one for validation."""
    found = [write_row(tmp_path / "in", f"i{n}", n) for n in range(2)]
    found[1].values["split"] = "valid"
    return found


def test_tables_have_cytodls_columns_first_and_absolute_paths(
    rows: list[Row], tmp_path: Path
) -> None:
    rows[0].root = tmp_path / "in"
    rows[0].values["raw"] = "raw/i0.tif"
    result = write(tmp_path / "out", rows)
    for name, count in (("train", 1), ("valid", 1), ("test", 0)):
        with (tmp_path / "out" / f"{name}.csv").open(newline="") as file:
            header, *lines = csv.reader(file)
        assert tuple(header[:6]) == CYTODL_COLUMNS
        assert not [c for c in header[6:] if c.startswith(CYTODL_COLUMNS)]
        assert len(lines) == count
    assert read_exported(tmp_path / "out")["i0"]["raw"] == str(tmp_path / "in/raw/i0.tif")
    # files that CytoDL can read are not copied
    assert {path.name for path in result.files} == {
        *("train.csv", "valid.csv", "test.csv", "README.txt", "export.json")
    }


def test_export_is_read_back_and_curated_again(rows: list[Row], tmp_path: Path) -> None:
    set_region(rows[0], "exclude_mask", make_mask(SHAPE[1:]))
    write(tmp_path / "out", rows)
    assert is_project(tmp_path / "out") and not is_project(tmp_path / "in")
    back = read(tmp_path / "out")
    assert [(row.id, row["split"]) for row in back] == [("i0", "train"), ("i1", "valid")]
    for row, other in zip(rows, back, strict=True):
        for ours, theirs in zip(read_target(row), read_target(other), strict=True):
            np.testing.assert_array_equal(ours > 0, theirs > 0)
    settings = CurationSettings(raw=tmp_path / "out", output=tmp_path / "again")
    again = {row.id: row for row in curate(settings).rows}
    assert {name: row["raw"] for name, row in again.items()} == {r.id: r["raw"] for r in rows}


@st.composite
def masks(draw: st.DrawFn, ndim: int) -> np.ndarray | None:
    """Draw None or a mask: empty, full, the same in all planes, or different between planes."""
    kind = draw(st.sampled_from(["none", "empty", "full", "flat", "deep"]))
    shape = SHAPE[-ndim:] if kind == "deep" else SHAPE[-2:]
    coarse = (*(n // 4 if n > 6 else n for n in shape),)
    mask = np.random.default_rng(draw(st.integers(0, 10**6))).random(coarse) < 0.4
    mask = mask.repeat(4, -1).repeat(4, -2) & (kind != "empty") | (kind == "full")
    return None if kind == "none" else mask


@hypothesis_settings(max_examples=10, deadline=None)
@given(
    st.sampled_from([2, 3]).flatmap(lambda n: st.tuples(st.just(n), masks(n), masks(n))),
    st.sampled_from(["seg1", "seg2"]),
)
@example((2, np.ones(SHAPE[1:], bool), None), "seg1")  # the same in all rows, but 2D
def test_exported_rows_give_the_same_targets_or_are_left_out(
    drawn: tuple[int, np.ndarray | None, np.ndarray | None], base: str
) -> None:
    ndim, merge, exclude = drawn
    with tempfile.TemporaryDirectory() as name:
        home = Path(name).resolve()
        rows = [write_row(home / "in", f"i{n}", n, SHAPE[-ndim:]) for n in range(3)]
        rows[1].values["split"] = "valid"
        rows[2].values["base_image"] = base
        for column, mask in (("merge_mask", merge), ("exclude_mask", exclude)):
            if mask is not None:
                set_region(rows[2], column, mask)
        result = write(home / "out", rows, on_problem="reject")
        excludes = exclude is not None and exclude.any()
        assert bool(result.left_out) == bool(excludes and (ndim == 2 or exclude.ndim == 3))
        found = read_exported(home / "out").get("i2")
        if found is None:
            assert "i2" in result.left_out
            return
        labels, valid = read_target(rows[2])
        same, where = read_target(found)
        np.testing.assert_array_equal(labels > 0, same > 0)
        np.testing.assert_array_equal(valid, where)
        for cell in ("merge_mask", "exclude_mask"):
            if found[cell]:
                assert ndim == 3
                outlines = np.load(found[cell], allow_pickle=True)
                assert len(outlines) and all(one.shape[1] == 2 for one in outlines)


def test_channels_scenes_times_and_formats_are_written_as_tiff(
    rows: list[Row], tmp_path: Path
) -> None:
    stack = np.random.default_rng(0).integers(0, 9, (2, 3, *SHAPE)).astype(np.uint16)
    many = tmp_path / "many.ome.tif"
    with tifffile.TiffWriter(many, ome=True) as file:
        for scene in range(2):
            file.write(stack + 10 * scene, metadata={"axes": "TCZYX"}, photometric="minisblack")
    for number, row in enumerate(rows):
        chosen = {"raw": str(many), "channel": str(2 * number), "scene": "1", "time": str(number)}
        row.values |= chosen
    rows[0].values |= {"seg1": str(many), "channel_seg1": "1"}
    write(tmp_path / "out", rows)
    found = read_exported(tmp_path / "out")
    for number in range(2):
        path = Path(found[f"i{number}"]["raw"])
        assert path.is_relative_to(tmp_path / "out/images")
        assert path.name == f"i{number}.ome.tif"  # two rows of one file
        np.testing.assert_array_equal(read_image(path).data[0], stack[number, 2 * number] + 10)
    np.testing.assert_array_equal(read_target(found["i0"])[0], stack[0, 1] + 10)
    assert found["i1"]["seg1"] == rows[1]["seg1"]


def test_sample_of_a_colour_picture_is_written_as_an_image(tmp_path: Path) -> None:
    rows = [write_row(tmp_path / "in", f"i{n}", n, SHAPE[1:]) for n in range(2)]
    rows[1].values["split"] = "valid"
    colours = np.random.default_rng(0).integers(0, 255, (*SHAPE[1:], 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "rgb.tif", colours, photometric="rgb")
    for number, row in enumerate(rows):
        row.values |= {"raw": str(tmp_path / "rgb.tif"), "channel": str(number)}
    write(tmp_path / "out", rows)
    for number, row in enumerate(read_exported(tmp_path / "out").values()):
        pixels = read_image(row["raw"]).data
        np.testing.assert_array_equal(pixels[0], colours[..., number])
        assert len(pixels) == 1


def test_format_other_than_tiff_keeps_its_voxel_size(rows: list[Row], tmp_path: Path) -> None:
    from bioio_ome_zarr.writers import OMEZarrWriter

    path = tmp_path / "raw.ome.zarr"
    data = np.arange(np.prod(SHAPE), dtype=np.uint16).reshape(SHAPE)
    OMEZarrWriter(str(path), level_shapes=[data.shape], dtype=data.dtype).write_full_volume(data)
    rows[0].values |= {"raw": str(path), "spacing_um": "2 1 0.5"}
    write(tmp_path / "out", rows)
    image = read_image(read_exported(tmp_path / "out")["i0"]["raw"])
    np.testing.assert_array_equal(image.data[0], data)
    assert image.spacing_um == (2, 1, 0.5)


def test_merging_by_another_rule_is_written_as_labels(rows: list[Row], tmp_path: Path) -> None:
    for row in rows:
        set_region(row, "merge_mask", make_mask(SHAPE[1:]))
    rows[0].values["merge_rule"] = "majority"
    write(tmp_path / "out", rows)
    found = read_exported(tmp_path / "out")
    assert found["i0"]["seg1"].endswith("labels/i0_merged.ome.tif")
    assert (found["i0"]["seg2"], found["i0"]["merge_mask"]) == ("", "")
    assert found["i1"]["merge_mask"].endswith("merging_mask_i1.npy")
    np.testing.assert_array_equal(read_target(rows[0])[0], read_target(found["i0"])[0])


def test_unusable_rows_are_refused_all_at_once(rows: list[Row], tmp_path: Path) -> None:
    two = tmp_path / "two.ome.tif"
    write_image(two, np.zeros((2, *SHAPE), np.uint16), "CZYX", None, ["A", "B"])
    extra = [write_row(tmp_path / "in", f"x{n}", 10 + n) for n in range(7)]
    extra[0].values["raw"] = str(two)
    extra[1].values |= {"raw": str(two), "channel": "C"}
    extra[2].values["split"] = "later"
    extra[3].values |= {"seg2": "", "base_image": "seg2"}
    write_image(tmp_path / "small.ome.tif", np.zeros((3, 24, 28), np.uint16), "ZYX")
    extra[4].values["seg1"] = str(tmp_path / "small.ome.tif")
    set_region(extra[5], "exclude_mask", make_mask(SHAPE) & (np.arange(6) > 2)[:, None, None])
    extra[6].values |= {"raw": str(tmp_path / "none.tif"), "base_image": "seg3"}
    with pytest.raises(ManifestError) as caught:
        write(tmp_path / "out", rows + extra)
    for words in (
        "(x0), column 'raw': has channels A, B, but CytoDL's config reads one",
        "(x1), column 'channel': no channel 'C' (expected 0: A, 1: B)",
        "(x2), column 'split': 'later'; expected",
        "(x3), column 'seg2': is empty, but merging needs it",
        "(x4), column 'seg1': shape (3, 24, 28) but raw is (6, 24, 28)",
        "(x5), column 'exclude_mask': differs between planes",
        "no such file",
        "(x6), column 'base_image': 'seg3'; expected",
    ):
        assert words in str(caught.value)
    assert not (tmp_path / "out").exists()
    result = write(tmp_path / "out", rows + extra, on_problem="reject")
    assert list(result.left_out) == [row.id for row in extra]
    assert list(read_exported(tmp_path / "out")) == ["i0", "i1"]
    text = (tmp_path / "out/README.txt").read_text()
    assert "- x5: " in text and "differs between planes" in text


def test_excluded_region_of_a_2d_image_is_refused(tmp_path: Path) -> None:
    rows = [write_row(tmp_path / "in", f"i{n}", n, SHAPE[1:]) for n in range(2)]
    rows[1].values["split"] = "valid"
    set_region(rows[0], "exclude_mask", make_mask(SHAPE[1:]))
    with pytest.raises(ManifestError, match="row 1.*excludes part of a 2D image"):
        write(tmp_path / "out", rows)


def test_images_too_thin_for_the_network_are_refused(rows: list[Row], tmp_path: Path) -> None:
    rows.append(write_row(tmp_path / "in", "thin", 5, (3, 24, 28)))
    with pytest.raises(ManifestError, match="thin.*needs 4 voxels along each axis"):
        write(tmp_path / "out", rows)


def test_2d_and_3d_images_together_and_missing_splits_are_refused(
    rows: list[Row], tmp_path: Path
) -> None:
    rows[0] = write_row(tmp_path / "in", "flat", 5, SHAPE[1:])
    rows[0].values["split"] = "test"
    with pytest.raises(ManifestError) as caught:
        write(tmp_path / "out", rows)
    assert "2D images (flat) and 3D images (i1)" in str(caught.value)
    assert "no row of split train" in str(caught.value)


def test_rejected_rows_are_ignored(rows: list[Row], tmp_path: Path) -> None:
    rows.append(Row({"raw": "gone.tif", "id": "gone", "status": "reject"}))
    assert not write(tmp_path / "out", rows).left_out


def test_unknown_on_problem_is_refused(rows: list[Row], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Expected refuse or reject"):
        write(tmp_path / "out", rows, on_problem="ignore")


def test_earlier_export_is_replaced_without_leftovers(rows: list[Row], tmp_path: Path) -> None:
    set_region(rows[0], "exclude_mask", make_mask(SHAPE[1:]))
    write(tmp_path / "out", rows)
    rows[0].values["exclude_mask"] = ""
    write(tmp_path / "out", rows)
    assert not list((tmp_path / "out").rglob("*.npy"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


@pytest.mark.parametrize("spoil", ["added", "changed", "foreign"])
def test_foreign_and_changed_files_are_never_replaced(
    rows: list[Row], tmp_path: Path, spoil: str
) -> None:
    out = tmp_path / "out"
    if spoil != "foreign":
        write(out, rows)
    out.mkdir(exist_ok=True)
    name = "train.csv" if spoil == "changed" else "notes.txt"
    (out / name).write_text("mine")
    with pytest.raises(OutputError, match=f"holds {name}: not written by cytodl, or changed since"):
        write(out, rows)
    assert (out / name).read_text() == "mine"


def test_export_over_a_file_or_its_own_source_is_refused(rows: list[Row], tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a file"):
        write(rows[0]["raw"], rows)
    set_region(rows[0], "merge_mask", make_mask(SHAPE) & (np.arange(6) > 2)[:, None, None])
    write(tmp_path / "out", rows)
    again = list(read_exported(tmp_path / "out").values())
    with pytest.raises(OutputError, match=r"the rows use files in it: .*i0_merged"):
        write(tmp_path / "out", again)


def test_failure_while_writing_keeps_the_earlier_export(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "out", rows)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cytodl, "write_manifest", fail)
    with pytest.raises(OutputError, match="No space left"):
        write(tmp_path / "out", rows)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_failure_of_the_last_rename_restores_the_earlier_export(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write(out, rows)
    rename = Path.rename

    def refuse_new_folder(path: Path, target: Path) -> Path:
        if target == out and not path.name.endswith("-old"):
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse_new_folder)
    with pytest.raises(OutputError, match="Permission denied"):
        write(out, rows)
    assert read_exported(out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def command(folder: Path) -> list[str]:
    """Return the words of the command in the README of an export."""
    text = (folder / "README.txt").read_text()
    start = text.index("PROJECT_ROOT=.")
    return shlex.split(text[start : text.index("\n\n", start)].replace("\\\n", " "))


def test_readme_quotes_paths_and_fits_the_patch(tmp_path: Path) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    rows = [write_row(tmp_path / "in", f"i{n}", n, (18, 30 + n, 70)) for n in range(2)]
    rows[1].values["split"] = "valid"
    out = tmp_path / 'it\'s, "a" (folder) = ö'
    write(out, rows)
    assignment, *words = command(out)
    assert (assignment, words[:3]) == ("PROJECT_ROOT=.", ["python", "-m", "cyto_dl.train"])
    parsed = OverridesParser.create().parse_overrides(words[3:])
    given = {one.key_or_group: one.value() for one in parsed}
    assert given["data.path"] == str(out)
    assert given["data._aux.patch_shape"] == [16, 28, 64]
    assert given["spatial_dims"] == 3


def cytodl_samples(folder: Path, dims: int) -> dict[str, dict[str, Any]]:
    """Return the uncropped samples of CytoDL's own data module, by raw path."""
    import cyto_dl.train  # registers the resolvers of its configs
    import hydra
    from cyto_dl.datamodules.dataframe import DataframeDatamodule
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    configs = Path(cyto_dl.__file__).parents[1] / "configs"
    words = [
        *("experiment=im2im/segmentation_plugin", f"spatial_dims={dims}"),
        *("data.num_workers=0", "model._aux.filters=[4]", f"paths.output_dir={folder}"),
    ]
    with initialize_config_dir(str(configs), version_base="1.3"):
        data = compose("train", words).data
    chains = {}
    for split in ("train", "valid"):
        chain = OmegaConf.to_container(data.transforms[split], resolve=True)
        assert chain["transforms"][-1]["_target_"].endswith("RandomMultiScaleCropd")
        chain["transforms"].pop()
        chains[split] = hydra.utils.instantiate(chain)
    unused = dict.fromkeys(("test", "predict"), chains["train"])
    chains = {"train": chains["train"], "val": chains["valid"], **unused}
    columns = OmegaConf.to_container(data.columns, resolve=True)
    module = DataframeDatamodule(str(folder), chains, columns=columns)
    samples = {}
    for split in ("train", "val"):
        raws = module.datasets[split].data.dataframe["raw"].to_pylist()
        samples |= {raw: module.datasets[split][n] for n, raw in enumerate(raws)}
    return samples


def check_against_cytodl(rows: list[Row], out: Path) -> None:
    """Check that CytoDL's samples have our raw values, targets and valid voxels."""
    dims = read_target(rows[0])[0].ndim
    found = read_exported(out)
    samples = cytodl_samples(out, dims)
    assert len(samples) == len(rows)
    for row in rows:
        sample = samples[found[row.id]["raw"]]
        labels, valid = read_target(row)
        np.testing.assert_array_equal(np.asarray(sample["seg"])[0], labels > 0, row.id)
        np.testing.assert_array_equal(np.asarray(sample["exclude_mask"])[0], valid, row.id)
        raw = read_image(row["raw"]).data[0].astype(np.float32)
        raw = (raw - raw.mean()) / raw.std()
        np.testing.assert_allclose(np.asarray(sample["raw"])[0], raw, atol=0.01, rtol=0.01)


def second_segmentation(path: Path, labels: np.ndarray) -> str:
    """Write shifted and expanded labels; return their path."""
    from skimage.segmentation import expand_labels

    shifted = np.roll(labels, (3, -4), (-2, -1))
    grown = expand_labels(shifted, 2)
    write_tiff(path, grown)
    return str(path)


def save_polygons(path: Path) -> str:
    """Write polygons as drawn by hand: irregular, overlapping, beyond the border."""
    outlines = np.empty(3, object)
    outlines[0] = np.array([[10.3, 20.8], [60.1, 25.0], [55.5, 70.2], [12.0, 66.6]])
    outlines[1] = np.array([[50.0, 60.0], [90.0, 62.0], [70.0, 100.0]])
    outlines[2] = np.array([[-5.0, 90.0], [-5.0, 300.0], [30.5, 300.0], [20.0, 95.5], [8, 92]])
    np.save(path, outlines, allow_pickle=True)
    return str(path)


@pytest.mark.realdata
def test_cytodl_learns_from_the_same_voxels_in_3d(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "bbbc050"
    rows = []
    for number, time in enumerate(("t001", "t251", "t351", "t401", "t451")):
        files = {
            c: source / f / f"Emb01_{time}.tif" for c, f in (("raw", "images"), ("seg1", "labels"))
        }
        labels = read_image(files["seg1"]).data[0]
        values = {c: str(p) for c, p in files.items()}
        values |= {"id": time, "split": "valid" if number == 2 else "train", "base_image": "seg1"}
        values["seg2"] = second_segmentation(tmp_path / f"seg2_{time}.tif", labels)
        rows.append(Row(values, tmp_path, number + 1))
    shape = labels.shape
    holes = np.zeros(shape[1:], bool)
    holes[20:100, 15:90] = True
    holes[40:60, 30:50] = False
    holes[48:52, 38:42] = True
    holes[0, 0] = holes[-1, -1] = True
    deep = np.zeros(shape, bool)
    deep[10:30, 30:90, 40:100] = True
    rows[0].values["exclude_mask"] = save_polygons(tmp_path / "drawn.npy")
    rows[1].values["merge_mask"] = save_polygons(tmp_path / "merged.npy")
    set_region(rows[1], "exclude_mask", holes)
    rows[2].values["base_image"] = "seg2"
    set_region(rows[2], "merge_mask", holes)
    rows[2].values["exclude_mask"] = save_polygons(tmp_path / "again.npy")
    set_region(rows[3], "merge_mask", deep)
    set_region(rows[3], "exclude_mask", np.broadcast_to(holes, shape))
    rows[4].values["base_image"] = "seg2"
    set_region(rows[4], "exclude_mask", np.zeros(shape[1:], bool))
    write(tmp_path / "out", rows)
    check_against_cytodl(rows, tmp_path / "out")


@pytest.mark.realdata
def test_cytodl_learns_from_the_same_voxels_in_2d(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "dsb2018"
    rows = []
    for number, raw in enumerate(sorted((source / "images").glob("*.tif"))[:4]):
        labels = read_image(source / "masks" / raw.name).data[0]
        values = {"raw": str(raw), "seg1": str(source / "masks" / raw.name), "id": raw.stem}
        values |= {"split": "valid" if number == 1 else "train"}
        values["seg2"] = second_segmentation(tmp_path / f"seg2_{number}.tif", labels)
        rows.append(Row(values, tmp_path, number + 1))
    rows[0].values["merge_mask"] = save_polygons(tmp_path / "drawn.npy")
    rows[1].values["base_image"] = rows[2].values["base_image"] = "seg2"
    set_region(rows[1], "merge_mask", make_mask(read_image(rows[1]["raw"]).data.shape[1:]))
    write(tmp_path / "out", rows)
    check_against_cytodl(rows, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(12, 40, 44), (40, 44)])
def test_plain_cytodl_trains_on_an_export(blobs: Blobs, tmp_path: Path, shape: Any) -> None:
    rows = []
    for number in range(3):
        row = write_row(tmp_path / "in", f"i{number}", number, shape)
        raw, labels = blobs(shape, 5, number)
        for column, data in (("raw", raw), ("seg1", labels)):
            write_tiff(Path(row[column]), data)
        rows.append(row)
    rows[2].values["split"] = "valid"
    set_region(rows[0], "merge_mask", make_mask(shape[-2:]))
    if len(shape) == 3:
        set_region(rows[1], "exclude_mask", make_mask(shape[-2:]))
    out = tmp_path / "data set"
    write(out, rows)
    _, _, *words = command(out)
    done = subprocess.run(
        [sys.executable, *words, "trainer.max_epochs=1", "model._aux.filters=[4,8,8]"],
        cwd=tmp_path,
        env={**os.environ, "PROJECT_ROOT": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "data set-training/checkpoints/last.ckpt").is_file()
