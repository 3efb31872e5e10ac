"""Twelve runs whose study is killed three times, then shared by two processes, one of them killed.

The study, its processes and their deaths are real. A small program takes the place of the trainings
(tests/integration/test_study.py kills real ones): it counts its steps in a file as a checkpoint
does, goes on from there, and ends with scores that depend on its run only.
"""

from __future__ import annotations

import csv
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

TRAINING = """
import json, os, pathlib, socket, sys, time, zlib
import psutil
folder = pathlib.Path(sys.argv[1])
note, saved = folder / "training.json", folder / "checkpoints/last.ckpt"
process = psutil.Process()
facts = dict(pid=process.pid, started=process.create_time(), host=socket.gethostname(),
             run_id="", folder=str(folder), devices=[])
with open(folder / "alone", "x"):  # two processes at once would fail here
    pass
note.write_text(json.dumps(facts))
saved.parent.mkdir(exist_ok=True)
step = int(saved.read_text()) if saved.exists() else 0
(folder / "config.yaml").touch()
for step in range(step + 1, 13):
    time.sleep(0.05)
    with open(folder / "steps", "a") as file:
        file.write(f"{step} ")
    saved.with_suffix(".new").write_text(str(step))
    saved.with_suffix(".new").replace(saved)
chance = zlib.crc32(folder.name.encode())
if chance % 5 == 0:
    (folder / "alone").unlink(); note.unlink()
    sys.exit("this one fails")
scores = folder / "test/evaluation"
scores.mkdir(parents=True, exist_ok=True)
score = chance % 1000 / 1000
(scores / "metrics.csv").write_text(f"id,f1_50\\na,{score}\\nb,{score / 2}\\n")
(scores / "summary.json").write_text(json.dumps({"mean": {"seg": score}, "pooled": {}}))
(folder / "finished").write_text(json.dumps({"val/pq": score}))
(folder / "alone").unlink(); note.unlink()
"""

STUDY = """
import subprocess, sys
from pathlib import Path
from cytoloop.studies.design import Combination
from cytoloop.studies.execute import Workers, execute
from cytoloop.studies.runs import LOG_FILE, Run, open_runs
from cytoloop.studies.settings import Level
from cytoloop.studies.tables import write_runs

folder = Path(sys.argv[1])

def launch(command, run, variables):
    with (run / LOG_FILE).open("a") as log:
        words = [sys.executable, sys.argv[2], str(run)]
        return subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)

runs = [
    Run(Combination({"rate": Level(f"l{n}")}), seed, f"run{n}{seed}", folder / f"runs/run{n}{seed}",
        (), folder, 4)
    for seed in (1, 2, 3) for n in range(4)
]
def ended(run):
    write_runs(runs, ["rate"], folder)
for run in runs:
    run.adopt()
execute(open_runs(runs), Workers(2, 1, launch=launch), ended)
write_runs(runs, ["rate"], folder)
"""


def table(folder: Path) -> list[tuple[str, ...]]:
    with (folder / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [tuple(v for k, v in row.items() if k not in ("minutes", "problem")) for row in rows]


def test_twelve_runs_killed_three_times_end_with_the_table_of_an_unbroken_study(
    tmp_path: Path,
) -> None:
    for name, text in (("training.py", TRAINING), ("study.py", STUDY)):
        (tmp_path / name).write_text(text)

    def start(folder: str) -> subprocess.Popen[bytes]:
        (tmp_path / folder).mkdir(exist_ok=True)
        words = [sys.executable, tmp_path / "study.py", tmp_path / folder, tmp_path / "training.py"]
        return subprocess.Popen(words)

    def steps() -> int:
        found = (tmp_path / "broken").glob("runs/*/steps")
        return sum(len(path.read_text().split()) for path in found)

    unbroken, chance = start("unbroken"), random.Random()
    for number in range(3):
        process, wanted = start("broken"), steps() + chance.randint(2, 20)
        while steps() < wanted and process.poll() is None:
            time.sleep(0.02)
        process.kill()
        assert process.wait() == -signal.SIGKILL, f"kill {number}: the study had ended"
    first, second = start("broken"), start("broken")
    wanted = steps() + 5
    while steps() < wanted and first.poll() is None:
        time.sleep(0.02)
    first.kill()
    assert second.wait(120) == 0 and first.wait() in (0, -signal.SIGKILL)
    last = start("broken")  # what the killed one had begun
    assert last.wait(120) == 0 and unbroken.wait(120) == 0

    found = table(tmp_path / "broken")
    assert found == table(tmp_path / "unbroken") and len(found) == 12
    assert {row[4] for row in found} == {"done", "failed"}
    for path in (tmp_path / "broken").glob("runs/*/steps"):
        each = path.read_text().split()
        assert each[:12] == [str(step) for step in range(1, 13)], (path, each)  # resumed
