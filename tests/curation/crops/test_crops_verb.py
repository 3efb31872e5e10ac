"""`cytoloop annotate`, cutting and collecting, with a minimal annotation format of .npz files."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile

from cytoloop.__main__ import main
from cytoloop.curation.crops.collect import collect_crops, collect_pictures
from cytoloop.curation.crops.crops_table import read_crops_table
from cytoloop.curation.crops.cut import CutSettings, cut_images, rows_to_annotate
from cytoloop.curation.crops.output import output_problems, replace_output
from cytoloop.curation.exchange.annotation.picture import Picture
from cytoloop.curation.exchange.registry import ANNOTATION_FORMATS
from cytoloop.errors import ImageError, ManifestError, OutputError
from cytoloop.io.labels import read_labels
from cytoloop.io.names import safe_name
from cytoloop.io.read import read_header
from cytoloop.manifest import Row, write_manifest

Blobs = Callable[..., tuple[np.ndarray, np.ndarray]]
Tiff = Callable[[Path, np.ndarray], Path]
SPACING = (0.6, 0.3, 0.3)


def write(folder: Path, pictures: Iterable[Picture], title: str = "object") -> None:
    folder.mkdir(exist_ok=True)
    for one in pictures:
        np.savez(
            folder / one.name,
            labels=one.labels,
            image=one.image,
            done=one.done,
            new_labels=np.zeros(0, int),
        )


def read(path: Path, title: str | None = None) -> Iterator[Picture]:
    for file in sorted(path.glob("*.npz")):
        with np.load(file) as data:
            new = frozenset(data["new_labels"].tolist())
            yield Picture(file.stem, data["labels"], data["image"], bool(data["done"]), new)


NPZ = SimpleNamespace(
    write=write,
    read=read,
    is_project=lambda path: any(path.glob("*.npz")),
)


@pytest.fixture(autouse=True)
def npz(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Register the format, and run in a temporary folder."""
    monkeypatch.setitem(ANNOTATION_FORMATS, "npz", NPZ)
    monkeypatch.chdir(tmp_path)


def make(folder: Path, blobs: Blobs, tiff: Tiff, shape: tuple[int, ...], count: int = 12) -> Path:
    """Write a data set of three images; return its table."""
    rows = []
    for number, split in enumerate(("train", "valid", "test")):
        raw, labels = blobs(shape, count, seed=number)
        tiff(folder / "raw" / f"im_{number}.tif", raw)
        tiff(folder / "seg" / f"im_{number}.tif", labels)
        names = {"raw": f"raw/im_{number}.tif", "seg1": f"seg/im_{number}.tif"}
        rows.append({**names, "id": f"im_{number}", "split": split, "status": "keep"})
    for split in ("train", "valid", "test"):
        write_manifest(folder / f"{split}.csv", [r for r in rows if r["split"] == split])
    write_manifest(folder / "dataset.csv", rows)
    return folder / "dataset.csv"


@pytest.fixture
def dataset(tmp_path: Path, blobs: Blobs, tiff: Tiff) -> Path:
    return make(tmp_path / "data", blobs, tiff, (90, 110)).parent


def cells(path: str = "annotation/crops.csv") -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def rewrite(name: str, path: str = "annotation/project", **changes: Any) -> None:
    """Change a picture of the project."""
    file = Path(path) / f"{name}.npz"
    with np.load(file) as data:
        arrays = dict(data)
    np.savez(file, **{**arrays, **changes})


def test_cut_and_collect_return_the_labels(dataset: Path) -> None:
    words = ["output=annotation", "format=npz", "objects_per_crop=4", "min_crop_size=20"]
    assert main(["annotate", "data.path=data", *words]) == 0
    rows = cells()
    assert len(rows) == len({row["picture"] for row in rows}) > 6
    assert {row["raw"] for row in rows} == {f"../data/raw/im_{n}.tif" for n in range(3)}
    assert {row["status"] for row in rows} == {"todo"} and {row["z"] for row in rows} == {""}
    assert main(["annotate", "project=annotation", "output=labels", "unseen_masks=true"]) == 0
    for number in range(3):
        path = Path(f"labels/im_{number}.ome.tif")
        assert np.array_equal(read_labels(path), tifffile.imread(dataset / f"seg/im_{number}.tif"))
        assert read_labels(path).dtype == np.uint8
        assert read_labels(Path("labels/unseen") / path.name).all()
        assert read_header(path).spacing_um[1:] == pytest.approx(SPACING[1:])


def test_planes_of_a_stack_become_pictures_with_the_same_numbers(
    tmp_path: Path, blobs: Blobs, tiff: Tiff
) -> None:
    make(tmp_path / "data", blobs, tiff, (5, 60, 70))
    words = [
        "output=annotation",
        "format=npz",
        "objects_per_crop=4",
        "min_crop_size=20",
        "split=valid",
    ]
    assert main(["annotate", "data.path=data/dataset.csv", *words]) == 0
    labels = tifffile.imread("data/seg/im_1.tif")
    for row in cells():
        assert row["image"] == "im_1" and row["picture"].endswith(f"_z{int(row['z']):03d}")
        y0, x0, y1, x1 = (int(row[f"crop_{edge}"]) for edge in ("y0", "x0", "y1", "x1"))
        with np.load(f"annotation/project/{row['picture']}.npz") as data:
            assert np.array_equal(data["labels"], labels[int(row["z"]), y0:y1, x0:x1])
            assert data["image"].dtype == np.uint8
            assert int(row["objects"]) == len(np.unique(data["labels"])) - 1
    assert main(["annotate", "project=annotation", "output=labels", "all_finished=true"]) == 0
    assert np.array_equal(read_labels("labels/im_1.ome.tif"), labels)
    assert read_header("labels/im_1.ome.tif").spacing_um == pytest.approx(SPACING)


def test_contrast_of_pictures_is_that_of_the_whole_image(dataset: Path) -> None:
    cut_images(rows_to_annotate(dataset), "annotation", NPZ, CutSettings(2, 20))
    whole = tifffile.imread(dataset / "raw/im_0.tif").astype(float)
    low, high = np.percentile(whole, (0.5, 99.8))
    expected = np.round(np.clip((whole - low) / (high - low), 0, 1) * 255)
    for row in cells():
        if row["image"] == "im_0":
            y0, x0, y1, x1 = (int(row[f"crop_{edge}"]) for edge in ("y0", "x0", "y1", "x1"))
            with np.load(f"annotation/project/{row['picture']}.npz") as data:
                assert np.abs(data["image"] - expected[y0:y1, x0:x1]).max() <= 1


def test_done_in_the_table_counts_as_done_in_the_picture(dataset: Path) -> None:
    cut_images(rows_to_annotate(dataset, "train"), "annotation", NPZ)
    rows = cells()
    write_manifest("annotation/crops.csv", [{**rows[0], "status": "done"}], list(rows[0]))
    words = ["project=annotation", "unfinished=exclude", "unseen_masks=true"]
    assert main(["annotate", *words, "output=labels"]) == 0
    assert read_labels("labels/im_0.ome.tif").any()
    assert not read_labels("labels/unseen/im_0.ome.tif").any()
    write_manifest("annotation/crops.csv", rows, list(rows[0]))
    assert main(["annotate", *words, "output=empty"]) == 0
    assert not read_labels("empty/im_0.ome.tif").any()
    rewrite(rows[0]["picture"], done=True)
    assert main(["annotate", *words, "output=other"]) == 0
    assert read_labels("other/im_0.ome.tif").any()


def test_labels_of_predictions_can_be_corrected(dataset: Path, blobs: Blobs, tiff: Tiff) -> None:
    predicted = blobs((90, 110), 7, seed=9)[1]
    tiff(Path("preds/labels/im_0.tif"), predicted)
    row = {"id": "im_0", "raw": str(dataset / "raw/im_0.tif"), "labels": "labels/im_0.tif"}
    failed = {"id": "im_1", "raw": row["raw"], "labels": "", "status": "failed"}
    columns = ("id", "raw", "labels", "status")
    write_manifest("preds/predictions.csv", [{**row, "status": "done"}, failed], columns)
    words = ["output=annotation", "format=npz"]
    assert main(["annotate", "data.path=preds/predictions.csv", *words]) == 0
    assert main(["annotate", "project=annotation", "output=labels"]) == 0
    assert np.array_equal(read_labels("labels/im_0.ome.tif"), predicted)


def test_project_without_crops_table_gives_a_label_image_per_picture(blobs: Blobs) -> None:
    labels = blobs((40, 50), 300, seed=1, radius=1.5)[1].astype(np.uint32)
    image = labels.astype(np.uint8)
    write(Path("theirs"), [Picture("a b", labels, image), Picture("c", labels * 0, image)])
    assert main(["annotate", "project=theirs", "output=labels"]) == 0
    assert np.array_equal(read_labels("labels/a b.ome.tif"), labels)
    assert read_labels("labels/a b.ome.tif").dtype == (
        np.uint16 if labels.max() > 255 else np.uint8
    )
    assert not read_labels("labels/c.ome.tif").any()


def test_invalid_settings_are_reported_together(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data.path=data", "project=data", "output=data/x", "format=png"]
    words += ["objects_per_crop=0", "min_crop_size=big", "split=all", "unfinished=drop"]
    words += ["unseen_masks=1", "overwrite=yes"]
    assert main(["annotate", *words]) == 2
    error = capsys.readouterr().err
    for part in (
        *("either data.path=", "format=png, expected supervisely or coco or", "objects_per_crop=0"),
        *("min_crop_size=big", "split=all", "unfinished=drop", "unseen_masks=1", "overwrite=yes"),
        "output=data/x is inside its source data",
    ):
        assert part in error
    assert main(["annotate", "output=x"]) == 2
    assert "either data.path=" in capsys.readouterr().err
    assert main(["annotate", "project=nowhere", "output=x"]) == 2
    assert "no such file or folder" in capsys.readouterr().err
    assert not Path("x").exists()


def test_output_that_is_not_empty_is_refused(dataset: Path) -> None:
    Path("full").mkdir()
    Path("full/a").touch()
    assert output_problems("full", "data")[0].startswith("output=full is not empty")
    assert output_problems("full/a", "data") == ["output=full/a is a file, expected a folder"]
    assert output_problems("data", "data")[0].startswith("output=data is inside")
    assert output_problems(".", "data") == ["output=. contains its source data"]
    assert not output_problems("new", "data")
    with pytest.raises(OutputError, match="is not empty"), replace_output("full"):
        pass
    assert [p.name for p in Path().iterdir() if p.name.startswith(".full")] == []


def test_overwrite_replaces_what_annotate_wrote(dataset: Path) -> None:
    cut = ["annotate", "data.path=data", "output=annotation", "format=npz"]
    assert main([*cut, "objects_per_crop=4", "min_crop_size=20"]) == 0
    crops = len(cells())
    assert main(cut) == 2
    assert main([*cut, "overwrite=true"]) == 0
    assert len(list(Path("annotation/project").iterdir())) == len(cells()) < crops
    collect = ["annotate", "project=annotation", "output=labels"]
    assert main([*collect, "unseen_masks=true"]) == 0
    assert Path("labels/unseen").is_dir()
    assert main(collect) == 2
    assert Path("labels/unseen").is_dir()
    assert main([*collect, "overwrite=true"]) == 0
    assert not Path("labels/unseen").exists()
    assert sorted(path.name for path in Path("labels").iterdir()) == [
        *("annotate.json", "im_0.ome.tif", "im_1.ome.tif", "im_2.ome.tif")
    ]


@pytest.mark.parametrize("file", ["project/im_0.npz", "crops.csv", "notes.txt", "project/new.npz"])
def test_overwrite_keeps_the_work_of_people(
    dataset: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["annotate", "data.path=data", "output=annotation", "format=npz"]
    assert main(words) == 0
    (Path("annotation") / file).write_text("mine")
    capsys.readouterr()
    assert main([*words, "overwrite=true"]) == 2
    assert f"holds {file}: not written by cytoloop annotate, or changed since" in (
        capsys.readouterr().err
    )
    assert (Path("annotation") / file).read_text() == "mine"
    assert Path("annotation/project/im_1.npz").is_file()


def test_overwrite_keeps_the_sources(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["annotate", "data.path=data", "output=annotation", "format=npz"]) == 0
    words = ["output=annotation", "overwrite=true"]
    assert main(["annotate", "project=annotation/project", *words]) == 2
    assert "output=annotation contains its source annotation/project" in capsys.readouterr().err
    assert main(["annotate", "project=annotation", "output=labels"]) == 0
    row = {"id": "im_0", "raw": "data/raw/im_0.tif", "seg1": "labels/im_0.ome.tif"}
    write_manifest("corrected.csv", [row])
    words = ["data.path=corrected.csv", "output=labels", "format=npz", "overwrite=true"]
    assert main(["annotate", *words]) == 2
    assert "the rows use files in it" in capsys.readouterr().err
    assert Path("labels/im_0.ome.tif").is_file()


def test_safe_names_stay_in_the_folder() -> None:
    assert safe_name("../../etc/x y") == "etc_x y"
    assert safe_name("..") == "image" and safe_name("a-1.2_ä") == "a-1.2_ä"


def test_images_that_cannot_be_cut_are_reported_together_and_nothing_is_written(
    dataset: Path, tiff: Tiff
) -> None:
    tiff(dataset / "seg/im_1.tif", np.zeros((5, 5), np.uint8))
    tifffile.imwrite(dataset / "seg/im_2.tif", np.full((90, 110), 4_100_000_000, np.uint32))
    rows = rows_to_annotate(dataset)
    rows += [Row({**rows[0].values, "id": name}, rows[0].root) for name in ("a:b", "A_b")]
    with pytest.raises(ManifestError, match="(?s)same file name.*shape.*labels above"):
        cut_images(rows, "out", NPZ)
    assert not Path("out").exists()


def test_missing_split_and_missing_labels_are_refused(dataset: Path) -> None:
    with pytest.raises(ManifestError, match="has no image of split 'valid'"):
        rows_to_annotate(dataset / "train.csv", "valid")
    write_manifest("bare.csv", [{"raw": "data/raw/im_0.tif"}])
    with pytest.raises(ManifestError, match="column 'seg1' is empty, and so is 'labels'"):
        rows_to_annotate("bare.csv")


def test_project_of_an_unknown_format_is_refused(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["annotate", "project=data/raw", "output=labels"]) == 2
    error = capsys.readouterr().err
    assert "data/raw: is not a project of a known format: supervisely, coco" in error


def test_missing_unknown_and_resized_pictures_are_reported_together(dataset: Path) -> None:
    cut_images(rows_to_annotate(dataset), "annotation", NPZ)
    Path("annotation/project/im_0.npz").rename("annotation/project/mine.npz")
    rewrite("im_1", labels=np.zeros((3, 3), np.uint32))
    faults = r"(?s)'im_1' is \(3, 3\).*'mine' is not in crops.csv.*'im_0' is missing"
    with pytest.raises(ImageError, match=faults):
        collect_crops("annotation", Path("annotation/project"), "labels", NPZ)
    assert not Path("labels").exists()


def test_picture_that_is_there_twice_is_refused(dataset: Path) -> None:
    cut_images(rows_to_annotate(dataset), "annotation", NPZ)
    twice = SimpleNamespace(read=lambda path, title: [*read(path)] * 2)
    with pytest.raises(ImageError, match="'im_0' is there twice"):
        collect_crops("annotation", Path("annotation/project"), "labels", twice)
    with pytest.raises(ImageError, match="'im_0' and 'im_0' get the same file name"):
        collect_pictures(Path("annotation/project"), "labels", twice)
    Path("none").mkdir()
    with pytest.raises(ImageError, match="holds no picture"):
        collect_pictures(Path("none"), "labels", NPZ)


def test_changed_and_missing_images_are_refused(dataset: Path, tiff: Tiff) -> None:
    cut_images(rows_to_annotate(dataset), "annotation", NPZ)
    tiff(dataset / "raw/im_1.tif", np.ones((90, 110), np.uint16))
    (dataset / "raw/im_2.tif").unlink()
    with pytest.raises(ManifestError, match="(?s)im_1: .* has changed.*im_2: .* is missing"):
        collect_crops("annotation", Path("annotation/project"), "labels", NPZ)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"status": "finished"}, "expected todo or done"),
        ({"core_y1": "9"}, "do not tile"),
        ({"core_y1": "x"}, "expected a whole number"),
        ({"core_y1": "0"}, "core is empty"),
        ({"shape": "90 110"}, "expected for example"),
        ({"shape": "2x90x110"}, "do not show all planes"),
        ({"owned": "1..99999999999"}, "expected an object number"),
        ({"owned": "a|b"}, "expected an object number"),
        ({"picture": ""}, "column 'picture' is empty"),
    ],
)
def test_faulty_crops_table_is_refused(dataset: Path, change: dict[str, str], message: str) -> None:
    cut_images(rows_to_annotate(dataset, "train"), "annotation", NPZ)
    rows = cells()
    write_manifest("annotation/crops.csv", [{**rows[0], **change}], list(rows[0]))
    with pytest.raises(ManifestError, match=message):
        read_crops_table(Path("annotation/crops.csv"))


def test_repeated_and_inconsistent_pictures_are_refused(dataset: Path) -> None:
    cut_images(rows_to_annotate(dataset, "train"), "annotation", NPZ)
    row = cells()[0]
    write_manifest("annotation/crops.csv", [row, row], list(row))
    with pytest.raises(ManifestError, match="named twice"):
        read_crops_table(Path("annotation/crops.csv"))
    write_manifest("annotation/crops.csv", [row, {**row, "picture": "b", "sha256": "1"}], list(row))
    with pytest.raises(ManifestError, match="differ in sha256"):
        read_crops_table(Path("annotation/crops.csv"))
    write_manifest(
        "annotation/crops.csv",
        [{**row, "image": "../x"}, {**row, "picture": "b", "image": "x"}],
        list(row),
    )
    with pytest.raises(ManifestError, match="gets the same file name"):
        collect_crops("annotation", Path("annotation/project"), "labels", NPZ)


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["annotate", "--help"]) == 0
    assert "cytoloop annotate project=annotation/" in capsys.readouterr().out
