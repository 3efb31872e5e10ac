"""Training and prediction from the panels, in a real napari: processes that go on without it."""

from __future__ import annotations

import re
import shlex
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_images
from test_viewer_curate import Window

from cytoloop.curation import CurationSettings, curate
from cytoloop.io.labels import read_labels
from cytoloop.manifest import read_manifest
from cytoloop.tracking.run_status import RunStatus, cancel_training

pytestmark = [pytest.mark.viewer, pytest.mark.slow]


def test_a_training_goes_on_without_napari_and_its_model_predicts(
    make_napari_viewer: Any, qtbot: Any, project: Path
) -> None:
    images = make_images(project / "images", 5, (48, 56))
    curate(CurationSettings(raw=images / "raw", seg1=images / "seg", output=project / "dataset"))
    window = Window(make_napari_viewer(show=False), qtbot, project)
    window.open(project / "dataset")
    train = window.panels.train
    assert train.form.value("data.path") == "dataset"
    train.form.set_value("output", "")
    window.press(train.runner.start_button)
    assert "Model folder is empty" in train.runner.message.text()
    for key, value in {
        "data.patch_size": "30",
        "features": "4",
        "layers": "2",
        "trainer.max_epochs": "40",
        "data.batch_size": "2",
    }.items():
        train.advanced.set_value(key, value)
    qtbot.waitUntil(lambda: "nearest: 32" in train.problems.text(), timeout=5000)
    train.advanced.set_value("data.patch_size", "32")
    train.form.set_value("output", "model0")
    train.form.set_value("budget_minutes", "")
    window.press(train.runner.start_button)
    window.wait(lambda: train.runner.process is not None and not train.runner.is_running, 120)
    assert train.runner.process.status == 0, train.runner.process.output()
    clicked = train.runner.command.text
    window.panels.close_threads()

    again = Window(make_napari_viewer(show=False), qtbot, project)  # finds it
    train = again.panels.train
    again.wait(lambda: train.view is not None)
    assert train.view.folder == project / "model0"
    again.wait(lambda: train.view.state != "running" or bool(train.view.curves.validation), 120)
    if train.view.state == "running":
        again.press(train.cancel_button)
    again.wait(lambda: train.view.state in ("stopped", "finished"), 60)
    again.wait(lambda: not train.curves.pixmap().isNull())
    again.press(train.finish.use_button)
    predict = again.panels.predict
    assert again.panels.tabs.currentIndex() == 3
    assert predict.form.value("checkpoint") == str(project / "model0")
    _register_and_promote(again)

    raw = np.random.default_rng(0).normal(200, 20, (48, 56)).astype(np.float32)
    again.viewer.add_image(raw, name="in memory", scale=(0.3, 0.3))
    predict.form.set_value("input", "layer: in memory")
    predict.form.set_value("output", "of_layer")
    again.press(predict.runner.start_button)
    again.wait(lambda: predict.runner.process is not None and not predict.runner.is_running, 120)
    assert predict.runner.process.status == 0, predict.runner.process.output()
    again.wait(lambda: len(predict.rows) == 1)
    assert predict.rows[0].id == "in_memory" or "memory" in predict.rows[0].id

    predict.form.set_value("input", str(images / "raw"))
    predict.form.set_value("output", "preds")
    again.press(predict.runner.start_button)
    again.wait(lambda: len(predict.rows) == 5 and predict.stored is not None, 120)
    shown = again.viewer.layers["prediction"]
    assert tuple(shown.scale) == pytest.approx((0.3, 0.3))
    assert not predict.sliders.sliders["haze"].isEnabled()  # no brightness is stored
    predict.sliders.numbers["threshold"].setValue(0.0)
    predict.sliders.numbers["min_depth"].setValue(0.6)
    again.wait(lambda: "objects with these values" in predict.note.text())
    tried = np.asarray(again.viewer.layers["other values"].data)
    again.press(predict.apply.start_button)
    again.wait(lambda: predict.apply.process is not None and not predict.apply.is_running, 120)
    assert predict.apply.process.status == 0, predict.apply.process.output()
    assert "other values" not in again.viewer.layers
    rows = list(read_manifest(project / "preds" / "predictions.csv"))
    stored = read_labels(rows[0].file("labels") or "")
    assert np.array_equal(stored > 0, tried.reshape(stored.shape) > 0)
    compare = again.panels.compare
    for key, value in {"truth": "dataset/dataset.csv", "output": "scores"}.items():
        compare.form.set_value(key, value)
    assert Path(compare.form.value("predictions")).samefile("preds/predictions.csv")
    again.press(compare.runner.start_button)
    again.wait(lambda: compare.shown is not None, 120)
    worst = compare.scores.images[0]["id"]
    assert compare.shown.id == worst

    again.open(project / "dataset")  # the second round: the worst image is rejected
    assert again.curate.predictions
    again.curate.queue.choose(worst)
    again.wait(lambda: again.current.id == worst and again.current.image is not None)
    assert "prediction" in again.viewer.layers
    again.press(again.curate.buttons["reject"])
    again.press(again.curate.runner.start_button)
    again.wait(lambda: not again.curate.runner.is_running, 120)
    assert again.curate.runner.process.status == 0, again.curate.runner.process.output()
    rows = {row.id: row for row in read_manifest(project / "dataset" / "dataset.csv")}
    assert rows[worst]["status"] == "reject"
    again.panels.close_threads()
    _typed_gives_the_same_config(project, clicked)


def _register_and_promote(window: Window) -> None:
    from cytoloop.__main__ import main
    from cytoloop.viewer.panels.folding import Folding

    finish = window.panels.train.finish
    for folding in finish.findChildren(Folding):
        window.press(folding.button)
    assert not finish.promote.isVisibleTo(finish)  # nothing is registered yet
    finish.form.set_value("name", "clicked")
    _press_both(window, (0,))
    assert "champion" in finish.promote.message.text()
    first = finish._folder
    tiny = ["experiment=nuclei_2d", "data.path=dataset", "data.patch_size=[32,32]"]
    tiny += ["model/size=small", "data.steps_per_epoch=2", "trainer.max_epochs=1", "output=model1"]
    assert main(["train", *tiny]) == 0
    finish.show_model(Path("model1"))
    _press_both(window, (0, 3, 4))  # the second version meets the champion
    text = finish.promote.message.text()
    assert "models:/clicked/1" in text and "models:/clicked/2" in text, text
    finish.show_model(first)


def _press_both(window: Window, verdicts: tuple[int, ...]) -> None:
    """Register and promote the model that is shown."""
    finish = window.panels.train.finish
    for runner, answers in ((finish.register, (0,)), (finish.promote, verdicts)):
        assert runner.isVisibleTo(finish)
        window.press(runner.start_button)
        window.wait(lambda runner=runner: not runner.is_running, 120)
        assert runner.process.status in answers, runner.process.output()


def _typed_gives_the_same_config(project: Path, clicked: str) -> None:
    """Type the command that the panel showed; the completed config has the same bytes."""
    from cytoloop.__main__ import main

    def config() -> str:
        """Return the config; each training has an MLflow run of its own."""
        text = (project / "model0" / "config.yaml").read_text()
        return re.sub(r"run_id: [0-9a-f]{32}", "run_id: ID", text)

    before = config()
    (project / "model0").rename(project / "clicked")
    (project / "dataset").rename(project / "round1")
    images = project / "images"
    curate(CurationSettings(raw=images / "raw", seg1=images / "seg", output=project / "dataset"))
    words = shlex.split(clicked)
    assert words[0] == "cytoloop" and main(words[1:]) == 0
    status = RunStatus(project / "model0")
    while status.update().state == "running" and not status.validations:
        time.sleep(0.2)
    if status.state == "running":
        for _ in cancel_training(status):
            pass
    assert config().splitlines() == before.splitlines()
