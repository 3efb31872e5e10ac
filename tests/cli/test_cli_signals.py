"""A verb that is stopped by a signal leaves its tables as they should be."""

from __future__ import annotations

import csv
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cytoloop.__main__ import main


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
    for name in range(60):
        tiff(tmp_path / "in" / f"{name:02d}.tif", blobs((16, 48, 48), 5, name)[0])
    model = make_model()
    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    ended = threading.Event()

    def stop_after_first_image() -> None:
        while not ended.wait(0.005):
            if (tmp_path / "p" / ".finished.jsonl").is_file():
                os.kill(os.getpid(), number)
                return

    thread = threading.Thread(target=stop_after_first_image)
    thread.start()
    try:
        status = main(["predict", f"checkpoint={model}", "input=in", "output=p"])
    except KeyboardInterrupt:  # the signal came between two blocks
        status = 130
    finally:
        ended.set()
        thread.join()
    assert status == 130
    assert [signal.getsignal(o) for o in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)] == before
    with Path("p/predictions.csv").open(newline="") as file:
        states = [row["status"] for row in csv.DictReader(file)]
    done = states.count("done")
    assert 1 <= done < 60 and states.count("pending") == 60 - done
    assert not Path("p/.finished.jsonl").exists()
