"""Recipes for objects train at a coarser voxel size where objects are many pixels wide."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hydra import compose, initialize_config_module

from cytoloop.curation.checks.result import CheckResult
from cytoloop.training.prepare.start import stated_voxel_size
from cytoloop.training.prepare.steps import Prepared, data_set
from cytoloop.training.prepare.working_size import coarser_spacing

Spacing = tuple[float, float, float]


def config(*words: str) -> Any:
    with initialize_config_module("cytoloop.configs", version_base="1.3"):
        return compose("train", ["data.path=x", "output=x", *words])


def image(shape: tuple[int, ...], width: float, spacing: Spacing | None) -> CheckResult:
    """Return an image of one object of a width in voxels of the finest axis."""
    sides = (spacing or (1.0, 1.0, 1.0))[-len(shape) :]
    sizes = [side / min(sides) for side in sides]
    volume = np.pi / 4 * width**2 if len(shape) == 2 else np.pi / 6 * width**3
    foreground = float(volume / np.prod(sizes) / np.prod(shape))
    return CheckResult("a", shape, spacing_um=spacing, objects=1, foreground=foreground)


@pytest.mark.parametrize(
    ("shape", "width", "spacing", "expected"),
    [
        ((512, 512), 40, (1, 0.5, 0.5), None),
        ((512, 512), 60, (1, 0.5, 0.5), (1, 1, 1)),
        ((512, 512), 150, (1, 0.5, 0.5), (1, 2, 2)),
        ((100, 512), 60, (1, 0.5, 0.5), None),  # halved, it would be 50 pixels high
        ((60, 256, 256), 60, (0.5, 0.25, 0.25), None),
        ((60, 256, 256), 80, (0.5, 0.25, 0.25), (0.5, 0.5, 0.5)),
        ((60, 256, 256), 80, (2.0, 0.25, 0.25), (2.0, 0.5, 0.5)),  # planes stay as they are
        ((60, 256, 256), 80, (0.25, 0.25, 0.25), (0.5, 0.5, 0.5)),
    ],
)
def test_wide_objects_are_halved(
    shape: tuple[int, ...], width: float, spacing: Spacing, expected: Spacing | None
) -> None:
    assert coarser_spacing([image(shape, width, spacing)] * 2) == expected


def test_without_voxel_sizes_the_user_is_told(caplog: pytest.LogCaptureFixture) -> None:
    images = [image((512, 512), 60, None), image((512, 512), 60, (1, 0.5, 0.5))]
    assert coarser_spacing(images) is None
    assert "objects are about 60 pixels wide: at 1/2 of the resolution" in caplog.text
    caplog.clear()
    assert coarser_spacing([image((512, 512), 30, None)]) is None and not caplog.text
    assert coarser_spacing([CheckResult("a", (512, 512))]) is None  # no object


def test_only_recipes_for_objects_leave_it_open() -> None:
    assert stated_voxel_size(config("experiment=nuclei_3d")) == "auto"
    assert stated_voxel_size(config("experiment=cells", "data.resample=median")) == "median"
    assert stated_voxel_size(config("experiment=cells", "data.resample=null")) is None
    assert stated_voxel_size(config("experiment=filaments")) is None
    assert stated_voxel_size(config("experiment=cells", "data.patch_size=64")) is None
    assert stated_voxel_size(config()) is None


def test_a_model_to_start_from_keeps_its_voxel_size(make_model: Any) -> None:
    known = config("experiment=nuclei_3d", f"init_from={make_model(resample=True)}")
    assert list(stated_voxel_size(known)) == [1.0, 0.5, 0.5]
    own = config("experiment=nuclei_3d", f"init_from={make_model(resample=False)}")
    assert stated_voxel_size(own) is None
    shipped = config("experiment=nuclei_3d", "init_from=pretrained:nuclei_3d")
    assert stated_voxel_size(shipped) == "auto"


def test_the_config_states_the_size_that_was_chosen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    y, x = np.mgrid[:160, :160]
    disk = ((y - 80) ** 2 + (x - 80) ** 2 < 30**2).astype(np.uint16)
    rows = "id,raw,seg1,split,spacing_um\n"
    for name, period in (("train", 7), ("valid", 5)):
        tifffile.imwrite(tmp_path / f"{name}.tif", disk * 100 + (x % period).astype(np.uint16))
        tifffile.imwrite(tmp_path / f"{name}_seg.tif", disk * 2)
        rows += f"{name},{name}.tif,{name}_seg.tif,{name},0.5 0.5 0.5\n"
    (tmp_path / "data.csv").write_text(rows)
    words = ("experiment=nuclei_2d", f"data.path={tmp_path / 'data.csv'}")
    found = data_set(Prepared(config(*words)))
    assert list(found.cfg.data.resample) == [0.5, 1.0, 1.0] and found.known_facts.resampled
    assert found.known_facts.smallest == [80, 80]
    assert "objects are about 60 voxels wide: training at a voxel size of 1 x 1 um" in caplog.text
    own = data_set(Prepared(config(*words, "data.resample=null")))
    assert own.cfg.data.resample is None and own.known_facts.smallest == [160, 160]
    masks = data_set(Prepared(config(words[1], "experiment=structures")))
    assert masks.cfg.data.resample is None and not masks.known_facts.resampled
