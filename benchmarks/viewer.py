"""How long the panels of `cytoloop view` take: blocks of the window, image switch, slider, queue.

`python benchmarks/viewer.py` runs it; without a screen under `xvfb-run`. About three minutes: a
tiny network is trained and predicts meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from rich.table import Table

from cytoloop.curation import CurationSettings, curate
from cytoloop.io.writers.tiff import write_image
from cytoloop.manifest import write_manifest
from cytoloop.terminal import stdout_console

SHAPE = (60, 256, 256)
WANTED = {
    **{
        text: 0.1
        for what in ("while images load", "while a training is watched", "while it predicts")
        for text in (f"longest block {what} (s)", f"{what}, CPU (s)")
    },
    "switch to an image that was read ahead (s)": 0.3,
    "slider to picture (s)": 0.3,
    "filter a queue of 1000 images (s)": 0.1,
}

_TINY = {
    "data.patch_size": "64",
    "data.batch_size": "2",
    "data.patches_per_image": "4",
    "features": "4",
    "layers": "2",
    "trainer.max_epochs": "3",
    "budget_minutes": "",
}
"""A training of seconds."""
_ENDED = ("finished", "ended")


def write_images(folder: Path, count: int) -> None:
    """Write stacks of blobs with labels."""
    rng = np.random.default_rng(0)
    grid = np.indices(SHAPE)
    for number in range(count):
        labels = np.zeros(SHAPE, np.uint16)
        for label in range(1, 25):
            z, y, x = (rng.uniform(8, n - 8) for n in SHAPE)
            ball = (grid[0] - z) ** 2 + (grid[1] - y) ** 2 + (grid[2] - x) ** 2 < 200
            labels[ball] = label
        raw = (200 + 900 * (labels > 0) + rng.normal(0, 60, SHAPE)).clip(0).astype(np.uint16)
        for name, pixels in (("raw", raw), ("seg", labels)):
            write_image(folder / name / f"image_{number}.ome.tif", pixels, "ZYX", (1.0, 0.5, 0.5))


class Clock:
    """Lets the window work, and measures how long it stands still."""

    def __init__(self, parent: Any) -> None:
        from qtpy.QtCore import QTimer

        self.longest = self.longest_cpu = 0.0
        self._last, self._last_cpu = time.monotonic(), time.thread_time()
        self._timer = QTimer(parent)
        self._timer.setInterval(5)
        self._timer.timeout.connect(self._beat)
        self._timer.start()

    def _beat(self) -> None:
        now, cpu = time.monotonic(), time.thread_time()
        self.longest, self._last = max(self.longest, now - self._last), now
        self.longest_cpu = max(self.longest_cpu, cpu - self._last_cpu)
        self._last_cpu = cpu

    def start(self) -> None:
        """Forget the blocks so far."""
        self.longest = self.longest_cpu = 0.0

    def blocks(self, what: str) -> dict[str, float]:
        """Return the longest block, and its part that the window's thread computed.

        On a busy machine, the first one also holds what other processes take.
        """
        return {f"longest block {what} (s)": self.longest, f"{what}, CPU (s)": self.longest_cpu}

    def wait(self, done: Callable[[], bool], seconds: float = 120) -> float:
        """Return the seconds until something is true."""
        from qtpy.QtWidgets import QApplication

        started = time.monotonic()
        while not done():
            if time.monotonic() - started > seconds:
                raise TimeoutError("the window did not finish")
            QApplication.processEvents()
            time.sleep(0.002)
        return time.monotonic() - started

    def pause(self, seconds: float) -> None:
        """Let the window work."""
        end = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() > end)


def measure(folder: Path) -> dict[str, float]:
    """Return the figures of `WANTED`."""
    from cytoloop.cli.commands.view import open_viewer

    write_images(folder, 4)
    curate(CurationSettings(raw=folder / "raw", seg1=folder / "seg", output=folder / "dataset"))
    named = {"data": SimpleNamespace(path=folder / "dataset"), "input": None, "predictions": None}
    viewer = open_viewer(SimpleNamespace(**named))
    panels = _panels()
    current, queue = panels.curate.current, panels.curate.queue
    clock = Clock(panels)
    clock.wait(lambda: current.image is not None)
    clock.pause(2)
    clock.start()
    switches = []
    for _ in range(3):
        shown = current.image.id
        queue.step(1)
        # `image` is the new one when its last layer is shown
        switches.append(clock.wait(lambda shown=shown: current.image.id != shown))  # type: ignore[misc]
        clock.pause(1.5)  # a person looks at the image
    blocks = clock.blocks("while images load")
    figures = {
        **blocks,
        **_train_and_predict(panels, clock, folder),
        "switch to an image that was read ahead (s)": float(np.median(switches)),
        "slider to picture (s)": _slider(panels, clock, folder),
        "filter a queue of 1000 images (s)": _filter(panels, clock),
    }
    panels.close_threads()
    viewer.close()
    return figures


def _train_and_predict(panels: Any, clock: Clock, folder: Path) -> dict[str, float]:
    """Return the longest blocks while a training is watched, and while a prediction streams."""
    train, predict = panels.train, panels.predict
    panels.tabs.setCurrentIndex(2)
    for key, value in {**_TINY, "data.path": str(folder / "dataset")}.items():
        (train.advanced if key in train.advanced.fields else train.form).set_value(key, value)
    train.form.set_value("output", str(folder / "model"))
    clock.pause(1)
    clock.start()
    train.runner.start()
    try:
        clock.wait(lambda: train.view is not None and train.view.state in _ENDED, 600)
    except TimeoutError:
        train.runner.stop()
        raise
    if train.view.state == "ended":
        raise RuntimeError(train.view.text)
    clock.pause(1)
    watched = clock.blocks("while a training is watched")
    panels.tabs.setCurrentIndex(3)
    for key, name in {"checkpoint": "model", "input": "raw", "output": "p"}.items():
        predict.form.set_value(key, str(folder / name))
    clock.pause(1)
    clock.start()
    predict.runner.start()
    background = panels.project.background
    clock.wait(lambda: predict.runner.is_running, 600)
    display = panels.project.display
    clock.wait(lambda: not predict.runner.is_running and not background.is_busy, 600)
    clock.wait(lambda: predict.stored is not None and not display.is_busy)
    if predict.runner.process.status != 0 or predict.stored is None:
        raise RuntimeError(predict.runner.process.output())
    clock.pause(1)
    predict.stored = None
    return watched | clock.blocks("while it predicts")


def _slider(panels: Any, clock: Clock, folder: Path) -> float:
    """Return the seconds from a moved slider to its picture."""
    from scipy.ndimage import gaussian_filter

    from cytoloop.io.labels import read_labels

    labels = read_labels(folder / "seg" / "image_0.ome.tif")
    probability = (255 * gaussian_filter((labels > 0).astype(np.float32), 1)).astype(np.uint8)
    for name, pixels in (("probability", probability), ("labels", labels)):
        write_image(folder / "preds" / name / "image_0.ome.tif", pixels, "ZYX", (1.0, 0.5, 0.5))
    cells = {
        "id": "image_0",
        "raw": "../raw/image_0.ome.tif",
        "probability": "probability/image_0.ome.tif",
        "labels": "labels/image_0.ome.tif",
        "status": "done",
    }
    write_manifest(folder / "preds" / "predictions.csv", [cells], tuple(cells))
    predict = panels.predict
    predict.show_table(str(folder / "preds" / "predictions.csv"))
    clock.wait(lambda: predict.stored is not None)
    clock.pause(1)
    seconds = []
    for value in (0.3, 0.4, 0.6, 0.7):
        predict.note.setText("")
        predict.sliders.numbers["threshold"].setValue(value)
        seconds.append(clock.wait(lambda: "objects with these" in predict.note.text()))
    return float(np.median(seconds))


def _filter(panels: Any, clock: Clock) -> float:
    """Return the seconds to filter a queue of 1000 images."""
    from dataclasses import replace

    dataset = panels.project.dataset
    first = dataset.entries[0]
    dataset.entries = [replace(first, id=f"image {n}") for n in range(1000)]
    started = time.monotonic()
    panels.curate.queue.search.setText("99")
    clock.pause(0)
    return time.monotonic() - started


def _panels() -> Any:
    from qtpy.QtWidgets import QApplication

    from cytoloop.viewer.panels.dock import CytoLoopPanels

    return next(w for w in QApplication.allWidgets() if isinstance(w, CytoLoopPanels))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    if not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")):
        stdout_console.print("no screen: run it under xvfb-run")
        return
    json_path = options.json and options.json.absolute()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # runs and the store of MLflow go there
        os.environ["CYTOLOOP_STATE"] = folder  # another training does not refuse this one
        figures = measure(Path(folder))
        os.chdir("/")
    table = Table("what", "measured", "wanted")
    for name, value in figures.items():
        table.add_row(name, f"{value:.3f}", f"< {WANTED[name]:g}")
    stdout_console.print(table)
    if json_path:
        json_path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
