"""Draw the pictures of `cytoloop view` for the documentation, from the images of the demo.

`python scripts/viewer_pictures.py` runs it; without a screen under `xvfb-run`. It trains a small
model for about two minutes. `--theme light --size 2560x1440 --to FOLDER` draws others to look at;
`--work FOLDER` keeps the data set and the model for the next time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

ASSETS = Path(__file__).parents[1] / "docs" / "assets"
_TRAIN = (
    *("experiment=nuclei_3d", "data.path=dataset", "output=model0", "layers=3"),
    *("data.patch_size=[16,64,64]", "data.batch_size=4", "trainer.max_epochs=6"),
)


class Pictures:
    """A window with the panels, and pictures of it.

    Parameters
    ----------
    theme : str
        ``dark`` or ``light``.
    size : tuple of int
        Width and height of the window.
    """

    def __init__(self, theme: str, size: tuple[int, int]) -> None:
        from cytoloop.cli.commands.view import open_viewer

        named = {"data": SimpleNamespace(path=None), "input": "demo", "predictions": None}
        self.viewer = open_viewer(SimpleNamespace(**named))
        self.viewer.theme = theme
        self.viewer.window.resize(*size)
        self.panels: Any = self._find_panels()

    def wait(self, done: Callable[[], bool], seconds: float = 120) -> None:
        """Let the window work until something is true.

        Raises
        ------
        TimeoutError
        """
        from qtpy.QtWidgets import QApplication

        end = time.monotonic() + seconds
        while not done() or self.panels.project.display.is_busy:
            if time.monotonic() > end:
                raise TimeoutError(self.panels.error.text())
            QApplication.processEvents()
            time.sleep(0.01)

    def pause(self, seconds: float = 0.8) -> None:
        """Let the window work."""
        end = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() > end)

    def save(self, name: str, tab: int, folder: Path) -> None:
        """Save a picture of the whole window with a tab in front."""
        self.panels.tabs.setCurrentIndex(tab)
        self.pause()
        pixels = self.viewer.screenshot(canvas_only=False, flash=False)
        picture = Image.fromarray(pixels[..., :3])
        picture.quantize(256).save(folder / f"viewer-{name}.png", optimize=True)

    @staticmethod
    def _find_panels() -> Any:
        from qtpy.QtWidgets import QApplication

        from cytoloop.viewer.panels.dock import CytoLoopPanels

        found = [w for w in QApplication.allWidgets() if isinstance(w, CytoLoopPanels)]
        return found[-1]


def draw(folder: Path, theme: str, size: tuple[int, int]) -> None:
    """Draw the five panels; the working folder holds the images of the demo."""
    from cytoloop.viewer.panels.folding import Folding

    window = Pictures(theme, size)
    panels, viewer = window.panels, window.viewer
    data, curate, predict = panels.data, panels.curate, panels.predict
    curate.curator.setText("Ann")
    window.wait(lambda: data.table.rowCount() > 0)
    window.pause(2)
    window.save("data", 0, folder)
    if Path("dataset").is_dir():
        panels.project.open_dataset("dataset")
    else:
        data.runner.start()
    window.wait(lambda: curate.current.image is not None)
    for part in curate.findChildren(Folding)[:2]:
        part.button.setChecked(True)
    curate.queue.choose("field_d")
    window.wait(lambda: curate.current.image.id == "field_d")
    shapes = np.array([[29, 74, 6], [29, 74, 60], [29, 122, 60], [29, 122, 6]], float)
    viewer.dims.set_current_step(0, 29)
    curate.regions.use_tool("Rectangle")
    viewer.layers["draw region"].add_ellipses(shapes)
    curate.regions.exclude()
    window.pause(1.5)
    window.save("curate", 1, folder)
    if not Path("model0").is_dir():
        _cytoloop("train", *_TRAIN)
    panels.train.refresh()
    window.wait(lambda: panels.train.view is not None)
    window.save("train", 2, folder)
    if not Path("predictions").is_dir():
        _cytoloop("predict", "checkpoint=model0", "input=demo/raw", "output=predictions")
    predict.use_model("model0")
    predict.form.set_value("input", "demo/raw")
    predict.show_table("predictions/predictions.csv")
    window.wait(lambda: predict.stored is not None)
    predict.sliders.numbers["threshold"].setValue(0.4)
    window.wait(lambda: "other values" in viewer.layers)
    window.save("predict", 3, folder)
    compare = panels.compare
    for key, value in {
        "predictions": "predictions/predictions.csv",
        "truth": "dataset/dataset.csv",
        "output": "scores",
    }.items():
        compare.form.set_value(key, value)
    compare.runner.start()
    window.wait(lambda: compare.shown is not None)
    window.save("compare", 4, folder)
    panels.close_threads()
    viewer.close()


def main() -> None:
    """Draw all pictures, dark by default."""
    parser = argparse.ArgumentParser(description="Draw the pictures of `cytoloop view`.")
    parser.add_argument("--theme", default="dark", choices=("dark", "light"))
    parser.add_argument("--size", default="1280x800", help="of the window, WIDTHxHEIGHT")
    parser.add_argument("--to", type=Path, default=ASSETS, help="folder of the pictures")
    parser.add_argument("--work", type=Path, help="folder to keep data set and model in")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    folder = options.to.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        os.chdir(work)
        if not Path("demo").is_dir():
            _cytoloop("demo", "--images", "stacks", "--output", "demo")
        draw(folder, options.theme, (width, height))
        os.chdir("/")


def _cytoloop(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "cytoloop", *words], check=True)


if __name__ == "__main__":
    main()
