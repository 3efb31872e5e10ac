"""Curates a data set in a real napari until it is killed; prints what is done.

`python curate_until_killed.py DATASET`. A line is printed when an action is shown as done, as a
person sees it: the action, and the decision after it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import numpy as np


def main(folder: str) -> None:
    """Act until the process ends."""
    from qtpy.QtWidgets import QApplication

    from cytoloop.cli.commands.view import open_viewer
    from cytoloop.viewer.panels.dock import CytoLoopPanels

    named = {"data": SimpleNamespace(path=folder), "input": None, "predictions": None}
    viewer = open_viewer(SimpleNamespace(**named))
    panels: Any = next(w for w in QApplication.allWidgets() if isinstance(w, CytoLoopPanels))
    current, curate = panels.curate.current, panels.curate
    project = panels.project

    def wait(done: Callable[[], bool]) -> None:
        working = (project.background, project.actions, current, project.display)
        while not done() or any(one.is_busy for one in working):
            QApplication.processEvents()
            time.sleep(0.002)

    wait(lambda: current.image is not None)
    curate.advance.setChecked(False)
    rng = np.random.default_rng(0)

    def join() -> None:
        labels = current.state.target
        button = curate.correct.buttons["Join"]
        if not button.isChecked():
            button.click()
        for number in np.unique(labels)[1:3]:
            curate.correct.click(tuple(map(float, np.argwhere(labels == number)[0])))

    def paint() -> None:
        z, y, x = (int(rng.integers(2, n - 2)) for n in current.image.shape)
        viewer.layers["target"].brush_size = 3
        viewer.layers["target"].paint((z, y, x), int(rng.integers(50, 90)))

    def exclude() -> None:
        curate.regions.use_tool("Rectangle")
        y, x = (int(rng.integers(0, 20)) for _ in range(2))
        corners = np.array([[y, x], [y, x + 9], [y + 9, x + 9], [y + 9, x]], float)
        viewer.layers["draw region"].add_rectangles(corners)
        curate.regions.exclude()

    actions = (curate.keep, curate.reject, paint, exclude, curate.undo, paint, curate.redo)
    acts = (*actions, join, curate.next)
    sys.stdout.write("ready\n")
    for number in range(10_000):
        act = acts[number % len(acts)]
        act()
        wait(lambda: True)
        row_id = current.id
        decision = asdict(project.dataset.decision(row_id))
        checksum = int(np.asarray(current.state.target, np.int64).sum())
        log = project.dataset.log.read_bytes().decode()
        line = {"act": act.__name__, "id": row_id, "decision": decision, "sum": checksum}
        line["log"] = log
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
