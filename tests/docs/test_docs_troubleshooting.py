"""The troubleshooting page quotes messages as they are printed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from commands import ROOT
from scipy import ndimage

from cytoloop.__main__ import main

PAGE = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
DATA = "train data.path=dataset"
CASES = [
    ("traim data.path=x", "cytoloop: unknown verb 'traim'. Did you mean `cytoloop train`?"),
    (f"{DATA} budget=15", "ConfigError: cytoloop train: budget: unknown key"),
    (
        f"{DATA} experiment=nucleus",
        "experiment=nucleus: no such option, expected one of auto, cells, filaments, nuclei_2d",
    ),
    (f"{DATA} data.patch_size=[64,64", "cannot be read; check brackets and quotes"),
    (
        f"{DATA} data.patch_size=16,64,64",
        "data.patch_size=16,64,64: several values, expected one. A list needs brackets: "
        "'data.patch_size=[16,64,64]'",
    ),
    ("train experiment=nuclei_2d", "data.path=... is missing"),
    (f"{DATA} layers=9 data.batch_size=500", "layers is 9, expected 2 to 6; nearest: 6"),
    (f"{DATA} layers=9 data.batch_size=500", "data.batch_size is 500, expected 1 to 256"),
    ("train data.path=nowhere", "no such data set"),
    (f"{DATA} resume=true", "lists no stopped training to resume"),
    (f"{DATA} model=semantic", "is missing; model=semantic needs the names"),
    ("curate raw=nowhere/ seg1=names/seg output=out", "no such file or folder"),
    ("curate raw=names/raw seg1=names/seg output=out", "raw without a seg1: img0  img0.tif"),
    (
        "curate raw=names/raw seg1=names/seg output=out",
        r"key='(?P<id>\d+)\D*\.' would pair all 4 images; check it and give it.",
    ),
    ("curate raw=names/raw seg1=names/raw key='(?P<id>img)' output=out", "one key, several files"),
    (
        "curate raw=names/raw output=out",
        "seg1 is missing: every raw image needs a segmentation",
    ),
    ("curate raw=bad/raw seg1=bad/seg output=out", "shape (48, 64) but raw is (64, 64)"),
    ("curate raw=bad/raw seg1=bad/seg output=out", "holds no object (all background)"),
    ("curate raw=bad/raw seg1=minus output=out", "holds negative labels"),
    (
        "curate raw=bad/raw seg1=minus output=out",
        "If -1 marks voxels that nobody labelled, set ignore_label=-1.",
    ),
    (
        "curate raw=bad/raw seg1=blurred output=out",
        "Threshold it, and save it without compression",
    ),
    (
        "curate raw=names/raw/img0.tif seg1=names/seg/cell_0_m.tif split.in_space=false output=out",
        "found 1 image; at least 2 are needed",
    ),
    ("curate raw=dup/raw seg1=dup/seg output=out", "same image as"),
    (
        "curate raw=names/raw seg1=names/raw key='(?P<id>x' output=out",
        "is not a regular expression",
    ),
    ("evaluate predictions=maps truth=maps output=out", "a probability map or a photograph"),
    ("evaluate predictions=names/raw truth=bad/seg output=out", "no prediction has a truth of the"),
    ("annotate project=maps output=out", "is not a project of a known format"),
    ("predict checkpoint=nothing input=names/raw output=out", "no such checkpoint"),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with images that have one fault each."""
    folder = tmp_path_factory.mktemp("files")
    random = np.random.default_rng(0)

    def write(name: str, array: np.ndarray) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(folder / name, array)

    square = np.zeros((64, 64), np.uint8)
    square[10:30, 10:30] = 1
    copy = random.integers(0, 1000, (64, 64)).astype(np.uint16)
    for number in range(4):
        raw = random.integers(0, 1000, (64, 64)).astype(np.uint16)
        write(f"names/raw/img{number}.tif", raw)
        write(f"names/seg/cell_{number}_m.tif", square)
        write(f"bad/raw/a{number}.tif", raw)
        write(f"bad/seg/a{number}.tif", square)
        write(f"minus/a{number}.tif", square.astype(np.int16) - 1)
        write(f"blurred/a{number}.tif", ndimage.uniform_filter(square * 255, 5))
        write(f"dup/raw/a{number}.tif", copy)
        write(f"dup/seg/a{number}.tif", square)
    write("bad/seg/a1.tif", square[:48])
    write("bad/seg/a2.tif", 0 * square)
    write("maps/a.tif", random.random((64, 64)).astype(np.float32))
    return folder


@pytest.mark.parametrize(("words", "message"), CASES, ids=lambda value: value[:40])
def test_the_page_quotes_what_is_printed(
    words: str,
    message: str,
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(files)
    assert main([word.replace("'", "") for word in words.split(" ")]) == 2
    printed = " ".join(capfd.readouterr().err.split())
    assert " ".join(message.split()) in printed
    assert " ".join(message.split()) in " ".join(PAGE.split())


def test_the_page_has_thirty_symptoms_or_more_each_with_help() -> None:
    symptoms = re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]
    assert len(symptoms) >= 30
    assert all(len(text.partition("\n")[2].split()) > 3 for text in symptoms)
