"""Energy by the counters of the processor."""

from __future__ import annotations

from pathlib import Path

import pytest

from cytoloop.studies.design import Combination
from cytoloop.studies.energy import read_counters, watt_hours
from cytoloop.studies.runs import Run


def write(folder: Path, name: str, value: int) -> None:
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "energy_uj").write_text(f"{value}\n")
    (folder / name / "max_energy_range_uj").write_text("10000000000\n")


def test_processors_are_added_up_and_parts_are_not(tmp_path: Path) -> None:
    for name, value in (("intel-rapl:0", 0), ("intel-rapl:1", 9_000_000_000)):
        write(tmp_path, name, value)
    write(tmp_path, "intel-rapl:0:0", 5)
    before = read_counters(tmp_path)
    write(tmp_path, "intel-rapl:0", 3_600_000_000)  # 1 Wh
    write(tmp_path, "intel-rapl:1", 2_600_000_000)  # 1 Wh: it has started anew
    write(tmp_path, "intel-rapl:0:0", 10**9)
    assert watt_hours(before, read_counters(tmp_path)) == pytest.approx(2)
    assert watt_hours({}, read_counters(tmp_path)) is None
    assert read_counters(tmp_path / "none") == {}


def test_the_energy_of_a_run_is_known_if_all_its_parts_are(tmp_path: Path) -> None:
    run = Run(Combination({}), 1, "key", tmp_path / "run", (), tmp_path, 4)
    run.note(60, energy=1.5)
    run.note(60, energy=2.0)
    assert run.watt_hours == pytest.approx(3.5) and run.minutes == 2
    run.note(60)
    run.note(60, energy=1.0)
    assert run.watt_hours is None
