"""Replay: training images of an earlier data set in the present training."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cytoloop.data.patch_schedule import PatchSchedule
from cytoloop.data.replay import replay_rows
from cytoloop.data.settings import SamplingSettings
from cytoloop.errors import ManifestError
from cytoloop.manifest import read_dataset, write_manifest


@pytest.mark.parametrize("each", [None, 7])
@pytest.mark.parametrize("replay", [0.1, 0.3, 0.75])
def test_replayed_images_give_their_fraction_of_the_patches(
    each: int | None, replay: float
) -> None:
    shapes = [(8, 64, 64)] * 4 + [(8, 64, 64), (8, 128, 128), (16, 64, 64)]
    settings = SamplingSettings((8, 16, 16), 2, each, replay_fraction=replay)
    schedule = PatchSchedule(shapes, settings, replayed=3)
    drawn = Counter(schedule.image_index(e, i) for e in range(5) for i in range(schedule.length))
    fraction = sum(drawn[n] for n in (4, 5, 6)) / drawn.total()
    assert fraction == pytest.approx(replay, abs=0.02)
    assert np.ptp([drawn[n] for n in range(4)]) <= 5  # present images have equal shares


def data_set(folder: Path, **splits: list[tuple[str, str]]) -> Path:
    for split, images in splits.items():
        rows = [
            {"id": name, "raw": f"../raw/{name}.tif", "seg1": f"../seg/{name}.tif", "group": group}
            for name, group in images
        ]
        write_manifest(folder / f"{split}.csv", rows)
    return folder


def test_validation_images_and_their_groups_are_not_replayed(tmp_path: Path) -> None:
    old = data_set(
        tmp_path / "old",
        train=[("a", "A"), ("b", "B"), ("c", "C"), ("c2", "C"), ("d", "D")],
        valid=[("e", "E")],
        test=[],
    )
    new = data_set(
        tmp_path / "new", train=[("a", "A"), ("n", "N")], valid=[("c", "C")], test=[("d", "D")]
    )
    rows = replay_rows(old, read_dataset(new))
    assert [row.id for row in rows] == ["b"]


def test_a_data_set_without_an_image_to_replay_is_refused(tmp_path: Path) -> None:
    old = data_set(tmp_path / "old", train=[("a", "A")], valid=[("b", "B")], test=[])
    with pytest.raises(ManifestError, match="no image is left to replay"):
        replay_rows(old, read_dataset(old))
