"""`cytoloop demo --images`: images with labels for the tutorials."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from cytoloop.__main__ import main


def test_pictures_are_the_same_each_time_and_hold_touching_objects(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "images"
    assert main(["demo", "--images", "pictures", "--output", str(folder)]) == 0
    assert "wrote 12 images with labels" in capfd.readouterr().out
    first = {path.name: path.read_bytes() for path in (folder / "raw").iterdir()}
    assert main(["demo", "--images", "pictures", "--output", str(folder)]) == 0
    assert {path.name: path.read_bytes() for path in (folder / "raw").iterdir()} == first
    labels = tifffile.imread(folder / "seg" / "picture_01.ome.tif")
    assert labels.shape == (256, 256) and labels.max() == len(np.unique(labels)) - 1 > 15
    neighbours = labels[:, 1:][(labels[:, 1:] != labels[:, :-1]) & (labels[:, :-1] > 0)]
    assert (neighbours > 0).sum() > 20


def test_stacks_are_the_fields_of_the_demo(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    assert main(["demo", "--images", "stacks", "--output", str(folder)]) == 0
    assert {path.name for path in (folder / "raw").iterdir()} == {
        f"field_{letter}.ome.tif" for letter in "abcd"
    }
    assert len(list((folder / "exclude").iterdir())) == 3


def test_a_folder_with_other_files_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").touch()
    assert main(["demo", "--images", "stacks", "--output", str(tmp_path)]) == 2
    assert "is not empty" in capfd.readouterr().err
    assert (tmp_path / "mine.txt").exists()
