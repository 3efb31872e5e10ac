"""Scores of objects while a model is trained: those of the watershed that would be chosen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cytoloop.instances import WatershedHierarchy
from cytoloop.training.callbacks.object_scores import SCORES, ObjectScores


def scored(*images: tuple[np.ndarray, dict[str, np.ndarray]]) -> dict[str, float]:
    """Return what the callback logs of images: truth, and the maps of each head."""
    logged: dict[str, float] = {}
    module: Any = SimpleNamespace(
        hparams={"image": {"heads": list(images[0][1])}},
        log_dict=lambda scores, **_: logged.update(scores),
    )
    trainer: Any = SimpleNamespace(world_size=1)
    callback = ObjectScores()
    callback.on_validation_epoch_start(trainer, module)
    for number, (truth, maps) in enumerate(images):
        batch = {
            "labels": torch.from_numpy(truth.astype(np.int64))[None],
            "weight": torch.ones((1, 1, *truth.shape)),
            "spacing_um": torch.full((1, 3), torch.nan),
        }
        outputs = {
            name: torch.from_numpy(one.astype(np.float32))[None, None] for name, one in maps.items()
        }
        callback.on_validation_batch_end(trainer, module, outputs, batch, number)
    callback.on_validation_epoch_end(trainer, module)
    return {name: logged[f"val/{name}"] for name in SCORES}


def bar(parted: bool, dip: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return a bar, one object or three, whose depth dips at two places by a share."""
    mask = np.zeros((20, 80), bool)
    mask[5:15, 5:74] = True
    truth = mask.astype(np.uint8)
    if parted:
        truth[:, 28:51] *= 2
        truth[:, 51:] *= 3
    places, depths = [5, 16, 28, 39, 51, 62, 73], [0, 1, 1 - dip, 1, 1 - dip, 1, 0]
    along = np.interp(np.arange(80), places, depths)
    return truth, {"foreground": mask * 1.0, "distance": mask * along[None]}


@pytest.mark.parametrize(("between", "inside"), [(0.1, 0.0), (0.4, 0.15), (0.7, 0.45)])
def test_depths_that_fall_by_another_share_are_not_scored_lower(
    between: float, inside: float
) -> None:
    """A min_depth of 0.2 would join the first three objects, and cut the last bar."""
    scores = scored(bar(True, between), bar(False, inside))
    assert scores == dict.fromkeys(SCORES, pytest.approx(1.0))


def test_one_min_depth_counts_for_all_images() -> None:
    scores = scored(bar(True, 0.4), bar(False, 0.7))  # the whole one is cut, or the three joined
    assert scores["f1_50"] == pytest.approx(3 / 5)  # 3 found of 4, of 6
    scores = scored(bar(False, 0.4), bar(False, 0.7), bar(True, 0.4))
    assert scores["f1_50"] == pytest.approx(4 / 8)  # 2 found of 5, 3 shown; or 3 of 5, 9 shown


def test_the_map_of_contours_parts_as_well() -> None:
    truth, maps = bar(True, 0.01)
    assert scored((truth, maps))["f1_50"] == 0
    contour = np.zeros(truth.shape)
    contour[:, 26:30] = contour[:, 49:53] = 0.9
    assert scored((truth, {**maps, "contour": contour}))["f1_50"] == 1


def test_an_image_has_its_own_voxel_size(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Asked(WatershedHierarchy):
        def __init__(self, first: Any, rule: Any, spacing: Any, **maps: Any) -> None:
            asked.append(spacing)
            super().__init__(first, rule, spacing, **maps)

    monkeypatch.setattr("cytoloop.training.callbacks.object_scores.WatershedHierarchy", Asked)
    truth, maps = bar(True, 0.4)
    module: Any = SimpleNamespace(hparams={"image": {"spacing_um": [1, 0.5, 0.5]}})
    outputs = {name: torch.from_numpy(np.array(one))[None, None] for name, one in maps.items()}
    for spacing in ((1.0, 0.2, 0.3), (torch.nan,) * 3):
        batch = {
            "labels": torch.from_numpy(truth)[None],
            "weight": torch.ones((1, 1, *truth.shape)),
            "spacing_um": torch.tensor([spacing]),
        }
        ObjectScores().on_validation_batch_end(Any, module, outputs, batch, 0)  # type: ignore[arg-type]
    assert [tuple(one) for one in asked] == [pytest.approx((1.0, 0.2, 0.3)), (1, 0.5, 0.5)]


def test_images_without_objects_have_nothing_wrong() -> None:
    empty = np.zeros((20, 60))
    scores = scored((empty, {"foreground": empty, "distance": empty}))
    assert scores == dict.fromkeys(SCORES, 1.0)
