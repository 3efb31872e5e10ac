"""`experiment=auto` takes the recipe that suits the labels."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from cytoloop.cli.compose import expand_words
from cytoloop.training.recipe import choose_recipe


def grid_of_cells(ndim: int) -> np.ndarray:
    """Return cells of 10 voxels that fill the image, each with a number."""
    grid = np.indices((12, 40, 40)[-ndim:]) // 10
    return 1 + grid[-1] + 4 * grid[-2] + (16 * grid[0] if ndim == 3 else 0)


def balls(ndim: int, radius: float = 4.0) -> np.ndarray:
    """Return separate objects, each with a number."""
    centres = np.zeros((12, 48, 48)[-ndim:], bool)
    centres[(..., *(6,) * (ndim - 2), slice(8, None, 16), slice(8, None, 16))] = True
    inside = ndimage.distance_transform_edt(~centres) < radius
    return ndimage.label(inside)[0]


def tube(ndim: int) -> np.ndarray:
    mask = np.zeros((12, 48, 80)[-ndim:], bool)
    mask[(..., *((slice(4, 7),) if ndim == 3 else ()), slice(20, 23), slice(2, 78))] = True
    return mask


def shell() -> np.ndarray:
    distance = np.linalg.norm(np.indices((24, 24, 24)) - 11.5, axis=0)
    return (distance > 8) & (distance < 10)


CASES = {
    "nuclei_3d": balls(3),
    "nuclei_2d": balls(2),
    "cells": grid_of_cells(2),
    "cells 3D": grid_of_cells(3),
    "structures": balls(2) > 0,
    "structures 3D": balls(3) > 0,
    "filaments": tube(2),
    "filaments 3D": tube(3),
    "shells": shell(),
}


@pytest.fixture
def dataset(tmp_path: Path, tiff: Callable) -> Callable[..., Path]:
    """Write a data set of images with these labels."""

    def write(*labels: np.ndarray) -> Path:
        rows = []
        for number, one in enumerate(labels):
            raw = tiff(tmp_path / "raw" / f"{number}.tif", (one > 0).astype(np.uint16))
            seg = tiff(tmp_path / "seg" / f"{number}.tif", one.astype(np.uint16))
            rows.append((str(number), str(raw), str(seg)))
        with (tmp_path / "train.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("id", "raw", "seg1"), *rows])
        return tmp_path

    return write


@pytest.mark.parametrize("name", CASES)
def test_labels_decide(name: str, dataset: Callable) -> None:
    empty = np.zeros_like(CASES[name])
    recipe = choose_recipe(dataset(empty, CASES[name], CASES[name]))
    assert recipe is not None and recipe.name == name.split()[0]


def test_nothing_is_chosen_without_labels(dataset: Callable) -> None:
    assert choose_recipe(dataset(np.zeros((20, 20)))) is None


def test_planes_of_stacks_are_pictures(dataset: Callable) -> None:
    recipe = choose_recipe(dataset(balls(3)), planes="annotated")
    assert recipe is not None and recipe.name == "nuclei_2d"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["experiment=auto"], "experiment=nuclei_3d"),
        (["experiment=auto", "data.planes=annotated"], "experiment=nuclei_2d"),
        (["experiment=auto", "model/size=small"], "experiment=nuclei_3d"),
        (["experiment=auto", "init_from=none"], "experiment=nuclei_3d"),
        (["experiment=structures"], "experiment=structures"),
        (["experiment=auto", "model=unet"], "experiment=auto"),
        (["experiment=auto", "model=semantic", "classes=[a,b]"], "experiment=auto"),
        (["experiment=auto", "init_from=other.ckpt"], "experiment=auto"),
    ],
)
def test_the_word_is_replaced(words: list[str], expected: str, dataset: Callable) -> None:
    found = expand_words("train", [*words, f"data.path={dataset(balls(3))}"])
    assert [word for word in found if word.startswith("experiment=")] == [expected]


@pytest.mark.parametrize("path", ["missing", "."])
def test_faults_of_the_data_are_left_to_the_checks(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "experiment=auto" in expand_words("train", ["experiment=auto", f"data.path={path}"])
