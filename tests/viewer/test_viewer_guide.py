"""The guide for a first analysis, the links of "?", and images without labels."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import make_images
from test_viewer_curate import Window, dataset, window  # noqa: F401

from cytoloop.viewer.session.docs import PAGES, docs_link
from cytoloop.viewer.session.trainings import Curves, TrainingView

pytestmark = pytest.mark.viewer
DOCS = Path(__file__).parents[2] / "docs"


def test_the_guide_says_what_is_missing_and_goes_on_when_a_step_is_done(
    window: Window,  # noqa: F811
    dataset: Path,  # noqa: F811
) -> None:
    panels = window.panels
    guide, train, predict = panels.guide, panels.train, panels.predict
    panels.guide_button.click()
    assert guide.isVisibleTo(panels) and guide.number == 0
    assert "Missing: images, segmentations" in guide.title.text()
    assert not guide.next_button.isEnabled() and not guide.back_button.isEnabled()
    panels.data.form.set_value("raw", "images/raw")
    panels.data.form.set_value("seg1", "images/seg")
    panels.data.form.set_value("output", "dataset")
    guide.update_step()
    assert "press Make data set" in guide.title.text()
    panels.open(data_path=str(dataset))
    window.wait(lambda: panels.project.dataset is not None)
    guide.update_step()
    assert "4 images are ready" in guide.title.text()
    assert guide.next_button.text() == "Next: settings" and guide.next_button.isEnabled()
    window.press(guide.next_button)
    assert panels.tabs.currentIndex() == 2
    train.form.set_value("output", "")
    guide.update_step()
    assert "a folder for the model" in guide.title.text() and not guide.next_button.isEnabled()
    train.form.set_value("output", "model0")
    guide.update_step()
    for part in ("Train the recipe auto", "on dataset", "for 15 minutes", "goes to model0"):
        assert part in guide.title.text()
    window.press(guide.next_button)
    assert "press Start training" in guide.title.text()
    for state, is_done in (("running", False), ("ended", False), ("finished", True)):
        train.view = TrainingView(window.folder / "model0", state, "model0", 1.0, {}, Curves())
        guide.update_step()
        assert guide.next_button.isEnabled() == is_done
    assert guide.next_button.text() == "Next: predict"
    window.press(guide.next_button)
    assert panels.tabs.currentIndex() == 3
    assert predict.form.value("checkpoint") == str(window.folder / "model0")
    assert "Missing: images" in guide.title.text()
    predict.form.set_value("input", "new")
    guide.update_step()
    assert "Predict new with" in guide.title.text()
    window.press(guide.reset_button)
    assert guide.number == 0 and panels.data.form.value("raw") == ""
    assert panels.project.dataset is None and (dataset / "dataset.csv").is_file()
    train.view = None
    window.press(guide.model_button)  # from 1 straight to 4
    assert guide.number == 3 and "a model" in guide.title.text()
    panels.guide_button.click()
    assert not guide.isVisibleTo(panels)


def test_each_question_mark_links_to_a_page_that_exists(
    window: Window,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from qtpy.QtGui import QDesktopServices, QWhatsThisClickedEvent
    from qtpy.QtWidgets import QWidget

    from cytoloop.viewer.panels.fields import HelpButton

    for page in PAGES.values():
        assert (DOCS / f"{page}.md").is_file(), page
    assert docs_link("reference/none") == "" and docs_link("") == ""
    buttons = [one for one in window.panels.findChildren(QWidget) if isinstance(one, HelpButton)]
    assert len(buttons) > 30
    for button in buttons:
        assert button.toolTip().endswith(".") and button.link.startswith("file:")
    opened = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toString()))
    button = buttons[0]
    assert button.event(QWhatsThisClickedEvent(button.link))
    assert opened == [button.link]


def test_images_without_labels_get_a_first_segmentation(
    window: Window,  # noqa: F811
    project: Path,
) -> None:
    images = make_images(project / "images", 2)
    data = window.panels.data
    window.panels.open(images=str(images / "raw"))
    window.wait(lambda: data.table.rowCount() == 2)
    data.first.form.set_value("method", "workflow: nuclei")
    window.wait(lambda: "workflow=nuclei" in data.first.runner.command.text)
    assert "object_diameter_um" not in data.first.runner.command.text
    data.first.form.set_value("method", "pretrained:nuclei_3d")
    window.wait(lambda: "checkpoint=pretrained:nuclei_3d" in data.first.runner.command.text)
    assert data.first.runner.command.text.endswith("object_diameter_um=auto")
    data.first.form.set_value("method", "workflow: nuclei")
    window.press(data.first.runner.start_button)
    window.wait(lambda: data.first.runner.process is not None and not data.first.runner.is_running)
    assert data.first.runner.process.status == 0, data.first.runner.process.output()
    window.wait(lambda: data.form.value("seg1") == str(Path("first") / "labels"))
    window.wait(lambda: len(data.rows) == 2 and all(row.seg1 for row in data.rows))
    assert not any(row.problem for row in data.rows)
