"""The panels on real stacks (BBBC050): curate, correct, write, close and open again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_viewer_curate import LONGEST_BLOCK, Window, decisions_of

from cytoloop.curation import CurationSettings, curate
from cytoloop.io.labels import read_labels
from cytoloop.manifest import read_manifest
from cytoloop.truth.targets import read_target

pytestmark = [pytest.mark.viewer, pytest.mark.realdata, pytest.mark.slow]


def test_real_stacks_are_curated_and_nothing_is_lost(
    make_napari_viewer: Any, qtbot: Any, project: Path, real_data: Path
) -> None:
    from qtpy.QtCore import Qt

    folder = project / "dataset"
    stacks = "Emb0[1-4]_t201.tif"
    curate(
        CurationSettings(
            raw=real_data / "bbbc050" / "images" / stacks,
            seg1=real_data / "bbbc050" / "labels" / stacks,
            output=folder,
        )
    )
    window = Window(make_napari_viewer(show=False), qtbot, project)
    window.open(folder)
    row_id = window.current.id
    target = window.viewer.layers["target"]
    original = target.data.copy()
    sizes = np.bincount(original.ravel())
    number = int(sizes[1:].argmax()) + 1  # split the largest object along its longest axis
    voxels = np.argwhere(original == number).astype(float)
    axis = np.linalg.svd(voxels - voxels.mean(axis=0), full_matrices=False)[2][0]
    order = voxels @ axis
    ends = [tuple(voxels[np.argsort(order)[int(f * (len(voxels) - 1))]]) for f in (0.1, 0.9)]
    window.press(window.curate.correct.buttons["Split"])
    window.click_image(*ends)
    assert not window.error()
    labels = target.data
    halves = [(labels == n).sum() for n in (number, labels.max())]
    assert sum(halves) == sizes[number] and min(halves) > 0.15 * sizes[number]
    window.curate.regions.finish_slice()
    window.wait()
    plane = window.current.plane
    excluded = window.viewer.layers["excluded"].data > 0
    assert not excluded[plane].any() and np.delete(excluded, plane, axis=0).all()
    window.key(Qt.Key.Key_Z, control=True)
    window.key(Qt.Key.Key_K)
    other = window.current.id
    window.curate.reason.setCurrentText("dim")
    window.key(Qt.Key.Key_J)
    window.panels.close_threads()
    assert window.heartbeat.longest < LONGEST_BLOCK

    again = Window(make_napari_viewer(show=False), qtbot, project)
    again.open(folder)
    found = decisions_of(folder)
    assert (found[row_id].decision, found[other].decision) == ("keep", "reject")
    assert found[row_id].exclude == ()
    again.curate.queue.choose(row_id)
    again.wait(lambda: again.current.image is not None and again.current.image.id == row_id)
    assert np.array_equal(again.viewer.layers["target"].data, labels)
    again.press(again.curate.runner.start_button)
    again.wait(lambda: not again.curate.runner.is_running, 120)
    assert again.curate.runner.process.status == 0, again.curate.runner.process.output()
    rows = {row.id: row for row in read_manifest(folder / "dataset.csv")}
    assert rows[other]["status"] == "reject"
    assert np.array_equal(read_target(rows[row_id])[0], labels)
    source = read_labels(real_data / "bbbc050" / "labels" / f"{row_id}.tif")
    assert np.array_equal(source, original)
    again.panels.close_threads()
