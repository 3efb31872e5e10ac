"""Scores of objects during training: those of the best `min_depth`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cytoloop.instances import WatershedHierarchy
from cytoloop.training.callbacks.object_scores import ObjectScores, logged_scores


def scored(*images: tuple[np.ndarray, dict[str, np.ndarray]]) -> dict[str, float]:
    """Return the scores that the callback logs for images: truth, and the maps of each head."""
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
    assert list(logged) == logged_scores() == ["val/f1_50", "val/ap_50", "val/seg", "val/pq"]
    return {name.removeprefix("val/"): value for name, value in logged.items()}


def bar(is_three: bool, dip: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return a bar, one object or three, whose depth dips by a fraction at two places."""
    mask = np.zeros((20, 80), bool)
    mask[5:15, 5:74] = True
    truth = mask.astype(np.uint8)
    if is_three:
        truth[:, 28:51] *= 2
        truth[:, 51:] *= 3
    places, depths = [5, 16, 28, 39, 51, 62, 73], [0, 1, 1 - dip, 1, 1 - dip, 1, 0]
    along = np.interp(np.arange(80), places, depths)
    return truth, {"foreground": mask * 1.0, "distance": mask * along[None]}


@pytest.mark.parametrize(("between", "inside"), [(0.1, 0.0), (0.4, 0.15), (0.7, 0.45)])
def test_the_depth_of_valleys_does_not_change_the_scores(between: float, inside: float) -> None:
    """A min_depth of 0.2 would merge the first three objects, and split the last bar."""
    scores = scored(bar(True, between), bar(False, inside))
    assert scores == dict.fromkeys(scores, pytest.approx(1.0))


def test_all_images_share_one_min_depth() -> None:
    scores = scored(bar(True, 0.4), bar(False, 0.7))  # one is split, or three are merged
    assert scores["f1_50"] == pytest.approx(3 / 5)  # 3 matches, 4 true, 6 predicted
    scores = scored(bar(False, 0.4), bar(False, 0.7), bar(True, 0.4))
    assert scores["f1_50"] == pytest.approx(4 / 8)  # 2 matches, 5 true, 3 predicted; or 3, 5, 9


def test_the_contour_map_separates_objects_too() -> None:
    truth, maps = bar(True, 0.01)
    assert scored((truth, maps))["f1_50"] == 0
    contour = np.zeros(truth.shape)
    contour[:, 26:30] = contour[:, 49:53] = 0.9
    assert scored((truth, {**maps, "contour": contour}))["f1_50"] == 1


def test_each_image_has_its_own_voxel_size(monkeypatch: pytest.MonkeyPatch) -> None:
    spacings = []

    class Recorder(WatershedHierarchy):
        def __init__(self, first: Any, rule: Any, spacing: Any, **maps: Any) -> None:
            spacings.append(spacing)
            super().__init__(first, rule, spacing, **maps)

    monkeypatch.setattr("cytoloop.training.callbacks.object_scores.WatershedHierarchy", Recorder)
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
    assert [tuple(one) for one in spacings] == [pytest.approx((1.0, 0.2, 0.3)), (1, 0.5, 0.5)]


def test_images_without_objects_score_1() -> None:
    empty = np.zeros((20, 60))
    scores = scored((empty, {"foreground": empty, "distance": empty}))
    assert scores == dict.fromkeys(scores, 1.0)
