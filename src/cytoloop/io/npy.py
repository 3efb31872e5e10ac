"""NumPy files, opened by several threads at a time."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

_ONE_HEADER = threading.Lock()
"""NumPy reads a header with `ast.literal_eval`, which several threads may not do at once in
Python 3.11: if the garbage collection of one lets another in, it ends with ``SystemError: AST
constructor recursion depth mismatch``."""


def open_npy(path: str | Path) -> np.ndarray:
    """Return the array in a NumPy file, memory-mapped and read-only.

    Raises
    ------
    OSError, ValueError
        The file cannot be read, is damaged, or holds Python objects.
    """
    with _ONE_HEADER:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
