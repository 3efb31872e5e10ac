"""The button *Open in MLflow*: a real server, and its end."""

from __future__ import annotations

import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from test_viewer_curate import Window

pytestmark = [pytest.mark.viewer, pytest.mark.slow]


def test_the_runs_are_opened_in_mlflow_and_the_server_ends_with_the_window(
    make_napari_viewer: Any, qtbot: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qtpy.QtGui import QDesktopServices

    window = Window(make_napari_viewer(show=False), qtbot, project)
    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toString()))
    finish = window.panels.train.finish
    # the panel shows the button when a training has ended
    window.press(finish.mlflow_button)
    window.wait(lambda: bool(opened) or finish.note.text() != "starting MLflow", 240)
    assert opened, finish.note.text()
    address = opened[0].split("/#")[0]
    with urllib.request.urlopen(address) as answer:
        assert b"MLflow" in answer.read()
    window.press(finish.mlflow_button)  # the same server again
    window.wait(lambda: len(opened) == 2)
    assert opened[0] == opened[1]
    window.panels.close_threads()
    with pytest.raises(OSError):
        for _ in range(200):
            urllib.request.urlopen(address).close()
            time.sleep(0.1)
