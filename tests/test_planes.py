"""Stacks as series of 2D pictures, through all verbs.

The first test of each part has the sentence of the Segmentation module's guide as its name.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from omegaconf import OmegaConf
from skimage.measure import label

import cytoloop
from cytoloop.__main__ import main
from cytoloop.curation import CurationSettings, curate
from cytoloop.data.cache_builder import read_row
from cytoloop.errors import ConfigError, ImageError, ManifestError
from cytoloop.evaluation import EvaluationSettings, evaluate
from cytoloop.inference import volume_storage
from cytoloop.inference.cluster import images_in_blocks
from cytoloop.inference.image_task import ImageTask
from cytoloop.inference.model_source import ModelSource
from cytoloop.inference.predict_rows import predict_rows
from cytoloop.inference.settings import OutputSettings, PredictionSettings, ReadingSettings
from cytoloop.inference.windows import plane_maps
from cytoloop.instances.join_planes import PlaneJoiner
from cytoloop.io.read import read_header, read_image
from cytoloop.io.writers.tiff import write_image
from cytoloop.io.writers.zarr import write_zarr
from cytoloop.manifest import Row, expand_row, read_dataset, read_manifest, write_manifest
from cytoloop.truth.targets import read_target

QUIET = EvaluationSettings(resamples=0, overlays=0)
Write = Callable[[Path, np.ndarray], Path]


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open() as file:
        return {row["id"]: row for row in csv.DictReader(file)}


@pytest.fixture
def stacks(tmp_path: Path, blobs: Callable, tiff: Write) -> Path:
    """Folder with four stacks of 6 x 40 x 40; in ``sparse/`` only plane 2 has labels."""
    for number in range(4):
        raw, labels = blobs((6, 40, 40), 4, seed=number)
        tiff(tmp_path / f"raw/s{number}.tif", raw)
        tiff(tmp_path / f"seg/s{number}.tif", labels)
        sparse = np.zeros_like(labels)
        sparse[2] = labels[2]
        tiff(tmp_path / f"sparse/s{number}.tif", sparse)
    return tmp_path


def curated(folder: Path, seg: str = "seg", **settings: Any) -> Any:
    values = {"planes": True, "workers": 1, **settings}
    return curate(
        CurationSettings(raw=folder / "raw", seg1=folder / seg, output=folder / "ds", **values)
    )


# ---- curate: "Raw Images | TIFF stack | Annotations | TIFF stack ... (same dimensions)"


def test_raw_images_tiff_stack_annotations_tiff_stack_same_dimensions(stacks: Path) -> None:
    result = curated(stacks)
    dataset = read_dataset(stacks / "ds")
    assert [len(dataset[split]) for split in ("train", "valid", "test")] == [12, 6, 6]
    for rows in dataset.values():  # the planes of a stack are in one split
        names = {row["group"] for row in rows}
        assert sorted(row.id for row in rows) == sorted(
            f"{name}_z{plane:03d}" for name in names for plane in range(6)
        )
    row = dataset["train"].rows[4]
    image, labels, valid, spacing = read_row(row)
    with tifffile.TiffFile(row.file("raw") or "") as file:
        np.testing.assert_array_equal(image[0], file.asarray()[int(row["plane"])])
    assert labels.shape == (40, 40) and valid.all()
    assert spacing == pytest.approx((0.6, 0.3, 0.3))
    flags = {flag for row in result.rows for flag in row["flags"].split()}
    assert not flags & {"similarity", "label_gaps"}  # true of all planes of a stack


def test_one_annotated_plane_is_enough(stacks: Path, caplog: pytest.LogCaptureFixture) -> None:
    curated(stacks, "sparse", planes="annotated")
    rows = read_manifest(stacks / "ds/dataset.csv").rows
    assert [row.id for row in rows] == [f"s{n}_z002" for n in range(4)]
    assert [row["group"] for row in rows] == [f"s{n}" for n in range(4)]
    assert "most planes" not in caplog.text
    curated(stacks, "sparse", planes="all", overwrite=True)
    assert "most planes have no label" in caplog.text and "s0 (5 of 6)" in caplog.text
    assert "planes=annotated" in caplog.text


def test_ignore_values_are_no_annotation(tmp_path: Path, tiff: Write) -> None:
    labels = np.full((3, 8, 8), 255, np.uint8)
    labels[1] = 0
    labels[2, 2:5, 2:5] = 7
    cells = {"id": "a", "raw": str(tiff(tmp_path / "a.tif", labels)), "plane": "annotated"}
    row = Row({**cells, "seg1": str(tmp_path / "a.tif"), "ignore_label": "255"})
    assert [one.id for one in expand_row(row)] == ["a_z002"]
    row.values["ignore_label"] = "255 7"
    with pytest.raises(ManifestError, match="no label in any of its 3 planes"):
        expand_row(row)


def test_a_picture_of_labels_belongs_to_the_plane_that_the_table_names(
    stacks: Path, tiff: Write
) -> None:
    labels = tifffile.imread(stacks / "seg/s0.tif")
    flat = tiff(stacks / "flat.tif", labels[3])
    table = stacks / "t.csv"
    raw = stacks / "raw/s0.tif"
    write_manifest(table, [{"raw": str(raw), "seg1": str(flat), "plane": "3"}])
    row = read_manifest(table).rows[0]
    assert [one.id for one in expand_row(row)] == ["s0"]
    np.testing.assert_array_equal(read_target(row)[0], labels[3])
    row.values["plane"] = "all"
    with pytest.raises(ManifestError, match="has 1 plane.s. but raw has 6"):
        expand_row(row)
    row.values["plane"] = "6"
    with pytest.raises(ImageError, match="has no plane 6"):
        read_row(row)
    row.values["plane"] = "top"
    with pytest.raises(ManifestError, match="'top' is not a plane"):
        read_row(row)


def test_regions_of_a_stack_apply_to_its_planes(tmp_path: Path, tiff: Write) -> None:
    """A 3D mask by its plane, an outline by its plane or everywhere."""
    labels = np.ones((3, 12, 12), np.uint8)
    mask = np.zeros((3, 12, 12), np.uint8)
    mask[1, :4] = 1
    square = [[2, 2], [9, 2], [9, 9], [2, 9]]
    outline = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[*square, square[0]]]},
    }
    outline["properties"] = {"plane": {"z": 2}}
    (tmp_path / "o.geojson").write_text(json.dumps(outline))
    cells = {"raw": str(tiff(tmp_path / "a.tif", labels)), "seg1": str(tmp_path / "a.tif")}
    for region in (tiff(tmp_path / "m.tif", mask), tmp_path / "o.geojson"):
        row = Row({**cells, "exclude_mask": str(region)})
        whole = read_target(row)[1]
        assert not whole.all() and whole[0].all()
        for plane in range(3):
            row.values["plane"] = str(plane)
            np.testing.assert_array_equal(read_target(row)[1], whole[plane])


def test_a_single_stack_is_cut_at_the_same_place_in_all_planes(stacks: Path) -> None:
    result = curate(
        CurationSettings(
            raw=stacks / "raw/s0.tif", seg1=stacks / "seg/s0.tif", output=stacks / "one",
            planes=True, test=0, workers=1,
        )
    )  # fmt: skip
    assert {row["split"] for row in result.rows} == {"train", "valid"}
    by_split = {
        split: {row["exclude"] for row in result.rows if row["split"] == split}
        for split in ("train", "valid")
    }
    assert all(len(rules) == 1 for rules in by_split.values())
    assert {row["group"] for row in result.rows} == {"s0_train", "s0_valid"}


def test_a_later_round_keeps_planes_and_splits(stacks: Path) -> None:
    curated(stacks, "sparse", planes="annotated")
    before = {row["group"]: row["split"] for row in read_manifest(stacks / "ds/dataset.csv")}
    more = tifffile.imread(stacks / "sparse/s1.tif")
    more[4] = tifffile.imread(stacks / "seg/s1.tif")[4]
    tifffile.imwrite(stacks / "sparse/s1.tif", more)
    curated(stacks, "sparse", planes=None)  # as in the round before
    after = read_manifest(stacks / "ds/dataset.csv").rows
    assert [row.id for row in after] == ["s0_z002", "s1_z002", "s1_z004", "s2_z002", "s3_z002"]
    assert {row["group"]: row["split"] for row in after} == before


def test_padding_is_rejected_and_other_mistakes_are_named(
    stacks: Path, caplog: pytest.LogCaptureFixture, tiff: Write
) -> None:
    padded = tifffile.imread(stacks / "raw/s0.tif")
    padded[0] = 0
    tiff(stacks / "raw/s0.tif", padded)
    result = curated(stacks)
    assert [row.id for row in result.rows if row["status"] == "reject"] == ["s0_z000"]
    assert "1 plane(s) of one grey level" in caplog.text
    tiff(stacks / "seg/s0.tif", np.ones((5, 40, 40), np.uint8))
    tiff(stacks / "sparse/s1.tif", np.zeros((6, 40, 40), np.uint8))
    with pytest.raises(ManifestError, match="has 5 plane.s. but raw has 6"):
        curated(stacks, overwrite=True)
    with pytest.raises(ManifestError, match="s1.*no label in any of its 6 planes"):
        curated(stacks, "sparse", planes="annotated", overwrite=True)
    with pytest.raises(ConfigError, match="planes is 'some', expected true, false, all or"):
        curated(stacks, planes="some")


def test_cytodl_gets_planes_as_files(stacks: Path) -> None:
    curated(stacks, export="cytodl")
    row = read_manifest(stacks / "ds/cytodl/train.csv").rows[0]
    assert read_header(row["raw"]).shape == read_header(row["seg1"]).shape == (1, 1, 1, 40, 40)
    from cytoloop.training.cytodl_data import read_cytodl_data

    with pytest.raises(ManifestError, match="is plane 0 of a stack, which CytoDL does not read"):
        read_cytodl_data({"path": str(stacks / "ds/train.csv"), "columns": ["raw", "seg1"]})


# ---- train


def test_a_2d_model_trains_on_stacks(stacks: Path) -> None:
    """`check` does what `train` does first, with the data set as it is or with stacks."""
    curated(stacks, planes=None)
    keys = {"data.path": stacks / "ds"}
    assert cytoloop.check(**keys).spatial_dims == 3
    for words, count in (({"data.planes": "all"}, 12), ({"spatial_dims": 2}, 12)):
        found = cytoloop.check(**keys, **words)
        assert found.spatial_dims == 2 and found.counts["train"] == count


def test_a_2d_model_to_start_from_asks_for_planes(
    make_model: Callable,
) -> None:
    from cytoloop.training.prepare.parent import check_dimensions

    path = make_model(ndim=2)
    cfg = OmegaConf.create({"strict": True, "init_from": str(path)})
    check_dimensions(cfg, 2, path)
    with pytest.raises(ConfigError, match="trained on 2D images.*stacks") as caught:
        check_dimensions(cfg, 3, path)
    said = str(caught.value)
    assert "data.planes=true" in said and "init_from=pretrained:nuclei_3d" in said


# ---- predict: "Monitor the progress bar showing slice-by-slice processing"


@pytest.fixture(scope="module")
def flat_model(make_model: Callable) -> Path:
    return make_model(ndim=2, outputs=2, heads=["foreground", "distance"], planes=True)


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.random([shape[0], *(n // 8 for n in shape[1:])]).repeat(8, 1).repeat(8, 2)
    return (coarse * 180 + rng.random(coarse.shape) * 40 + 10).astype(np.uint16)


def predict(*words: object) -> int:
    return main(["predict", "accelerator=cpu", *map(str, words)])


def test_slice_by_slice_processing_segmented_tiff_stack_metadata_json(
    flat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each plane gets what it gets as a file of its own; the result is one stack."""
    monkeypatch.chdir(tmp_path)
    stack = noise((5, 48, 56))
    stack[3] = 9  # one grey level
    spacing = (2.0, 0.5, 0.5)
    (tmp_path / "planes").mkdir()
    write_image(tmp_path / "in.ome.tif", stack, "ZYX", spacing)
    for number, plane in enumerate(stack):
        write_image(tmp_path / f"planes/p{number}.ome.tif", plane, "YX", spacing)
    same = (f"checkpoint={flat_model}", "postprocess.threshold=0.5")
    assert predict(*same, "input=in.ome.tif", "output=p") == 0
    assert predict(*same, "input=planes", "output=q") == 0
    row = rows_of(tmp_path / "p/predictions.csv")["in"]
    assert row["plane"] == "all" and row["spacing_um"] == "2 0.5 0.5"
    flat = rows_of(tmp_path / "q/predictions.csv")
    seen: set[int] = set()
    for kind in ("probability", "mask", "distance", "labels"):
        header = read_header(tmp_path / "p" / row[kind])
        assert header.shape[2:] == stack.shape and header.spacing_um == pytest.approx(spacing)
        found = read_image(tmp_path / "p" / row[kind]).data[0]
        for number in range(5):
            alone = read_image(tmp_path / "q" / flat[f"p{number}"][kind]).data[0]
            if kind == "labels":  # unique over the stack
                assert not seen & set(np.unique(found[number][found[number] > 0]).tolist())
                seen |= set(np.unique(found[number][found[number] > 0]).tolist())
                np.testing.assert_array_equal(found[number] > 0, alone > 0)
            else:
                np.testing.assert_array_equal(found[number], alone)
    assert seen == set(range(1, int(row["objects"]) + 1))
    objects = (tmp_path / "p" / row["objects_table"]).read_text().splitlines()
    assert objects[0].startswith("label,plane,y,x,voxels,um2,y_min")
    assert len(objects) == len(seen) + 1
    metadata = json.loads((tmp_path / "p" / row["metadata"]).read_text())
    assert metadata["input"]["plane"] == "all" and metadata["voxel_size_um"]["z"] == 2.0


def test_planes_in_batches_in_slabs_and_from_zarr_are_the_same(
    flat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small planes share a batch; a large stack keeps its volumes on disk, slab by slab."""
    stack = noise((7, 40, 48), seed=1)
    path = write_image(tmp_path / "a.ome.tif", stack, "ZYX", None)
    source = ModelSource((str(flat_model),))
    write_zarr(tmp_path / "a.ome.zarr", stack, "ZYX", None, "raw")

    def result(name: str, source_path: Path, **windows: Any) -> np.ndarray:
        from cytoloop.inference.settings import WindowSettings

        settings = PredictionSettings(
            windows=WindowSettings(accelerator="cpu", **windows),
            output=OutputSettings(("probability", "labels")),
        )
        row = Row({"id": "a", "name": "a", "raw": str(source_path)})
        table = predict_rows([row], source, tmp_path / name, settings)
        assert table.failures() is None
        folder = tmp_path / name
        assert not (folder / ".partial").exists()
        return np.stack(
            [
                read_image(folder / table.rows[0][kind]).data[0].astype(np.int64)
                for kind in ("probability", "labels")
            ]
        )

    del path
    one = result("one", tmp_path / "a.ome.tif", batch_size=1)
    monkeypatch.setattr(plane_maps, "predict_maps", None)  # several planes at a time
    together = result("together", tmp_path / "a.ome.tif", batch_size=64)
    monkeypatch.undo()
    np.testing.assert_array_equal(one[1], together[1])
    assert np.abs(one[0] - together[0]).max() <= 1
    monkeypatch.setattr(volume_storage, "IN_MEMORY_VOXELS", 100)
    monkeypatch.setattr(volume_storage, "SLAB_VOXELS", 2 * 40 * 48)
    for name in ("a.ome.tif", "a.ome.zarr"):
        np.testing.assert_array_equal(one, result(f"disk {name}", tmp_path / name, batch_size=1))
    tasks = [ImageTask(0, Row({"raw": str(tmp_path / "a.ome.tif")}), "")]
    assert images_in_blocks(tasks, source, PredictionSettings()) == set()


def test_a_stopped_stack_goes_on_at_its_plane(
    flat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volume_storage, "IN_MEMORY_VOXELS", 100)
    monkeypatch.setattr(volume_storage, "SLAB_VOXELS", 40 * 48)
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "a.ome.tif", noise((4, 40, 48)), "ZYX", None)
    seen: list[str] = []
    whole = plane_maps.predict_maps

    def stop_after_two(*words: Any, **keys: Any) -> Any:
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append("plane")
        return whole(*words, **keys)

    words = (f"checkpoint={flat_model}", "input=a.ome.tif", "output=p", "batch_size=1")
    monkeypatch.setattr(plane_maps, "predict_maps", stop_after_two)
    assert predict(*words) != 0
    done: list[str] = []

    def count(*words: Any, **keys: Any) -> Any:
        done.append("plane")
        return whole(*words, **keys)

    monkeypatch.setattr(plane_maps, "predict_maps", count)
    assert predict(*words) == 0
    assert len(seen) == len(done) == 2


def test_what_a_stack_needs_is_said(
    make_model: Callable, flat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "a.ome.tif", noise((4, 40, 48)), "ZYX", None)
    other, deep = make_model(ndim=2), make_model(ndim=3)
    same = ("input=a.ome.tif", "output=p", "save=[probability]")
    assert predict(f"checkpoint={other}", *same) == 2
    text = " ".join(capfd.readouterr().err.split())
    assert "is a stack, shape (4, 40, 48), but the model was trained on 2D images" in text
    assert "planes=true predicts it plane by plane" in text and "pretrained:nuclei_3d" in text
    assert predict(f"checkpoint={other}", *same, "planes=true") == 0
    assert predict(f"checkpoint={flat_model}", *same, "planes=false", "overwrite=true") == 2
    capfd.readouterr()
    assert predict(f"checkpoint={deep}", *same, "planes=true", "join_planes=0.5") == 2
    text = capfd.readouterr().err
    assert "planes=true: the model was trained on stacks" in text and "join_planes=0.5:" in text
    assert predict(f"checkpoint={other}", *same, "planes=maybe", "join_planes=1") == 2
    text = capfd.readouterr().err
    assert "planes=maybe: expected true or false" in text
    assert "postprocess.join_planes=1: expected 0 or more, below 1" in text


def test_python_predicts_a_stack_plane_by_plane(make_model: Callable, flat_model: Path) -> None:
    stack = noise((3, 40, 48))
    found = cytoloop.predict(stack, flat_model, accelerator="cpu", join_planes=0.3)
    one = cytoloop.predict(stack[1], flat_model, accelerator="cpu", threshold=found.threshold)
    assert found.labels.shape == stack.shape
    np.testing.assert_array_equal(found.mask[1], one.mask)
    with pytest.raises(ImageError, match="planes=true"):
        cytoloop.predict(stack, make_model(ndim=2), accelerator="cpu")


def test_maps_of_any_program_are_segmented_plane_by_plane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column through all planes: one 3D object, or one in each plane; joined, one again."""
    monkeypatch.chdir(tmp_path)
    maps = np.zeros((4, 40, 40), np.uint8)
    maps[:, 10:25, 10:25] = 255
    write_image(tmp_path / "m.ome.tif", maps, "ZYX", None)
    counts = {}
    for words in ((), ("planes=true",), ("planes=true", "join_planes=0.5")):
        assert predict("reprocess=m.ome.tif", "output=r", "overwrite=true", *words) == 0
        row = rows_of(tmp_path / "r/predictions.csv")["m"]
        counts[words] = (row["objects"], row["plane"])
    assert list(counts.values()) == [("1", ""), ("4", "all"), ("1", "")]


# ---- objects through planes


def test_objects_join_by_overlap_one_to_one() -> None:
    planes = np.zeros((3, 10, 24), int)
    planes[0, 2:8, 2:8] = 1
    planes[1, 3:9, 3:9] = 2  # most of it is above the first
    planes[2, 3:9, 3:9] = 1
    planes[0, 2:8, 12:22] = 2  # a large object below two small ones
    planes[1, 2:8, 12:18] = 1
    planes[1, 2:8, 19:22] = 3
    joiner = PlaneJoiner(0.5)
    joined = np.stack([joiner.add(plane) for plane in planes])
    assert joiner.count == 3
    assert len({joined[0, 5, 5], joined[1, 5, 5], joined[2, 5, 5]}) == 1
    assert joined[0, 4, 13] == joined[1, 4, 13] != joined[1, 4, 20]  # the better pair
    assert (label(joined > 0).max(), set(np.unique(joined))) == (2, {0, 1, 2, 3})
    apart = PlaneJoiner(None)
    numbers = np.stack([apart.add(plane) for plane in planes])
    assert apart.count == 6 == len(np.unique(numbers)) - 1
    strict = PlaneJoiner(0.9)
    for plane in planes:
        strict.add(plane)
    assert strict.count == 4  # 25 of 36 pixels are shared: not enough


# ---- evaluate


@pytest.fixture
def predicted(tmp_path: Path) -> Path:
    """A stack whose prediction is right but for an object that is missing in plane 2."""
    truth = np.zeros((3, 24, 24), np.uint8)
    truth[:, 4:10, 4:10] = 1
    truth[1:, 14:20, 14:20] = 2
    wrong = truth.copy()
    wrong[2, 14:20, 14:20] = 0
    write_image(tmp_path / "truth/s.ome.tif", truth, "ZYX", None)
    write_image(tmp_path / "labels/s.ome.tif", wrong, "ZYX", None)
    cells = {"id": "s", "labels": "labels/s.ome.tif", "status": "done"}
    write_manifest(tmp_path / "planes.csv", [{**cells, "plane": "all"}])
    write_manifest(tmp_path / "joined.csv", [{**cells, "plane": ""}])
    sparse = truth.copy()
    sparse[[0, 2]] = 0
    write_image(tmp_path / "sparse/s.ome.tif", sparse, "ZYX", None)
    rows = [
        {"id": f"s_z00{n}", "raw": "r.tif", "seg1": "truth/s.ome.tif", "plane": n} for n in (1, 2)
    ]
    write_manifest(tmp_path / "curated.csv", rows)
    return tmp_path


def scores(folder: Path, table: str, truth: str, planes: Any = None) -> dict[str, float]:
    settings = EvaluationSettings(resamples=0, overlays=0, planes=planes)
    found = evaluate(folder / table, folder / truth, settings)
    assert not found.summary["unscored"]["predictions_without_truth"]
    return {row["id"]: row["recall_50"] for row in found.rows}


def test_stacks_are_scored_as_they_were_predicted(predicted: Path) -> None:
    by_plane = {"s_z000": 1.0, "s_z001": 1.0, "s_z002": 0.5}
    assert scores(predicted, "planes.csv", "truth") == by_plane
    assert list(scores(predicted, "joined.csv", "truth")) == ["s"]
    assert scores(predicted, "joined.csv", "truth", True) == by_plane
    assert list(scores(predicted, "planes.csv", "truth", False)) == ["s"]
    assert scores(predicted, "planes.csv", "sparse", "annotated") == {"s_z001": 1.0}
    for table in ("planes.csv", "joined.csv"):  # truths that are planes
        assert scores(predicted, table, "curated.csv") == {"s_z001": 1.0, "s_z002": 0.5}
    with pytest.raises(ConfigError, match="planes=some: expected true, false"):
        EvaluationSettings(planes="some")
    summary = evaluate(predicted / "planes.csv", predicted / "truth", QUIET).summary
    assert summary["planes_of_stacks"] == {"s": 3}


def test_reading_settings_know_planes() -> None:
    assert ReadingSettings().planes == "auto"
    with pytest.raises(ConfigError, match="planes=2: expected true or false"):
        ReadingSettings(planes=2)  # type: ignore[arg-type]
