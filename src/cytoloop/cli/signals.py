"""Signals that end a verb: tables are written first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stopped_by_signals(verb: str) -> Iterator[None]:
    """Treat SIGTERM and SIGHUP like Ctrl-C in the block: tables are written before the end.

    A batch system sends SIGTERM at the time limit; a closed terminal sends SIGHUP. A signal that
    is ignored (``nohup``) stays ignored. `train` has handlers of its own.
    """
    if verb == "train" or threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    former = {number: signal.getsignal(number) for number in numbers}
    former = {number: one for number, one in former.items() if one is signal.SIG_DFL}
    for number in former:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
