"""Runs of a study: settings, combinations and subsets of the training images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cytoloop.errors import ConfigError
from cytoloop.manifest import Row
from cytoloop.studies.best import as_experiment, write_best
from cytoloop.studies.design import combinations
from cytoloop.studies.settings import StudySettings, read_settings
from cytoloop.studies.subsets import choose_rows

FACTORS = {
    "augmentation": {
        "default": [],
        "none": ["augmentation=none"],
        "strong": ["augmentation=strong"],
    },
    "images": {"all": {"train_fraction": 1}, "half": {"train_fraction": 0.5}},
    "tool": {"ours": None, "other": {"predictions": "elsewhere/"}},
}


def settings(**changed: Any) -> StudySettings:
    config = {"factors": FACTORS, "design": "one_factor", "base": ["seed_of=1"], "seeds": 3}
    return read_settings(config | {"score": "f1_50", "samples": 20} | changed)


def names(found: StudySettings) -> list[str]:
    return ["/".join(one.names.values()) for one in combinations(found)]


def test_one_factor_at_a_time_starts_with_the_base() -> None:
    assert names(settings()) == [
        *("default/all/ours", "none/all/ours", "strong/all/ours"),
        *("default/half/ours", "default/all/other"),
    ]


def test_a_grid_has_every_combination_once_and_predictions_once() -> None:
    found = names(settings(design="grid"))
    assert len(found) == len(set(found)) == 3 * 2 + 1
    assert found[0] == "default/all/ours" and "default/all/other" in found


def test_more_samples_of_a_random_design_keep_the_former_ones() -> None:
    few, many = (names(settings(design="random", samples=n)) for n in (3, 30))
    assert many[: len(few)] == few and len(many) > len(few)


def test_a_combination_gives_its_overrides_after_those_of_the_base() -> None:
    (found,) = [c for c in combinations(settings()) if c.names["augmentation"] == "none"]
    assert found.overrides(settings()) == ["seed_of=1", "augmentation=none"]
    assert settings(seeds=[5, 7]).seeds == (5, 7) and settings().seeds == (1, 2, 3)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"factors": {}}, "a study needs one at least"),
        ({"factors": {"a": {"x": []}}}, "expected two levels or more"),
        ({"factors": {"f1_50": {"x": [], "y": []}}}, "is a column of runs.csv"),
        ({"factors": {"a;b": {"x": [], "y": []}}}, "not a name of a factor"),
        ({"factors": {"a": {"x": [], "y": ["none"]}}}, "'none' is not an override"),
        ({"factors": {"a": {"x": [], "y": ["output=z"]}}}, "output is set by the study"),
        ({"factors": {"a": {"x": [], "y": {"fraction": 1}}}}, "unknown fraction; expected"),
        ({"factors": {"a": {"x": [], "y": {"train_fraction": 0}}}}, "expected a number, above 0"),
        ({"factors": {"a": {"x": [], "y": {"where": 3}}}}, "expected columns"),
        ({"factors": {"a": {"x": [], "y": 7}}}, "expected a list of overrides"),
        ({"design": "all"}, "expected one of one_factor, grid, random"),
        ({"seeds": 0}, "expected a number of seeds"),
        ({"seeds": [1, 1]}, "a seed is given twice"),
        ({"seeds": True}, "expected a number of seeds"),
        ({"score": "f1"}, "expected one of dice"),
        ({"samples": 0}, "expected a whole number, 1 to 10000"),
        ({"base": ["seed=3"]}, "seed is set by the study"),
    ],
)
def test_wrong_settings_are_refused(changed: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        settings(**changed)


def test_a_factor_that_is_null_is_left_out() -> None:
    found = settings(factors=FACTORS | {"tool": None})
    assert list(found.factors) == ["augmentation", "images"]


def rows(count: int) -> list[Row]:
    cells = ({"id": f"im{n}", "group": "ab"[n % 2]} for n in range(count))
    return [Row(one, Path(), number) for number, one in enumerate(cells)]


def test_smaller_training_sets_are_among_larger_ones() -> None:
    every = rows(16)
    chosen = [{r.id for r in choose_rows(every, f, {})} for f in (0.125, 0.25, 0.5, 1)]
    assert [len(one) for one in chosen] == [2, 4, 8, 16]
    assert chosen[0] < chosen[1] < chosen[2] < chosen[3]
    only = choose_rows(every, 1, {"group": ("b",)})
    assert len(only) == 8 and {row["group"] for row in only} == {"b"}
    assert len(choose_rows(every, 0.01, {})) == 1
    with pytest.raises(ConfigError, match="no training image has group c .found: group a, b"):
        choose_rows(every, 1, {"group": ("c",)})


def test_the_best_combination_is_an_experiment(tmp_path: Path) -> None:
    words = ["experiment=nuclei_3d", "model/size=small", "+a.b=[1,2]", "budget_minutes=2"]
    assert as_experiment(words) == {
        "defaults": ["nuclei_3d", {"override /model/size": "small"}],
        "a": {"b": [1, 2]},
        "budget_minutes": 2,
    }
    text = write_best(words, "augmentation none", "No evidence.", tmp_path).read_text()
    assert text.startswith("# @package _global_\n# The best combination of a study: augmentation")
