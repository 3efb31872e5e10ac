"""Execution of the runs of a study: each is a process of `cytoloop train`, several side by side."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from filelock import Timeout

from cytoloop.errors import STOPPED, CytoloopError
from cytoloop.evaluation import evaluate, write_evaluation
from cytoloop.io.file_lock import held_lock
from cytoloop.studies.energy import read_counters, watt_hours
from cytoloop.studies.launchers import STOP_FILE, Launch, Task
from cytoloop.studies.runs import DONE, ENDED, LOG_FILE, OPEN, PRUNED, STARTED, Run
from cytoloop.tracking.lock import find_process
from cytoloop.tracking.output_folder import can_resume
from cytoloop.tracking.study_store import STUDY_VARIABLE

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
_PATIENCE_SECONDS = 120
"""How long a training may take to save its checkpoint when the study is stopped."""
_TAIL_LINES = 12
CLAIM_FILE = ".study.lock"


@dataclass
class Workers:
    """Slots for runs of one machine.

    Attributes
    ----------
    count : int
        Runs at a time.
    cores_each : int
        CPU cores of a run.
    cores : sequence of int
        Numbers of the cores, none where the system does not tell.
    gpus : int
        GPUs of the machine; runs share them in turn. 0: the runs use the CPU.
    max_seconds : float or None
        No run is started later than this after the start of the study.
    launch : callable or None
        Starts commands elsewhere, see `cytoloop.studies.launchers`; None: processes here.
    before : callable
        Called with a training before it starts or goes on.
    is_hopeless : callable
        Whether a running training shall be ended, because others were better.
    """

    count: int
    cores_each: int
    cores: Sequence[int] = ()
    gpus: int = 0
    max_seconds: float | None = None
    launch: Launch | None = None
    before: Callable[[Run], None] = lambda run: None
    is_hopeless: Callable[[Run], bool] = lambda run: False
    stopping: threading.Event = field(default_factory=threading.Event)

    def environment(self, slot: int) -> dict[str, str]:
        """Return what the environment of the process in a slot has beside that of the study.

        Elsewhere, the launcher decides about cores and GPUs.
        """
        if self.launch is not None:
            return {}
        own = {name: str(self.cores_each) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        if self.gpus:
            own["CUDA_VISIBLE_DEVICES"] = str(slot % self.gpus)
        return own

    def place(self, process: subprocess.Popen[bytes], slot: int) -> None:
        """Keep the process of a slot on cores of its own; the plan of its training sees these."""
        first = slot * self.cores_each
        own = list(self.cores[first : first + self.cores_each])
        found = psutil.Process(process.pid)
        if self.count > 1 and own and hasattr(found, "cpu_affinity"):
            with suppress(psutil.NoSuchProcess):
                found.cpu_affinity(own)


def execute(runs: Sequence[Run], workers: Workers, on_end: Callable[[Run], None]) -> None:
    """Do the runs that are left: no finished ones, and none that failed twice.

    A run that another process of the study does, on this machine or on another one that shares the
    folder, is left to it. A run that was killed is resumed. A run that fails is tried once more at
    the end, and ends no other run.

    Parameters
    ----------
    runs : sequence of Run
    workers : Workers
    on_end : callable
        Called with each run when it has ended, one at a time.

    Raises
    ------
    KeyboardInterrupt
        The study was stopped; its trainings have saved their checkpoints.
    """
    queue, lock = deque(runs), threading.Lock()
    started, errors = time.monotonic(), []

    def work(slot: int) -> None:
        try:
            while not workers.stopping.is_set():
                is_late = workers.max_seconds is not None and (
                    time.monotonic() - started > workers.max_seconds
                )
                with lock:
                    run = queue.popleft() if queue and not is_late else None
                if run is None:
                    return
                is_done = _do(run, slot, workers)
                with lock:
                    if is_done is False and run.status in (OPEN, STARTED):
                        queue.append(run)
                    if is_done is not None:
                        on_end(run)
        except BaseException as error:  # raised again in the thread that waits
            errors.append(error)
            workers.stopping.set()

    threads = [threading.Thread(target=work, args=(slot,)) for slot in range(workers.count)]
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            for thread in threads:
                thread.join(_POLL_SECONDS)
    except BaseException:
        workers.stopping.set()
        for thread in threads:
            thread.join()
        raise
    if errors:
        raise errors[0]


def _do(run: Run, slot: int, workers: Workers) -> bool | None:
    """Do a run; return whether it succeeded, None if it was left to another process or stopped."""
    if run.status in ENDED:
        return None
    if run.members and not all(one.status == DONE for one in run.members):
        return None  # a member has failed, or another process trains it
    with _claim(run) as is_ours:
        if not is_ours or run.status in ENDED:
            return None
        run.note_keys()
        _wait_for_orphan(run, workers.stopping)
        if run.adopt():  # its process outlived the study
            return True
        if workers.stopping.is_set():
            return None
        log.info("%s %s (%s)", "resumed:" if can_resume(run.folder) else "run:", run.title, run.key)
        workers.before(run)
        start, counters = time.monotonic(), {} if workers.launch else read_counters()
        failure: str | None
        if run.combination.predictions:
            failure = _score_predictions(run)
        else:
            failure = _run_commands(run, slot, workers)
        taken = watt_hours(counters, read_counters())  # of the machine: shared by its trainings
        energy = None if taken is None else taken / workers.count
        if failure == "":  # stopped
            is_pruned = (run.folder / PRUNED).exists()
            run.note(time.monotonic() - start, pruned=is_pruned, energy=energy)
            return True if run.status == PRUNED else None
        if failure is None and run.status != DONE:
            failure = f"it ended without scores of test images; see {run.folder / LOG_FILE}"
        run.note(time.monotonic() - start, failure, energy=energy)
        if failure:
            log.warning("failed: %s\n%s", run.title, failure)
        return failure is None


@contextmanager
def _claim(run: Run) -> Iterator[bool]:
    """Yield whether this process may do the run: no other process of the study does it."""
    run.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(held_lock(run.folder / CLAIM_FILE))
        except Timeout:
            yield False
        else:
            yield True


def _wait_for_orphan(run: Run, stopping: threading.Event) -> None:
    """Wait for a training that goes on although the study that started it was killed."""
    if find_process(run.folder) is not None:
        log.info("waiting for a training that still runs: %s", run.title)
    while find_process(run.folder) is not None and not stopping.is_set():
        time.sleep(_POLL_SECONDS)


def _run_commands(run: Run, slot: int, workers: Workers) -> str | None:
    """Run the commands of a run; return a failure, "" if it was stopped, None if it ended."""
    for words in _commands(run):
        failure = _run_verb(words, run, slot, workers)
        if failure is not None:
            return failure
    return None


def _commands(run: Run) -> list[list[str]]:
    """Return the words of the verbs: a training, or prediction and scores of an ensemble."""
    if run.members:
        checkpoints = ",".join(str(one.folder) for one in run.members)
        found, truth = run.folder / "test", run.dataset / "test.csv"
        return [
            ["predict", f"checkpoint=[{checkpoints}]", f"input={truth}", f"output={found}"],
            [
                *("evaluate", f"predictions={found / 'predictions.csv'}", f"truth={truth}"),
                *(f"output={found / 'evaluation'}", "overwrite=true", "log_to_mlflow=false"),
            ],
        ]
    if can_resume(run.folder):
        return [["train", f"resume={run.folder}", "lock=false"]]
    return [["train", *run.words, f"output={run.folder}", "overwrite=true", "lock=false"]]


def _run_verb(words: Sequence[str], run: Run, slot: int, workers: Workers) -> str | None:
    """Run a verb in a process of its own; return its failure, "" if stopped, None if it ended."""
    command = [sys.executable, "-m", "cytoloop", *words]
    for name in (STOP_FILE, PRUNED):
        (run.folder / name).unlink(missing_ok=True)
    if workers.launch is not None:
        task: Task = workers.launch(command, run.folder, _environment(run, slot, workers))
    else:
        task = _start(command, run, slot, workers)
    asked: float | None = None
    while (status := task.poll()) is None:
        time.sleep(_POLL_SECONDS)
        is_hopeless = asked is None and workers.is_hopeless(run)
        if is_hopeless:
            (run.folder / PRUNED).touch()
        if (workers.stopping.is_set() or is_hopeless) and asked is None:
            asked = time.monotonic()
            (run.folder / STOP_FILE).touch()
            if isinstance(task, subprocess.Popen):
                task.terminate()
        if asked is not None and time.monotonic() - asked > _PATIENCE_SECONDS:
            if not isinstance(task, subprocess.Popen):
                break  # its launcher ends it
            task.kill()
    if asked is not None or status == STOPPED:
        return ""
    return None if status == 0 else _tail(run.folder / LOG_FILE, status or 1)


def _environment(run: Run, slot: int, workers: Workers) -> dict[str, str]:
    """Return the variables of a run: its slot, and the study, which sends its MLflow entries."""
    return workers.environment(slot) | {STUDY_VARIABLE: str(run.folder.parents[1])}


def _start(
    command: Sequence[str], run: Run, slot: int, workers: Workers
) -> subprocess.Popen[bytes]:
    """Start a process of this machine on the cores of a slot."""
    with (run.folder / LOG_FILE).open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | _environment(run, slot, workers),
            start_new_session=True,  # Ctrl-C reaches the study, which stops its trainings itself
        )
        workers.place(process, slot)
    return process


def _tail(path: Path, status: int) -> str:
    """Return the last lines of a log."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    lines = text.splitlines()[-_TAIL_LINES:]
    return "\n".join([f"exit status {status}; the last lines of {path}:", *lines])


def _score_predictions(run: Run) -> str | None:
    """Score another tool's predictions of the test images; return what was wrong."""
    try:
        evaluation = evaluate(str(run.combination.predictions), run.dataset / "test.csv")
        write_evaluation(evaluation, run.folder / "test/evaluation")
    except CytoloopError as error:
        return str(error)
    return None
