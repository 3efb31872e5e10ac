"""Excluding and merging regions from curation to the target that training reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cytoloop.curation import CurationSettings, curate, validate_dataset
from cytoloop.curation.decisions.log import append_decision
from cytoloop.errors import ConfigError, ManifestError
from cytoloop.manifest import Row, read_dataset, read_manifest
from cytoloop.truth.targets import read_target

Blobs = Callable[..., tuple[np.ndarray, np.ndarray]]
Tiff = Callable[[Path, np.ndarray], Path]


def settings_of(images: Path, **changes: object) -> CurationSettings:
    given = {"raw": images / "raw", "seg1": images / "seg", "output": images.parent / "dataset"}
    return CurationSettings(**{**given, **changes})  # type: ignore[arg-type]


def rows_of(folder: Path) -> dict[str, Row]:
    return {row.id: row for row in read_manifest(folder / "dataset.csv")}


def box(path: Path, y: int, x: int, size: int) -> Path:
    """Write the outline of a square of pixels y to y + size - 1 and x to x + size - 1."""
    low, high = np.array([y, x]) - 0.4, np.array([y, x]) + size - 0.6
    corners = [[low[0], low[1]], [low[0], high[1]], [high[0], high[1]], [high[0], low[1]]]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array([corners]))
    return path


@pytest.fixture
def second(images_3d: Path, tiff: Tiff) -> Path:
    """Images with a second segmentation, whose objects are dilated and renumbered."""
    from scipy import ndimage

    for path in (images_3d / "seg").glob("*.tif"):
        labels = tifffile.imread(path)
        other = ndimage.grey_dilation(labels, 3)
        tiff(images_3d / "seg2" / path.name, np.where(other > 0, other + 3, 0).astype(np.uint16))
    return images_3d


@pytest.mark.parametrize("base", ["seg1", "seg2"])
@pytest.mark.parametrize("rule", ["clip", "majority"])
def test_regions_merged_at_load_and_materialized_are_the_same(
    second: Path, tmp_path: Path, base: str, rule: str
) -> None:
    for number in (0, 3):
        box(second / "merge" / f"img_{number}.npy", 5, 8, 18)
    given = {"seg2": second / "seg2", "merge": second / "merge", "merge_rule": rule}
    curate(settings_of(second, **given, base_image=base))
    curate(settings_of(second, **given, base_image=base, materialize=True, output=tmp_path / "m"))
    loaded, written = rows_of(tmp_path / "dataset"), rows_of(tmp_path / "m")
    for name, row in loaded.items():
        labels, valid = read_target(row)
        again, again_valid = read_target(written[name])
        assert (labels == again).all() and (valid == again_valid).all()
    assert written["img_0"]["seg1"].startswith("targets/img_0_")
    assert written["img_0"]["seg2"] == written["img_0"]["merge_mask"] == ""
    assert written["img_1"]["seg1"] == "../images/seg/img_1.tif"
    seg1 = tifffile.imread(second / "seg" / "img_0.tif") > 0
    seg2 = tifffile.imread(second / "seg2" / "img_0.tif") > 0
    inside = np.zeros(seg1.shape, bool)
    inside[:, 5:23, 8:26] = True
    first, other = (seg1, seg2) if base == "seg1" else (seg2, seg1)
    if rule == "clip":
        assert ((read_target(loaded["img_0"])[0] > 0) == np.where(inside, other, first)).all()
    validate_dataset(read_dataset(tmp_path / "m"))
    before = {p: p.read_bytes() for p in (tmp_path / "m").rglob("*") if p.is_file()}
    curate(settings_of(second, **given, base_image=base, materialize=True, output=tmp_path / "m"))
    assert {p: p.read_bytes() for p in (tmp_path / "m").rglob("*") if p.is_file()} == before


def test_regions_both_to_merge_and_to_exclude_are_refused(second: Path) -> None:
    box(second / "merge" / "img_1.npy", 5, 5, 10)
    box(second / "exclude" / "img_1.npy", 14, 14, 10)
    given = {"seg2": second / "seg2", "merge": second / "merge", "exclude": second / "exclude"}
    with pytest.raises(ManifestError) as caught:
        curate(settings_of(second, **given))
    assert caught.value.problems == [
        "row 2 (img_1), column 'merge_mask': 12 voxels are in both a merging and an "
        "excluding region; draw the regions apart"
    ]
    box(second / "exclude" / "img_1.npy", 15, 15, 10)
    curate(settings_of(second, **given))


def test_regions_merging_needs_a_second_segmentation(second: Path) -> None:
    box(second / "merge" / "img_1.npy", 5, 5, 10)
    with pytest.raises(ManifestError, match=r"\(img_1\), column 'seg2': is empty, but merging"):
        curate(settings_of(second, merge=second / "merge"))
    with pytest.raises(ManifestError, match=r"rows 1, 2, 3, 4, 5 .* merging needs a second"):
        curate(settings_of(second, base_image="seg2"))


def test_regions_of_rules_outlines_and_planes_are_united(images_3d: Path, tmp_path: Path) -> None:
    labels = tifffile.imread(images_3d / "seg" / "img_2.tif")
    planes = np.zeros(labels.shape, np.uint8)
    planes[3:5, :10] = 1
    tifffile.imwrite(tmp_path / "planes.tif", planes, imagej=True, metadata={"axes": "ZYX"})
    outline = box(tmp_path / "outline.npy", 30, 30, 6)
    parts = f"{outline.name}; planes.tif; labels(2)"
    append_decision(tmp_path / "decisions.csv", {"id": "img_2", "exclude": parts})
    curate(
        settings_of(
            images_3d, exclude_rules=["outside_labels(1)"], decisions=tmp_path / "decisions.csv"
        )
    )
    rows = rows_of(tmp_path / "dataset")
    valid = read_target(rows["img_2"])[1]
    hidden = planes > 0
    hidden[:, 30:36, 30:36] = True
    hidden |= labels == 2
    inside = np.zeros(labels.shape, bool)
    where = [(a.min(), a.max()) for a in np.nonzero(labels)]
    inside[tuple(slice(max(low - 1, 0), high + 2) for low, high in where)] = True
    assert (valid == ~(hidden | ~inside)).all()
    assert rows["img_2"]["exclude"] == "none"  # the sources name no region
    assert rows["img_0"]["exclude_mask"].startswith("regions/img_0_exclude_")
    validate_dataset(read_dataset(tmp_path / "dataset"))


def test_regions_of_rules_win_over_merging(second: Path, tmp_path: Path) -> None:
    box(second / "merge" / "img_1.npy", 0, 0, 40)
    given = {"seg2": second / "seg2", "merge": second / "merge"}
    curate(settings_of(second, **given, exclude_rules=["outside_labels(2)"]))
    row = rows_of(tmp_path / "dataset")["img_1"]
    assert row["merge_mask"].startswith("regions/img_1_merge_")
    assert row["merge"] == "../images/merge/img_1.npy"
    validate_dataset(read_dataset(tmp_path / "dataset"))


@pytest.mark.parametrize(
    "text",
    ["outside_labels(1um); labels(2, 3)", "[outside_labels(1um),'labels(2, 3)']"],
)
def test_regions_rules_can_be_one_text(images_3d: Path, text: str) -> None:
    assert settings_of(images_3d, exclude_rules=text).rules == (
        "outside_labels(1um)",
        "labels(2, 3)",
    )


def test_regions_rules_are_checked_before_any_image_is_read(images_3d: Path) -> None:
    with pytest.raises(ConfigError, match=r"exclude_rules: borders\(3\)"):
        settings_of(images_3d, exclude_rules=["borders(3)"])


def test_regions_that_are_missing_or_damaged_are_named(images_3d: Path, tmp_path: Path) -> None:
    (tmp_path / "damaged.npy").write_bytes(b"no array")
    log = tmp_path / "decisions.csv"
    append_decision(log, {"id": "img_0", "exclude": "gone.npy"})
    append_decision(log, {"id": "img_1", "exclude": "damaged.npy"})
    with pytest.raises(ManifestError) as caught:
        curate(settings_of(images_3d, decisions=log))
    first, other = caught.value.problems
    assert "(img_0)" in first and "file not found: " in first and "gone.npy" in first
    assert "(img_1), column 'exclude_mask': damaged.npy: " in other


def test_regions_excluding_everything_is_refused(images_3d: Path) -> None:
    box(images_3d / "exclude" / "img_1.npy", 0, 0, 40)
    with pytest.raises(ManifestError, match="excludes the whole image; reject the image"):
        curate(settings_of(images_3d, exclude=images_3d / "exclude"))


def test_a_binary_segmentation_is_a_problem_where_instances_are_required(
    images_3d: Path, tiff: Tiff
) -> None:
    path = images_3d / "seg" / "img_2.tif"
    tiff(path, (tifffile.imread(path) > 0).astype(np.uint16) * 255)
    curate(settings_of(images_3d))
    with pytest.raises(ManifestError, match=r"\(img_2\).*one label covers [2-5] separate pieces"):
        curate(settings_of(images_3d, instances=True))


def test_time_series_become_rows(tmp_path: Path, blobs: Blobs) -> None:
    for name in ("a", "b"):
        frames = [blobs((6, 32, 32), 3, seed=10 * ord(name) + t, radius=3) for t in range(3)]
        for kind, number in (("raw", 0), ("seg", 1)):
            stack = np.stack([frame[number] for frame in frames]).astype(np.uint16)
            (tmp_path / kind).mkdir(exist_ok=True)
            tifffile.imwrite(
                tmp_path / kind / f"{name}.tif", stack, imagej=True, metadata={"axes": "TZYX"}
            )
    for folder, time in (("c", None), ("d", "all")):
        curate(settings_of(tmp_path, output=tmp_path / folder, time=time, test=0))
    rows = rows_of(tmp_path / "d")
    assert list(rows_of(tmp_path / "c")) == list(rows)
    assert list(rows) == [f"{n}_t00{t}" for n in "ab" for t in range(3)]
    assert {row["group"] for row in rows.values()} == {"a", "b"}
    assert len({row["split"] for n, row in rows.items() if n[0] == "a"}) == 1
    labels = read_target(rows["b_t002"])[0]
    assert (labels == tifffile.imread(tmp_path / "seg" / "b.tif")[2]).all()
    curate(settings_of(tmp_path, output=tmp_path / "e", time=1, time_seg1=2, leakage="allow"))
    row = rows_of(tmp_path / "e")["a"]
    assert (read_target(row)[0] == tifffile.imread(tmp_path / "seg" / "a.tif")[2]).all()


@pytest.mark.realdata
def test_scenes_and_channels_of_a_czi_by_name(real_data: Path, tmp_path: Path) -> None:
    from cytoloop.io.read import read_header, read_image

    path = real_data / "formats" / "czi" / "WellD6-7_S2.czi"
    header = read_header(path)
    for scene in header.scenes:
        pixels = read_image(path, 0, scene).data[0]
        labels = np.zeros(pixels.shape, np.uint16)
        labels[..., 10:30, 10:30] = 1
        labels[..., 50:80, 40:80] = 2
        (tmp_path / "seg").mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / "seg" / f"{path.stem}_{scene}.tif", labels)
    table = tmp_path / "table.csv"
    lines = [f"{path},seg/{path.stem}_{s}.tif,{s},{path.stem}_{s}" for s in header.scenes]
    table.write_text("\n".join(["raw,seg1,scene,id", *lines]) + "\n")
    curate(CurationSettings(raw=table, output=tmp_path / "d", channel=header.channels[0], test=0))
    rows = rows_of(tmp_path / "d")
    assert {row["scene"] for row in rows.values()} == set(header.scenes)
    assert {row["channel"] for row in rows.values()} == {header.channels[0]}
