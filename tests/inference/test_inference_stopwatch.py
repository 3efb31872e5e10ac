"""The seed's "Inference very slow": prediction says what takes its time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cytoloop.__main__ import main
from cytoloop.inference import stopwatch
from cytoloop.inference.stopwatch import NETWORK, OBJECTS, READING, measure, slow_part, timed


@pytest.mark.parametrize("seconds, found", [
    ({READING: 30, NETWORK: 300, OBJECTS: 40}, None),  # as planned
    ({READING: 20, NETWORK: 10, OBJECTS: 5}, None),  # short
    ({READING: 100, NETWORK: 60, OBJECTS: 9}, "169 s, slower.*: reading and preparing 100 s, "
     "network 60 s, objects and files 9 s. Copy compressed or remote images"),
    ({READING: 10, NETWORK: 60, OBJECTS: 90}, "objects and files 90 s.*reprocess=FOLDER"),
])  # fmt: skip
def test_a_part_that_takes_longer_than_the_network_is_named(
    seconds: dict[str, float], found: str | None
) -> None:
    text = slow_part(seconds)
    assert text is None if found is None else text is not None and re.search(found, text)


def test_parts_are_measured_without_those_inside() -> None:
    with stopwatch.stopwatch() as seconds, measure(READING):
        timed(NETWORK, time.sleep)(0.2)
        time.sleep(0.01)
    assert seconds[NETWORK] >= 0.2 > seconds[READING] >= 0.01
    with measure(OBJECTS):
        pass
    assert OBJECTS not in seconds


def test_predict_reports_a_slow_image(
    make_model: Callable, blobs: Callable, tiff: Callable, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture,
) -> None:  # fmt: skip
    tiff(tmp_path / "in/a.tif", blobs((8, 32, 32), 3, 0)[0])
    words = ["predict", f"checkpoint={make_model()}", f"input={tmp_path}/in"]
    assert main([*words, f"output={tmp_path}/p"]) == 0
    assert "slower than the network" not in capfd.readouterr().err
    monkeypatch.setattr(stopwatch, "WORTH_TELLING_S", 0.0)
    monkeypatch.setattr(stopwatch, "PLANNED_SHARE", 1.0)
    assert main([*words, f"output={tmp_path}/q"]) == 0
    assert "slower than the network alone" in capfd.readouterr().err
