"""What a person can do wrong: each message of the Segmenter ML plugin has a better counterpart.

Their message stands in the comment; ours says where, what was found, and how to repair it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_images, write_tiff
from test_viewer_curate import Window, dataset, window  # noqa: F401

from cytoloop.__main__ import main
from cytoloop.errors import CytoloopError
from cytoloop.viewer.session.commands import (
    combine_words,
    curate_words,
    plan_words,
    predict_words,
    train_words,
)
from cytoloop.viewer.session.first import first_methods, first_words
from cytoloop.viewer.session.pairs import describe, preview_pairs
from cytoloop.viewer.session.promotion import find_address, promote_words, register_words


def said(function: Any, *values: Any) -> str:
    """Return the text of the error that a function raises."""
    with pytest.raises(CytoloopError) as error:
        function(*values)
    return error.value.render()


def test_empty_fields_are_all_named_at_once() -> None:
    # "Please select a directory and channel for at least raw and seg1."
    text = said(curate_words, {})
    assert all(f"{name} is empty" in text for name in ("Images", "Segmentations", "Data set"))
    # "Please select an experiment" "Please select a checkpoint" "Please select input images"
    text = said(predict_words, {})
    assert all(f"{name} is empty" in text for name in ("Model", "Images", "Results"))
    # "Please define ['Z'] patches before continuing." "Please define max epoch" "... model size"
    wrong = {
        "data.path": "",
        "output": "",
        "data.patch_size": "33",
        "trainer.max_epochs": "0",
        "budget_minutes": "soon",
        "model.optimizer.lr": "fast",
    }
    text = said(train_words, wrong)
    for part in (
        *("Data set is empty", "Model folder is empty", "nearest: 32 or 36", "nearest: 1"),
        *("Minutes: 'soon' is not a number", "Learning rate: 'fast' is not a number"),
    ):
        assert part in text
    assert "Data set is empty" in said(plan_words, {})
    assert "Other log is empty" in said(combine_words, {"data.path": "dataset"})
    assert "Model name is empty" in said(register_words, {"model": "m", "name": ""})
    assert "Training is empty" in said(promote_words, {"model": "", "name": "n"})
    text = said(first_words, {"method": first_methods()[0], "diameter": "-3"})
    assert "Images is empty" in text and "expected auto or a number above 0" in text


def test_rows_say_what_is_wrong_with_their_files(tmp_path: Path) -> None:
    images = make_images(tmp_path, 2)
    # "provided image dirs must be of same length"
    (images / "seg" / "img_1.tif").rename(images / "seg" / "img_7.tif")
    rows = preview_pairs({"raw": str(images / "raw"), "seg1": str(images / "seg")})
    assert describe(rows).startswith("1 images can be used")
    assert {row.id for row in rows if row.problem} == {"img_1", "img_7"}
    # shapes are not checked there
    write_tiff(images / "seg" / "img_1.tif", np.ones((12, 30, 30), np.uint8))
    rows = preview_pairs({"raw": str(images / "raw"), "seg1": str(images / "seg")})
    problem = {row.id: row.problem for row in rows}["img_1"]
    assert "seg1 is 12 x 30 x 30 but raw is 12 x 40 x 40" in problem
    # "cannot load images from empty image dir"
    (tmp_path / "empty").mkdir()
    with pytest.raises(CytoloopError, match="empty"):
        preview_pairs({"raw": str(tmp_path / "empty"), "seg1": ""})
    # "There was a problem loading ... images"
    (images / "raw" / "img_0.tif").write_bytes(b"")
    rows = preview_pairs({"raw": str(images / "raw"), "seg1": str(images / "seg")})
    assert any("raw:" in row.problem for row in rows if row.id == "img_0")


def test_verbs_say_what_is_wrong_with_images_models_and_channels(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def says(*words: str) -> str:
        assert main(list(words)) == 2
        text = " ".join(capsys.readouterr().err.split())
        assert "Traceback" not in text
        return text

    images = make_images(project, 2)
    fields = {"raw": "raw", "seg1": "seg", "output": "dataset", "channel": "3"}
    # "Please select a channel for seg2." "Channel extraction failed"
    assert "channel" in says("curate", *curate_words(fields))
    # "Cannot load timeseries images": each time point is an image
    movie = np.stack([np.arange(1600, dtype=np.uint16).reshape(40, 40)] * 3)
    write_tiff(project / "movie" / "a.tif", movie)
    fields = {"raw": "movie", "seg1": str(images / "seg"), "output": "d2"}
    assert "a" in says("curate", *curate_words(fields))
    # "Failed to get data from training directory: ..."
    text = said(train_words, {"data.path": "nowhere", "output": "m"})
    assert "Data set: nowhere: no such file or folder" in text
    # "Please train with the experiment to see a prediction."
    fields = {"checkpoint": "no_model", "input": "raw", "output": "p"}
    assert "no_model" in says("predict", *predict_words(fields))
    fields |= {"checkpoint": "pretrained:nuclei_3d", "input": "no_images"}
    assert "no_images" in says("predict", *predict_words(fields))
    assert "pretrained:nuclei_9d" in says(
        "predict", *predict_words(fields | {"checkpoint": "pretrained:nuclei_9d", "input": "raw"})
    )
    assert not (project / "p").exists()


def test_the_address_of_mlflow_is_found_in_its_output() -> None:
    line = "MLflow UI: http://127.0.0.1:5001/#/experiments/1 (end it with Ctrl-C)"
    assert find_address(line) == "http://127.0.0.1:5001/#/experiments/1"
    assert find_address("starting") == ""


@pytest.mark.viewer
def test_no_mistake_in_the_window_ends_in_a_traceback(
    window: Window,  # noqa: F811
    dataset: Path,  # noqa: F811
) -> None:
    from napari.utils.notifications import notification_manager
    from qtpy.QtWidgets import QPushButton

    panels, curate = window.panels, window.curate
    before = len(notification_manager.records)
    buttons = [*curate.buttons.values(), *curate.correct.buttons.values()]
    for button in buttons:  # "Please select a base image", before any image is there
        window.press(button)
    window.press(curate.buttons["keep"])
    assert "No image is shown" in window.error()
    curate.base.activated.emit(1)
    window.wait()
    assert "No image is shown" in window.error()
    regions = {one.text(): one for one in curate.regions.findChildren(QPushButton)}
    for button in regions.values():
        window.press(button)
        error = window.error()
        assert "no image is shown" in error or "no data set is open" in error
    for tab, runner in (
        (panels.predict, panels.predict.runner),
        (panels.predict, panels.predict.apply),
        (panels.compare, panels.compare.runner),
        (curate, curate.runner),
        (curate, curate.curators.runner),
    ):
        assert tab is not None
        runner.start()
        window.wait(lambda runner=runner: bool(runner.message.text()))
        assert "Traceback" not in runner.message.text()
        assert not runner.is_running
    window.open(dataset)
    # "Please create a merging mask layer" "Please create an excluding mask layer"
    window.press(regions["Exclude"])
    assert "nothing is drawn" in window.error()
    # "Please select a base image to merge with"
    row = window.current.dataset.entry(window.current.id).row
    row.values["seg2"] = ""
    window.press(regions["Rectangle"])
    corners = np.array([[0, 0], [0, 9], [9, 9], [9, 0]], float)
    window.viewer.layers["draw region"].add_rectangles(corners)
    window.press(regions["Merge"])
    assert "merging needs two" in window.error()
    # "Failed to save current progress to CSV"
    log = dataset / "decisions.csv"
    log.write_text("not,a,log\n")
    curate.advance.setChecked(False)
    window.press(curate.buttons["keep"])
    assert "has no column id or decision" in window.error()
    assert log.read_text() == "not,a,log\n"
    assert window.current.dataset.decision(window.current.id).decision == "undecided"
    # a dropped file that is nothing of ours, a table without rows
    panels.predict.show_table(str(dataset / "nowhere"))
    window.wait(lambda: "nowhere" in window.error())
    panels.compare.read()
    window.wait(lambda: bool(window.error()))
    assert len(notification_manager.records) == before
