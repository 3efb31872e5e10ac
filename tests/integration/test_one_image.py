"""A single stack, cut in space, trains at a voxel size of its own, and predicts at it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cytoloop.__main__ import main
from cytoloop.io.read import read_header

TINY = (
    *("model/size=small", "data.batch_size=2", "data.steps_per_epoch=4", "trainer.precision=32"),
    *("augmentation=light", "data.patch_size=[8,32,32]", "trainer.max_epochs=1", "tune=false"),
)


@pytest.mark.slow
def test_one_stack_trains_and_predicts_at_another_voxel_size(
    project: Path, blobs: Callable, tiff: Callable, capfd: pytest.CaptureFixture[str]
) -> None:
    raw, labels = blobs((12, 80, 260), 60, 1)  # voxels of 0.6 x 0.3 x 0.3 um, see conftest
    tiff(project / "stack.tif", raw)
    tiff(project / "cells_seg.tif", labels)
    assert main(["curate", "raw=stack.tif", "seg1=cells_seg.tif", "output=ds"]) == 0
    words = ["experiment=nuclei_3d", "data.path=ds", "data.resample=[0.6,0.45,0.45]", "output=m"]
    assert main(["train", *TINY, *words]) == 0
    content = torch.load(project / "m/checkpoints/best.ckpt", weights_only=True)
    image = content["hyper_parameters"]["image"]
    assert image["resample"] is True and list(image["spacing_um"]) == [0.6, 0.45, 0.45]
    summary = json.loads((project / "m/test/evaluation/summary.json").read_text())
    assert summary["parts_of_images"] == ["stack_test"] and summary["scored"] == 1
    assert "not how well it does on other images" in capfd.readouterr().err
    assert (
        main(["predict", "checkpoint=m/checkpoints/best.ckpt", "input=stack.tif", "output=p"]) == 0
    )
    with (project / "p/predictions.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    header = read_header(project / "p" / row["labels"])
    assert header.spatial == raw.shape and header.spacing_um == pytest.approx((0.6, 0.3, 0.3))
