"""Folds: each image validates or is tested once, groups stay whole, folds predict together."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from conftest import make_images

from cytoloop.__main__ import main
from cytoloop.errors import ConfigError
from cytoloop.manifest import Manifest, Row
from cytoloop.studies.folds import divide, fold_datasets


def rows(count: int, groups: int = 0, folds: int = 0) -> list[Row]:
    return [
        Row(
            {
                "id": f"im{n}",
                "group": f"g{n % groups}" if groups else "",
                "fold": str(n % folds) if folds else "",
            }
        )
        for n in range(count)
    ]


def data(train: list[Row], test: list[Row]) -> dict[str, Manifest]:
    parts = {"train": train[2:], "valid": train[:2], "test": test}
    return {name: Manifest(Path(f"{name}.csv"), own) for name, own in parts.items()}


def ids(manifest: Manifest) -> set[str]:
    return {row.id for row in manifest}


def test_groups_stay_whole_and_folds_are_of_like_size() -> None:
    found = divide(rows(40, groups=8), 4)
    assert sorted(list(found.values()).count(n) for n in (1, 2, 3, 4)) == [10, 10, 10, 10]
    assert len({(int(name[2:]) % 8, fold) for name, fold in found.items()}) == 8
    assert divide(rows(40, groups=8), 4) == found
    assert divide(rows(9, folds=3), 3) == {f"im{n}": n % 3 + 1 for n in range(9)}
    with pytest.raises(ConfigError, match="5 folds need as many groups or images, found 4"):
        divide(rows(40, groups=4), 5)


def test_with_test_images_folds_validate_else_they_are_tested() -> None:
    learned, tested = rows(12), [Row({"id": "t"})]
    for own_test in (tested, []):
        found = dict(fold_datasets(data(learned, own_test), 4))
        assert list(found) == [1, 2, 3, 4]
        once = "valid" if own_test else "test"
        assert sorted(row.id for one in found.values() for row in one[once]) == sorted(
            row.id for row in learned
        )
        for one in found.values():
            assert not ids(one["train"]) & (ids(one["valid"]) | ids(one["test"]))
            assert ids(one["test"]) == {"t"} or not own_test
            assert len(one["train"]) == (9 if own_test else 6)


@pytest.mark.parametrize("test, ensembles", [("0.25", 2), ("0", 0)])
def test_a_study_with_folds_has_a_run_for_each_and_ensembles(
    project: Path, test: str, ensembles: int
) -> None:
    images = make_images(project / "images", 12, (40, 40))
    words = [f"raw={images}/raw", f"seg1={images}/seg", f"test={test}", "valid=0.1"]
    assert main(["curate", *words, "output=dataset"]) == 0
    words = ["study", "study=augmentation", "data.path=dataset", "output=out", "max_runs=0"]
    words += [f"~factors.augmentation.{name}" for name in ("light", "strong", "microscope")]
    assert main([*words, "seeds=1", "folds=3"]) == 0
    with (project / "out/runs.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 2 * 3 + ensembles
    assert [row["fold"] for row in found] == ["1", "2", "3"] * 2 + [""] * ensembles
    assert [row.get("ensemble") for row in found[6:]] == ["folds"] * ensembles
    assert len({row["run"] for row in found}) == len(found)
