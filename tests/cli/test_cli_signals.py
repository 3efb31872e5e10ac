"""A verb that is stopped by a signal leaves its tables as they should be."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cytoloop.__main__ import main
from cytoloop.inference.results.predictions_csv import PredictionsTable


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_prediction_keeps_the_rows_that_are_done(
    number: signal.Signals,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    blobs: Callable,
    tiff: Callable,
    make_model: Callable,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in range(4):
        tiff(tmp_path / "in" / f"{name:02d}.tif", blobs((16, 48, 48), 5, name)[0])
    model = make_model()
    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    finish = PredictionsTable.finish

    def finish_and_stop(self: PredictionsTable, *given: Any) -> None:
        finish(self, *given)
        assert Path("p/.finished.jsonl").is_file()
        os.kill(os.getpid(), number)

    monkeypatch.setattr(PredictionsTable, "finish", finish_and_stop)
    assert main(["predict", f"checkpoint={model}", "input=in", "output=p"]) == 130
    assert [signal.getsignal(o) for o in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)] == before
    with Path("p/predictions.csv").open(newline="") as file:
        states = [row["status"] for row in csv.DictReader(file)]
    assert states == ["done", "pending", "pending", "pending"]
    assert not Path("p/.finished.jsonl").exists()
