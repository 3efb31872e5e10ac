"""Names with any sign, typed on the command line: folders, files, channels, groups, models."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from bioio_ome_tiff.writers import OmeTiffWriter

from cytoloop.__main__ import main

ASCII = "".join(map(chr, range(33, 127))).replace("/", "")
HOSTILE = (
    "A1 (crop 1)",
    "c=3 #4",
    "plate [2]_x",
    "Zelle \u00fc\u4e2d",
    "true",
    "1e3",
    "a, b",
    ASCII,
)
"""File names without suffix; the last one holds every printable sign of ASCII but the slash."""


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def hostile(
    tmp_path: Path, blobs: Callable, tiff: Callable, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Working folder with 2D images and labels of the names `HOSTILE` in folders of such names."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(HOSTILE):
        raw, labels = blobs((40, 40), 4, seed)
        tiff(Path(f"run [Well 5] #1, {ASCII}") / f"{name}.tif", raw)
        tiff(Path("labels (new), 50 %") / f"{unicodedata.normalize('NFD', name)}.tif", labels)
    return tmp_path


@pytest.mark.parametrize("test", [f"[{HOSTILE[0]}, {HOSTILE[1]}]", HOSTILE[2], HOSTILE[-1]])
def test_curate_takes_typed_names(test: str, hostile: Path) -> None:
    words = [f"raw=run [Well 5] #1, {ASCII}/*.tif", "seg1=labels (new), 50 %", f"test={test}"]
    assert main(["curate", *words, "valid=0.3", "output=ds (1), #2", "split.leakage=allow"]) == 0
    found = rows(hostile / "ds (1), #2" / "dataset.csv")
    assert {row["id"] for row in found} == set(HOSTILE)
    expected = set(HOSTILE[:2]) if test.startswith("[") else {test}
    assert {row["id"] for row in found if row["split"] == "test"} == expected


def test_predict_and_evaluate_take_typed_names(hostile: Path, make_model: Callable) -> None:
    model = Path("m (a), 'b'.ckpt")
    model.write_bytes(make_model(ndim=2, spacing_um=None).read_bytes())
    names = ["DAPI (405), nuclei", "GFP=488 #2", ASCII + "/"]
    pixels = np.zeros((3, 1, 40, 40), np.uint16)
    pixels[:, :, 10:20, 10:20] = np.array([100, 200, 300]).reshape(3, 1, 1, 1)
    Path("in [x]").mkdir()
    OmeTiffWriter.save(pixels, "in [x]/z (1).ome.tif", dim_order="CZYX", channel_names=names)
    for number, typed in enumerate([names[0], f"[{names[1]}]", names[2], "2"]):
        words = [f"checkpoint={model}", "input=in [x]/*.tif", f"channel={typed}"]
        assert main(["predict", *words, f"output=p (#{number})"]) == 0
        (row,) = rows(hostile / f"p (#{number})" / "predictions.csv")
        assert row["status"] == "done"
    source = f"predictions=labels (new), 50 %/{HOSTILE[0]}.tif"
    words = [source, "truth=labels (new), 50 %", "output=e [1], (2)", "log_to_mlflow=false"]
    assert main(["evaluate", *words]) == 0
    assert [row["id"] for row in rows(hostile / "e [1], (2)" / "metrics.csv")] == [HOSTILE[0]]


def test_the_names_of_a_shared_case(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_model: Callable
) -> None:
    monkeypatch.chdir(tmp_path)
    case = real_data / "cases" / "08_names"
    words = [f"raw={case}/run [Well 5]/*.tif", f"seg1={case}/labels", "test=[A1 (crop 1)]"]
    assert main(["curate", *words, "output=ds", "split.leakage=allow"]) == 0
    assert [row["id"] for row in rows(tmp_path / "ds" / "test.csv")] == ["A1 (crop 1)"]
    with tifffile.TiffFile(case / "channels.ome.tif") as tif:
        assert tif.ome_metadata is not None and "DAPI (405), nuclei" in tif.ome_metadata
    words = [f"checkpoint={make_model(ndim=2)}", f"input={case}/channels.ome.tif"]
    assert main(["predict", *words, "channel=DAPI (405), nuclei", "output=p"]) == 0
