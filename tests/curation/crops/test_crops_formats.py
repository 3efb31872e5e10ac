"""Images cut and collected in the format of each annotation tool."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cytoloop.__main__ import main
from cytoloop.curation.crops.collect import collect_crops
from cytoloop.curation.crops.cut import CutSettings, cut_images
from cytoloop.curation.exchange.registry import ANNOTATION_FORMATS, find_format
from cytoloop.io.labels import read_labels
from cytoloop.manifest import Row

Blobs = Callable[..., tuple[np.ndarray, np.ndarray]]


def row_of(folder: Path, blobs: Blobs, shape: tuple[int, ...]) -> tuple[Row, np.ndarray]:
    raw, labels = blobs(shape, 14, seed=3)
    labels = labels * 31  # numbers with gaps
    labels[..., 12:14, :] = 700  # crosses several crops
    for name, data in (("raw", raw), ("seg1", labels)):
        tifffile.imwrite(
            folder / f"{name}.tif", data, imagej=True, metadata={"axes": "ZYX"[-len(shape) :]}
        )
    return Row({"id": "im", "raw": "raw.tif", "seg1": "seg1.tif"}, folder, 1), labels


@pytest.mark.parametrize("shape", [(90, 100), (3, 60, 60)])
@pytest.mark.parametrize("name", ANNOTATION_FORMATS)
def test_every_format_returns_the_labels(
    name: str, shape: tuple[int, ...], tmp_path: Path, blobs: Blobs
) -> None:
    row, labels = row_of(tmp_path, blobs, shape)
    (image,) = cut_images([row], tmp_path / "a", ANNOTATION_FORMATS[name], CutSettings(5, 24))
    assert len({plane.core for plane in image.planes}) > 2
    project = tmp_path / "a" / "project"
    form = find_format(ANNOTATION_FORMATS, project)
    assert form is ANNOTATION_FORMATS[name]
    found = collect_crops(tmp_path / "a", project, tmp_path / "l", form)
    assert (found.pictures, found.done) == (len(image.planes), 0)
    assert np.array_equal(read_labels(tmp_path / "l" / "im.ome.tif"), labels)


def test_edits_in_supervisely_are_collected(tmp_path: Path, blobs: Blobs) -> None:
    row, labels = row_of(tmp_path, blobs, (90, 100))
    form = ANNOTATION_FORMATS["supervisely"]
    (image,) = cut_images([row], tmp_path / "a", form, CutSettings(5, 24))
    project = tmp_path / "a" / "project"
    plane = max(image.planes, key=lambda plane: len(plane.owned - plane.wide))
    deleted = min(plane.owned - plane.wide)
    for file in project.rglob("ann/*.json"):
        content = json.loads(file.read_text())
        if file.name.startswith(plane.picture):
            numbers = [one["tags"][0]["value"] for one in content["objects"]]
            del content["objects"][numbers.index(str(deleted))]
            y, x = plane.core.y0 - plane.box.y0 + 2, plane.core.x0 - plane.box.x0 + 2
            square = [[x, y], [x + 2, y], [x + 2, y + 2], [x, y + 2]]
            drawn = {"exterior": square, "interior": []}
            content["objects"].append(
                {"classTitle": "object", "geometryType": "polygon", "tags": [], "points": drawn}
            )
            content["tags"] = [{"name": "done", "value": None}]
        file.write_text(json.dumps(content))
    found = collect_crops(tmp_path / "a", project, tmp_path / "l", form)
    assert found.done == 1
    result = read_labels(tmp_path / "l" / "im.ome.tif")
    new = int(result.max())
    assert new > labels.max() and np.argwhere(result == new)[0].tolist() >= [plane.core.y0 + 2]
    kept = np.where(labels == deleted, 0, labels)
    assert np.array_equal(np.where(result == new, kept, result), kept)


@pytest.mark.realdata
def test_half_finished_work_on_real_nuclei_is_curated_again(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = sorted((real_data / "dsb2018" / "images").glob("*.tif"), key=os.path.getsize)[-3:]
    for file in files:
        for kind, source in (("raw", "images"), ("seg", "masks")):
            Path(kind).mkdir(exist_ok=True)
            shutil.copy(real_data / "dsb2018" / source / file.name, kind)
    curate = ["workers=1"]
    assert main(["curate", "raw=raw", "seg1=seg", "output=one", *curate]) == 0
    assert main(["annotate", "data.path=one", "output=a", "format=coco", "min_crop_size=64"]) == 0
    assert main(["annotate", "project=a", "output=l"]) == 0
    for file in files:
        truth = tifffile.imread(Path("seg") / file.name)
        assert np.array_equal(read_labels(f"l/{file.stem}.ome.tif"), truth)
    table = Path("a/crops.csv")
    lines = table.read_text().splitlines()
    lines[1::2] = [line.replace(",todo,", ",done,") for line in lines[1::2]]
    table.write_text("\n".join(lines) + "\n")
    words = ["unfinished=exclude", "unseen_masks=true"]
    assert main(["annotate", "project=a", "output=half", *words]) == 0
    words = ["raw=raw", "seg1=half", "exclude=half/unseen", "output=two"]
    assert main(["curate", *words, *curate]) == 0
