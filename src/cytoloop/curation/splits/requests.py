"""What ``valid=`` and ``test=`` request: a fraction of the groups, or groups by name."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

SplitRequest = float | str | Sequence[str]
"""A fraction of the groups, or the names of groups."""


def parse_request(request: SplitRequest) -> float | tuple[str, ...]:
    """Return a fraction as float, or names as tuple of str; a single name may be a bare str."""
    if isinstance(request, str):
        request = (request,)
    if not isinstance(request, Sequence):
        return float(request)
    return tuple(unicodedata.normalize("NFC", str(name)) for name in request)


def request_problems(valid: SplitRequest, test: SplitRequest) -> list[str]:
    """Return what is wrong with two requests, whatever the images are."""
    problems = [
        f"{split}={_shown(request)}: expected a fraction, or names of groups"
        for split, request in (("valid", valid), ("test", test))
        if not _is_request(request)
    ]
    if problems:
        return problems
    for_valid, for_test = parse_request(valid), parse_request(test)
    if isinstance(for_valid, float) and not 0 < for_valid < 1:
        problems.append(f"valid={for_valid:g}: expected a fraction above 0 and below 1")
    if for_valid == ():
        problems.append("valid=[] is empty: choosing a checkpoint needs validation images")
    if isinstance(for_test, float) and not 0 <= for_test < 1:
        problems.append(f"test={for_test:g}: expected a fraction from 0 to below 1")
    if isinstance(for_valid, float) and isinstance(for_test, float):
        if not problems and for_valid + for_test >= 1:
            total = for_valid + for_test
            problems.append(f"valid + test = {total:g}: nothing is left for training")
    elif isinstance(for_valid, tuple) and isinstance(for_test, tuple):
        both = sorted(set(for_valid) & set(for_test))
        problems += [f"group {name!r} is named in both valid and test" for name in both]
    return problems


def _is_request(value: Any) -> bool:
    return value is not None and not isinstance(value, (bool, Mapping))


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)
