from __future__ import annotations

import pickle

from cytoloop.errors import ManifestError


def test_one_problem_is_one_line_and_a_repair() -> None:
    error = ManifestError("a.csv", "is empty", "Add rows.")
    assert str(error) == "a.csv: is empty\nAdd rows."


def test_many_problems_are_listed() -> None:
    assert str(ManifestError("a.csv", ["x", "y"])) == "a.csv: 2 problems\n  x\n  y"


def test_errors_survive_a_process_boundary() -> None:
    error = pickle.loads(pickle.dumps(ManifestError("a", ["x", "y"], "z")))
    assert isinstance(error, ManifestError) and error.problems == ["x", "y"] and error.repair == "z"
