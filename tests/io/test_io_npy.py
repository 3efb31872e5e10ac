"""NumPy files of the image cache are opened by several threads."""

from __future__ import annotations

import ast
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cytoloop.io.npy import open_npy


def test_one_thread_at_a_time_parses_a_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.11 ends with a SystemError where two do."""
    path = tmp_path / "a.npy"
    np.save(path, np.arange(6).reshape(2, 3))
    parse, inside, most = ast.literal_eval, [], []

    def watched(*args: Any) -> Any:
        inside.append(threading.get_ident())
        time.sleep(0.002)  # lets other threads in
        most.append(len(inside))
        inside.pop()
        return parse(*args)

    monkeypatch.setattr(ast, "literal_eval", watched)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: open_npy(path), range(40)))
    assert len(most) == 40 and max(most) == 1
    assert all((one == [[0, 1, 2], [3, 4, 5]]).all() for one in found)


def test_files_of_objects_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="pickle|object"):
        open_npy(tmp_path / "a.npy")
