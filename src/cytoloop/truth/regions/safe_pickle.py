"""Pickled arrays, read without running what a pickle may hold.

``np.save`` pickles arrays of unequal polygons, and a pickle is a program. This one may call
four names, which are stand-ins of ours for numpy's: numpy's own trust the sizes that they are
told and would read past the end of a forged array.
"""

from __future__ import annotations

import io
import pickle
import re
from typing import Any

import numpy as np

_CODES = re.compile(r"[fiu][1248]|b1|O8?")


class _Dtype:
    """Stands in for ``numpy.dtype`` of numbers and of objects."""

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        if not _CODES.fullmatch(code):
            raise pickle.UnpicklingError("it holds neither numbers nor lists of them")
        self.code = code

    def __setstate__(self, state: tuple) -> None:
        if state[1] == ">":
            self.code = ">" + self.code


class _Array:
    """Stands in for ``numpy.ndarray``."""

    def __setstate__(self, state: tuple) -> None:
        _, self.shape, dtype, fortran, self.content = state
        self.code, self.fortran = dtype.code, bool(fortran)


def _reconstruct(kind: object, shape: object, code: object) -> _Array:
    """Stand in for numpy's; the shape it is told counts for nothing."""
    return _Array()


def _scalar(dtype: _Dtype, content: bytes) -> Any:
    """Stand in for numpy's; return one number."""
    return np.frombuffer(content, dtype.code, 1)[0]


_NAMES = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
}


class _Unpickler(pickle._Unpickler):
    """The one written in Python: the faster one lets a few bytes claim all memory."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _NAMES[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it calls {module}.{name}") from None


def load_array(content: bytes) -> np.ndarray:
    """Return the array that a pickle holds.

    Parameters
    ----------
    content : bytes
        The pickle of one array of numbers, or of objects that are such arrays, numbers or
        lists of them.

    Raises
    ------
    pickle.UnpicklingError
        It holds anything else.
    """
    try:
        found = _Unpickler(io.BytesIO(content)).load()
        plain = _plain(found, {})
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # a broken pickle fails in as many ways as it has bytes
        raise pickle.UnpicklingError(f"it is broken ({type(error).__name__})") from error
    if not isinstance(plain, np.ndarray):
        raise pickle.UnpicklingError("it is no array")
    return plain


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """Return a value with real arrays for the stand-ins; what is shared is done once."""
    if id(value) in done or not isinstance(value, (_Array, list, tuple)):
        return done.get(id(value), value)
    if isinstance(value, (list, tuple)):
        items = done[id(value)] = []
        items += [_plain(item, done) for item in value]
        return items
    if isinstance(value.content, list):
        flat = np.empty(len(value.content), object)
        for place, item in enumerate(value.content):  # a slice would unpack the items
            flat[place] = _plain(item, done)
    else:
        flat = np.frombuffer(value.content, value.code)
    done[id(value)] = flat.reshape(value.shape, order="F" if value.fortran else "C")
    return done[id(value)]
