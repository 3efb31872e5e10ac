"""Text and pickling of errors."""

from __future__ import annotations

import pickle

import pytest

from cytoloop.errors import ManifestError, join_names, truncate_lines


def test_one_problem_is_shown_in_one_line_with_the_repair() -> None:
    error = ManifestError("a.csv", "is empty", "Add rows.")
    assert str(error) == "a.csv: is empty\nAdd rows."


def test_several_problems_are_counted_and_listed() -> None:
    assert str(ManifestError("a.csv", ["x", "y"])) == "a.csv: 2 problems\n  x\n  y"


def test_errors_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(ManifestError("a", ["x", "y"], "z")))
    assert isinstance(error, ManifestError) and error.problems == ["x", "y"] and error.repair == "z"


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, ""), (1, "0"), (3, "0, 1, 2"), (4, "0, 1, 2 and 1 more"), (9, "0, 1, 2 and 6 more")],
)
def test_join_names_counts_the_names_after_the_limit(count: int, expected: str) -> None:
    assert join_names(map(str, range(count)), 3) == expected


def test_truncate_lines_counts_the_lines_after_the_limit() -> None:
    assert truncate_lines(["a", "b"], 2) == ["a", "b"] and truncate_lines([], 2) == []
    assert truncate_lines(["a", "b", "c", "d"], 2) == ["a", "b", "... and 2 more"]
