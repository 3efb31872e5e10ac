"""A plate of wells in the panel Predict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from conftest import make_blobs
from test_viewer_curate import Window

from cytoloop.io.writers.zarr import write_zarr

pytestmark = [pytest.mark.viewer, pytest.mark.slow]


def test_fields_of_a_plate_are_predicted_and_shown(
    make_napari_viewer: Any, qtbot: Any, project: Path, make_model: Callable[..., Path]
) -> None:
    window = Window(make_napari_viewer(show=False), qtbot, project)
    plate, wells = project / "plate.ome.zarr", ["A/1", "B/12"]
    zarr.open_group(plate, mode="w", zarr_format=2).attrs.update(
        {"plate": {"wells": [{"path": well} for well in wells]}}
    )
    for number, well in enumerate(wells):
        zarr.open_group(plate / well, mode="w", zarr_format=2).attrs.update(
            {"well": {"images": [{"path": "0"}]}}
        )
        raw, _ = make_blobs((48, 56), 5, number)
        write_zarr(plate / well / "0", raw, "YX", (1.0, 0.3, 0.3))
    predict = window.panels.predict
    predict.form.set_value("checkpoint", str(make_model(2)))
    predict.form.set_value("input", str(plate))
    predict.form.set_value("output", "of_plate")
    window.press(predict.runner.start_button)
    window.wait(lambda: len(predict.rows) == 2 and predict.stored is not None, 120)
    assert [row["scene"] for row in predict.rows] == ["A/1/0", "B/12/0"]
    predict.results.setCurrentRow(1)
    window.wait(lambda: predict.stored.id == predict.rows[1].id)
    assert np.array_equal(window.viewer.layers["raw"].data, raw)
    window.panels.close_threads()
