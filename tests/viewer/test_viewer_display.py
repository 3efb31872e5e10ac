"""Layers change in steps, and only of the panel in front."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_tiff
from test_viewer_canvas import predictions  # noqa: F401
from test_viewer_curate import Window, dataset, decisions_of, window  # noqa: F401

from cytoloop.errors import ConfigError
from cytoloop.manifest import write_manifest
from cytoloop.viewer.session.curves import Paper, draw_curves
from cytoloop.viewer.session.layer_files import save_layer
from cytoloop.viewer.session.trainings import Curves


def test_curves_are_drawn_in_their_colours_and_size() -> None:
    paper = Paper(300, 150, 2.0, "#ffffff", "#102030")
    empty = draw_curves(Curves(), paper)
    points = [(0.0, 1.0), (10.0, 0.5), (20.0, 0.2)]
    drawn = draw_curves(Curves({"loss": points}, {"dice": points}), paper)
    assert drawn.shape == (300, 600, 4) and tuple(drawn[0, 0]) == (0x10, 0x20, 0x30, 255)
    for colour in ((0x3F, 0xA7, 0xFF), (0xFF, 0x96, 0x28)):
        has = [(one[..., :3] == colour).all(axis=-1).sum() for one in (empty, drawn)]
        assert has[0] == 0 and has[1] > 50


@pytest.mark.viewer
def test_the_window_answers_between_steps_and_what_is_new_replaces_the_rest(qtbot: Any) -> None:
    from qtpy.QtCore import QObject, QTimer

    from cytoloop.viewer.panels.display import Display

    errors: list[str] = []
    parent = QObject()
    display = Display(errors.append, parent)
    done: list[str] = []
    beats: list[int] = []
    timer = QTimer(parent)
    timer.setInterval(1)
    timer.timeout.connect(lambda: beats.append(len(done)))
    timer.start()

    def steps(name: str, count: int) -> Iterator[None]:
        for number in range(count):
            time.sleep(0.02)
            done.append(f"{name}{number}")
            yield

    def broken() -> Iterator[None]:
        yield
        raise OSError(5, "is gone", "raw.tif")

    display.show(steps("a", 40), lambda: done.append("never"))  # type: ignore[arg-type]
    qtbot.waitUntil(lambda: len(done) > 9)
    assert len(beats) > 2 and len(done) < 40
    display.show(broken())  # type: ignore[arg-type]
    display.add(steps("b", 2), lambda: done.append("end"))  # type: ignore[arg-type]
    assert display.is_busy
    qtbot.waitUntil(lambda: not display.is_busy)
    assert done[-3:] == ["b0", "b1", "end"] and "never" not in done and "a39" not in done
    assert len(errors) == 1 and errors[0].startswith("raw.tif: ")


@pytest.mark.viewer
def test_no_action_meets_an_image_that_is_not_shown_yet(
    window: Window,  # noqa: F811
    dataset: Path,  # noqa: F811
) -> None:
    window.open(dataset)
    curate, current = window.curate, window.current
    first, target = current.id, current.state.target
    curate.next()
    curate.keep()  # before the window has shown the next image
    assert "is still being read" in window.error()
    curate.correct.buttons["Delete"].setChecked(True)
    with pytest.raises(ConfigError, match="still being read"):
        curate.correct.click(tuple(float(one) for one in np.argwhere(target > 0)[0]))
    window.wait()
    assert current.id != first and current.image.id == current.id
    assert decisions_of(dataset) == {} and not current._corrections
    curate.keep()
    window.wait()
    assert list(decisions_of(dataset)) != [first]


@pytest.mark.viewer
def test_results_do_not_replace_the_image_that_is_curated(
    window: Window,  # noqa: F811
    dataset: Path,  # noqa: F811
    predictions: Path,  # noqa: F811
) -> None:
    window.heartbeat.stop()  # napari collects garbage for each layer that it removes
    window.open(dataset)
    panels, shown = window.panels, window.viewer.layers
    panels.predict.show_table(str(predictions))  # a prediction that has ended meanwhile
    window.wait(lambda: panels.predict.stored is not None)
    assert "target" in shown and "probability" not in shown
    panels.project.predicted.emit(str(predictions))
    window.wait(lambda: bool(window.curate.predictions))
    window.wait(lambda: "prediction" in shown)
    assert "target" in shown and "probability" not in shown
    panels.tabs.setCurrentIndex(3)
    window.wait(lambda: "probability" in shown)
    assert "target" not in shown
    window.current.undo()
    window.wait()
    panels.tabs.setCurrentIndex(1)
    window.wait(lambda: "target" in shown)
    assert "probability" not in shown


@pytest.mark.viewer
def test_results_lie_on_the_layer_that_was_predicted(
    window: Window,  # noqa: F811
    project: Path,
    predictions: Path,  # noqa: F811
) -> None:
    window.heartbeat.stop()
    from cytoloop.viewer.panels.layers import visible_plane

    predict, shown = window.panels.predict, window.viewer.layers
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 99, (9, 40, 40)).astype(np.uint16)
    place = {"scale": (2, 0.5, 0.5), "translate": (10, -5, 7), "units": ("um",) * 3}
    window.viewer.add_image(raw, name="my cells", **place)
    window.viewer.add_image(rng.random((30, 50, 50)), name="far away", translate=(-40, 0, 0))
    box = predict.form.fields["input"]
    assert {"layer: my cells", "layer: far away"} <= {box.itemText(n) for n in range(box.count())}
    cells = {"id": "my_cells", "status": "done"}
    cells["raw"] = str(save_layer(project / "of_layer", "my cells", raw, (2, 0.5, 0.5)))
    for name in ("probability", "labels"):
        cells[name] = f"{name}/my_cells.tif"
        write_tiff(project / "of_layer" / cells[name], (raw > 50).astype(np.uint8))
    write_manifest(project / "of_layer" / "predictions.csv", [cells], tuple(cells))
    window.panels.tabs.setCurrentIndex(3)
    predict.show_table(str(project / "of_layer"))
    window.wait(lambda: "probability" in shown)
    for name in ("raw", "probability", "prediction"):
        assert tuple(shown[name].translate) == (10, -5, 7)
        assert tuple(shown[name].scale) == (2, 0.5, 0.5)
    window.viewer.dims.set_point(0, 10 + 2 * 4)
    assert visible_plane(window.viewer) == 4
    assert "layer: raw" not in [box.itemText(n) for n in range(box.count())]
    predict.show_table(str(predictions))
    window.wait(lambda: predict.stored is not None and predict.stored.id == "img_0")
    assert tuple(shown["raw"].translate) == (0, 0, 0)


@pytest.mark.viewer
def test_the_target_is_chosen_when_a_drawn_region_was_used(
    window: Window,  # noqa: F811
    dataset: Path,  # noqa: F811
) -> None:
    window.open(dataset)
    layers = window.viewer.layers
    window.curate.regions.use_tool("Rectangle")
    layers["draw region"].add_rectangles([[2, 5, 5], [2, 5, 20], [2, 20, 20], [2, 20, 5]])
    assert layers.selection.active is layers["draw region"]
    window.curate.regions.exclude()
    window.wait(lambda: "draw region" not in layers)
    assert layers.selection.active is layers["target"]


@pytest.mark.viewer
def test_late_results_wait_and_an_image_that_was_not_shown_is_read_again(
    window: Window,  # noqa: F811
    dataset: Path,  # noqa: F811
    predictions: Path,  # noqa: F811
) -> None:
    window.heartbeat.stop()
    window.open(dataset)
    panels, shown = window.panels, window.viewer.layers
    panels.tabs.setCurrentIndex(3)
    panels.predict.show_table(str(predictions))
    window.wait(lambda: "probability" in shown)
    panels.predict._try()  # other values are computed while the user goes back to Curate
    panels.tabs.setCurrentIndex(1)
    window.wait(lambda: "target" in shown)
    assert "other values" not in shown and "probability" not in shown
    window.curate.regions.use_tool("Rectangle")
    shown["draw region"].add_rectangles([[2, 5, 5], [2, 5, 20], [2, 20, 20], [2, 20, 5]])
    window.curate.next()  # it is read while Predict is in front
    panels.tabs.setCurrentIndex(3)
    window.wait()
    panels.tabs.setCurrentIndex(1)  # the drawn region keeps the layers as they are
    window.curate.keep()
    window.wait(lambda: window.current.image.id == window.current.id)
    assert decisions_of(dataset) == {}
    window.curate.keep()
    window.wait()
    assert len(decisions_of(dataset)) == 1
