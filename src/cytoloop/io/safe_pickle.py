"""Reading of pickled arrays without running code.

``np.save`` pickles an array of polygons of different lengths, and a pickle is a program. The
unpickler below may use four names only. They are stand-ins for NumPy's own, which trust the sizes
in the pickle and read past the end of a forged array.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from typing import Any

import numpy as np

_CODES = re.compile(r"[fiu][1248]|b1|O8?")
_MEMO_WRITES = ("PUT", "BINPUT", "LONG_BINPUT")


class _Dtype:
    """Stand-in for ``numpy.dtype`` of numbers and of objects."""

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        if not _CODES.fullmatch(code):
            raise pickle.UnpicklingError("it holds values other than numbers and lists of numbers")
        self.code = code

    def __setstate__(self, state: tuple) -> None:
        if state[1] == ">":
            self.code = ">" + self.code


class _Array:
    """Stand-in for ``numpy.ndarray``."""

    def __setstate__(self, state: tuple) -> None:
        _, self.shape, dtype, fortran, self.content = state
        self.code, self.fortran = dtype.code, bool(fortran)


def _reconstruct(kind: object, shape: object, code: object) -> _Array:
    """Stand-in for NumPy's function; the shape in the pickle is ignored."""
    return _Array()


def _scalar(dtype: _Dtype, content: bytes) -> Any:
    """Stand-in for NumPy's function; returns one number."""
    return np.frombuffer(content, dtype.code, 1)[0]


_NAMES = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
}


class _Unpickler(pickle.Unpickler):
    """An unpickler that finds the stand-ins only."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _NAMES[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it calls {module}.{name}") from None


def load_npy(content: bytes) -> np.ndarray:
    """Return the array of an ``.npy`` file; a pickled array is read by `load_array`.

    Raises
    ------
    ValueError, OSError, EOFError, SyntaxError, pickle.UnpicklingError
        The content is no such file, or its pickle holds anything else.
    """
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"unknown .npy version {version}")
    read_header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    shape, fortran, dtype = read_header[version[0]](file)
    if not dtype.hasobject:
        values = np.frombuffer(content, dtype, offset=file.tell())
        return values.reshape(shape, order="F" if fortran else "C")
    value = load_array(content[file.tell() :])
    return value.reshape(shape, order="F" if fortran else "C")


def load_array(content: bytes) -> np.ndarray:
    """Return the array in a pickle.

    Parameters
    ----------
    content : bytes
        The pickle of one array of numbers, or of objects that are such arrays, numbers, texts, or
        lists and dictionaries of them.

    Raises
    ------
    pickle.UnpicklingError
        The pickle holds anything else.
    """
    try:
        _check_sizes(content)
        found = _Unpickler(io.BytesIO(content)).load()
        plain = _to_arrays(found, {})
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # a broken pickle raises errors of any type
        raise pickle.UnpicklingError(f"it is broken ({type(error).__name__})") from error
    if not isinstance(plain, np.ndarray):
        raise pickle.UnpicklingError("it holds no array")
    return plain


def _check_sizes(content: bytes) -> None:
    """Refuse a pickle that claims more memory than its own size.

    `pickletools.genops` fails on every argument that is longer than the rest of the pickle. A memo
    index beyond the pickle's length is checked here: the unpickler allocates a table of that size.

    Raises
    ------
    ValueError, pickle.UnpicklingError
    """
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in _MEMO_WRITES and int(argument or 0) > len(content):
            raise pickle.UnpicklingError("it claims more memory than its size")


def _to_arrays(value: Any, done: dict[int, Any]) -> Any:
    """Return a value with arrays instead of stand-ins; shared parts are converted once."""
    if id(value) in done or not isinstance(value, (_Array, list, tuple, dict)):
        return done.get(id(value), value)
    if isinstance(value, dict):
        named = done[id(value)] = {}
        named |= {key: _to_arrays(item, done) for key, item in value.items()}
        return named
    if isinstance(value, (list, tuple)):
        items = done[id(value)] = []
        items += [_to_arrays(item, done) for item in value]
        return items
    if isinstance(value.content, list):
        flat = np.empty(len(value.content), object)
        for number, item in enumerate(value.content):  # assigning a slice would unpack the items
            flat[number] = _to_arrays(item, done)
    else:
        flat = np.frombuffer(value.content, value.code)
    done[id(value)] = flat.reshape(value.shape, order="F" if value.fortran else "C")
    return done[id(value)]
