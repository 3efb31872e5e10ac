"""A closed terminal, SIGTERM and Ctrl-C stop a training after a whole step."""

from __future__ import annotations

import os
import pty
import signal
from collections.abc import Iterator

import pytest

from cytoloop.training.stopping import SaveOnStop, clean_stop

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")


@pytest.fixture(autouse=True)
def streams() -> Iterator[None]:
    """Give the process its standard streams and handlers back."""
    kept = {number: os.dup(number) for number in (0, 1, 2)}
    former = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `nohup pytest` ignores it
    yield
    for number, copy in kept.items():
        os.dup2(copy, number)
        os.close(copy)
    for signal_number, handler in former.items():
        signal.signal(signal_number, handler)


def test_a_closed_terminal_stops_like_ctrl_c_and_ends_the_output() -> None:
    leader, terminal = pty.openpty()
    os.dup2(terminal, 2)
    with pytest.raises(KeyboardInterrupt), clean_stop():
        os.close(leader)  # the terminal is gone: writing fails
        with pytest.raises(OSError):
            os.write(2, b"lost")
        os.kill(os.getpid(), signal.SIGHUP)
    assert os.write(2, b"nowhere") == 7
    assert os.fstat(2).st_rdev == os.stat(os.devnull).st_rdev
    os.close(terminal)


def test_nohup_goes_on_when_the_terminal_is_closed() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with clean_stop():
        SaveOnStop("last.ckpt").on_fit_start(None, None)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_closed_terminal_lets_the_step_finish() -> None:
    stop = SaveOnStop("last.ckpt")
    with clean_stop():
        stop.on_fit_start(None, None)  # type: ignore[arg-type]
        for _ in range(2):  # a lost connection may send it again
            os.kill(os.getpid(), signal.SIGHUP)
        assert stop.stop_requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is not stop._request_stop
