from __future__ import annotations

import pickle

import pytest

from cytoloop.errors import ManifestError, join_names, truncate_lines


def test_one_problem_is_one_line_and_a_repair() -> None:
    error = ManifestError("a.csv", "is empty", "Add rows.")
    assert str(error) == "a.csv: is empty\nAdd rows."


def test_many_problems_are_listed() -> None:
    assert str(ManifestError("a.csv", ["x", "y"])) == "a.csv: 2 problems\n  x\n  y"


def test_errors_survive_a_process_boundary() -> None:
    error = pickle.loads(pickle.dumps(ManifestError("a", ["x", "y"], "z")))
    assert isinstance(error, ManifestError) and error.problems == ["x", "y"] and error.repair == "z"


@pytest.mark.parametrize(
    ("count", "told"),
    [(0, ""), (1, "0"), (3, "0, 1, 2"), (4, "0, 1, 2 and 1 more"), (9, "0, 1, 2 and 6 more")],
)
def test_of_many_names_the_first_are_listed(count: int, told: str) -> None:
    assert join_names(map(str, range(count)), 3) == told


def test_of_many_lines_the_first_are_kept() -> None:
    assert truncate_lines(["a", "b"], 2) == ["a", "b"] and truncate_lines([], 2) == []
    assert truncate_lines(["a", "b", "c", "d"], 2) == ["a", "b", "... and 2 more"]
