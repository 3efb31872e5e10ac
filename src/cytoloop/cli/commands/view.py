"""`cytoloop view`: napari with the panels of CytoLoop."""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import sys
from pathlib import Path
from typing import Any

from cytoloop.errors import ConfigError

log = logging.getLogger(__name__)

PLUGIN, WIDGET = "cytoloop", "CytoLoop"
"""Names in the plugin's manifest: the verb finds the panels as napari does."""


def run(cfg: Any) -> None:
    """Open napari with the panels, and return when its window is closed."""
    viewer = open_viewer(cfg)
    import napari

    log.info("close the window to end; trainings and predictions go on")
    napari.run()
    viewer.close()


def open_viewer(cfg: Any) -> Any:
    """Return a napari viewer with the panels, which open what the config names.

    Raises
    ------
    ConfigError
        A path does not exist, or there is no screen.
    MissingPackageError
        napari or a Qt binding is not installed.
    """
    from cytoloop.extras import import_extra

    named = {
        "data.path": cfg.data.path,
        "input": cfg.input,
        "predictions": cfg.predictions,
    }
    missing = [
        f"{key}={path}: no such file or folder"
        for key, path in named.items()
        if path and not any(one in str(path) for one in "*?[") and not Path(str(path)).exists()
    ]
    if missing:
        raise ConfigError("cytoloop view", missing, "Check the paths.")
    _check_screen()
    (napari, _) = import_extra("cytoloop view", "viewer", "napari", "qtpy")
    try:
        import_extra("cytoloop view", "viewer", "qtpy.QtWidgets")
    except Exception as error:  # qtpy raises an error of its own without a binding
        raise ConfigError(
            "cytoloop view", f"no Qt is installed ({error})", "Install one: pip install pyqt6"
        ) from error
    with contextlib.suppress(ImportError):  # napari imports it with the first layer: a long block
        importlib.import_module("xarray")
    viewer = napari.Viewer(title="CytoLoop")
    _, panels = viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET)
    texts = ["" if path is None else os.path.abspath(str(path)) for path in named.values()]
    panels.open(*texts)
    gc.freeze()  # napari collects garbage for each removed layer: modules need no look each time
    return viewer


def _check_screen() -> None:
    """Refuse to start without a screen: Qt would end the process.

    Raises
    ------
    ConfigError
        Linux without a display.
    """
    known = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform == "linux" and not any(os.environ.get(name) for name in known):
        raise ConfigError(
            "cytoloop view",
            "there is no screen: neither DISPLAY nor WAYLAND_DISPLAY is set",
            "Run it in a desktop session, over `ssh -X`, or under `xvfb-run`.",
        )
