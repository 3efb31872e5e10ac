"""Comparison of evaluations: shared images, verdict, and output."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from cytoloop.__main__ import main
from cytoloop.errors import ConfigError, ManifestError, OutputError
from cytoloop.evaluation import evaluate
from cytoloop.evaluation.comparison import (
    VerdictRule,
    compare,
    comparison_table,
    read_evaluation,
    write_change_overlays,
    write_comparison,
)
from cytoloop.evaluation.metrics import METRICS
from cytoloop.evaluation.output.tables import write_tables

QUICK = VerdictRule(resamples=500)


def make_table(
    path: Path, f1: list[float], groups: str = "", extra: dict[str, list] | None = None
) -> Path:
    """Write a metrics.csv with a score for each image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ["id", "group", "unit", "n_truth", "voxels_true", "dice", "f1_50", *(extra or {})]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for i, value in enumerate(f1):
            more = [column[i] for column in (extra or {}).values()]
            group = groups[i] if groups else ""
            writer.writerow([f"img_{i}", group, "um", 5, 100, 0.5, value, *more])
    return path


def verdict(folder: Path, a: list[float], b: list[float], groups: str = "", **rule: float) -> str:
    first = read_evaluation("a", "x", make_table(folder / "a.csv", a, groups))
    second = read_evaluation("b", "y", make_table(folder / "b.csv", b, groups))
    return compare(first, second, VerdictRule(resamples=500, **rule)).verdict  # type: ignore[arg-type]


BASE = [0.5, 0.55, 0.6, 0.7, 0.8, 0.4, 0.65, 0.75]
UP = [0.55, 0.65, 0.66, 0.78, 0.87, 0.5, 0.7, 0.8]


def test_the_verdict_follows_the_rule(tmp_path: Path) -> None:
    assert verdict(tmp_path, BASE, UP) == "better"
    assert verdict(tmp_path, UP, BASE) == "worse"
    assert verdict(tmp_path, BASE, BASE) == "no evidence"
    assert verdict(tmp_path, BASE, [*UP[:4], *(x - 0.06 for x in BASE[4:])]) == "no evidence"
    assert verdict(tmp_path, BASE, UP, min_effect=0.2) == "no evidence"


def test_few_images_or_groups_are_no_evidence(tmp_path: Path) -> None:
    assert verdict(tmp_path, BASE[:5], UP[:5]) == "no evidence"
    assert verdict(tmp_path, BASE[:5], UP[:5], min_units=5) == "better"
    assert verdict(tmp_path, BASE, UP, "aabbccdd") == "no evidence"
    assert verdict(tmp_path, BASE[:1], UP[:1], min_units=2) == "no evidence"


def test_differences_are_of_the_same_images(tmp_path: Path) -> None:
    first = read_evaluation("a", "x", make_table(tmp_path / "a.csv", BASE))
    path = make_table(tmp_path / "b.csv", [*UP, 0.1])
    text = path.read_text().replace("img_0,", "new,").replace("img_1,,um,5", "img_1,,um,6")
    path.write_text(text)
    one = compare(first, read_evaluation("b", "y", path), QUICK)
    assert one.shared.only_first == ["img_0"] and one.shared.only_second == ["new", "img_8"]
    assert one.shared.other_truth == ["img_1"] and len(one.shared.images) == 6
    change = np.mean(np.subtract(UP, BASE)[2:])
    assert one.scores["f1_50"]["difference"] == pytest.approx(change)
    assert one.scores["f1_50"]["first"] == pytest.approx(np.mean(BASE[2:]))


def test_differences_of_errors_are_turned_so_that_higher_is_better(tmp_path: Path) -> None:
    assert METRICS["dice"].oriented(0.7) == 0.7 and METRICS["hd95"].oriented(2.0) == -2
    count_error = METRICS["count_error"]
    assert count_error.oriented(-3.0) == count_error.oriented(3.0) == -3
    extra_a = {"hd95": [2.0, 3.0, ""], "count_error": [-4, 2, 0]}
    extra_b = {"hd95": [1.0, 3.0, 5.0], "count_error": [1, 1, 0]}
    first = read_evaluation("a", "x", make_table(tmp_path / "a.csv", BASE[:3], extra=extra_a))
    second = read_evaluation("b", "y", make_table(tmp_path / "b.csv", UP[:3], extra=extra_b))
    scores = compare(first, second, QUICK).scores
    assert scores["hd95"]["difference"] == 0.5 and scores["hd95"]["images"] == 2
    assert (scores["hd95"]["first"], scores["hd95"]["second"]) == (2.5, 2.0)
    assert scores["count_error"]["difference"] == pytest.approx(4 / 3)


def test_groups_and_images_that_got_worse_are_listed(tmp_path: Path) -> None:
    b = [*UP[:6], 0.6, 0.3]
    first = read_evaluation("a", "x", make_table(tmp_path / "a.csv", BASE, "aaaabbbb"))
    second = read_evaluation("b", "y", make_table(tmp_path / "b.csv", b, "aaaabbbb"))
    one = compare(first, second, QUICK)
    assert [name for name, _ in one.worse] == ["img_7", "img_6"]
    means = [one.groups[g]["difference"]["f1_50"] for g in "ab"]
    assert means == pytest.approx(
        [np.mean(np.subtract(b, BASE)[s]) for s in (slice(4), slice(4, 8))]
    )
    assert (one.unit, one.units) == ("group", 2)


def test_the_p_value_of_a_difference_is_near_that_of_a_t_test(tmp_path: Path) -> None:
    from scipy import stats

    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.4, 0.6, 60), rng.uniform(0.4, 0.6, 60) + 0.025
    first = read_evaluation("a", "x", make_table(tmp_path / "a.csv", list(a)))
    second = read_evaluation("b", "y", make_table(tmp_path / "b.csv", list(b)))
    score = compare(first, second).scores["f1_50"]
    assert score["p_value"] == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=0.015)


def test_invalid_comparisons_are_refused(tmp_path: Path) -> None:
    first = read_evaluation("a", "x", make_table(tmp_path / "a.csv", BASE))
    path = make_table(tmp_path / "b.csv", BASE)
    with pytest.raises(ConfigError, match="score=seg: was not measured"):
        compare(first, read_evaluation("b", "y", path), VerdictRule("seg"))
    with pytest.raises(ConfigError, match=r"4 problems(.|\n)*score=best"):
        VerdictRule("best", -1, 1, 5)
    path.write_text(path.read_text().replace("img_", "other_"))
    with pytest.raises(ManifestError, match="shares no image with a=x"):
        compare(first, read_evaluation("b", "y", path))
    path.write_text((tmp_path / "a.csv").read_text().replace(",100,", ",101,"))
    with pytest.raises(ManifestError, match="was scored against another truth"):
        compare(first, read_evaluation("b", "y", path))
    path.write_text(path.read_text().replace(",0.7\n", ",nice\n").replace(",0.8\n", ",inf\n"))
    with pytest.raises(ManifestError, match=r"2 problems(.|\n)*'nice' is not a number"):
        read_evaluation("b", "y", path)
    with pytest.raises(ManifestError, match="no evaluation there"):
        read_evaluation("b", "y", tmp_path / "nowhere")


@pytest.fixture
def evaluated(images_2d: Path, tiff: Callable) -> Path:
    """Folders eval_a (objects moved by 3 pixels) and eval_b (perfect)."""
    from cytoloop.io.labels import read_labels

    for number in range(5):
        labels = read_labels(images_2d / f"seg/img_{number}.tif")
        tiff(images_2d / f"a/img_{number}.tif", np.roll(labels, 3, 1))
    for name, predictions in (("a", "a"), ("b", "seg")):
        evaluation = evaluate(images_2d / predictions, images_2d / "seg")
        write_tables(evaluation, images_2d / f"eval_{name}")
    return images_2d


@pytest.mark.parametrize(
    "a, b, more, status",
    [("a", "b", "min_units=5", 0), ("b", "a", "min_units=5", 4), ("a", "b", "", 3)],
)
def test_the_exit_status_is_the_verdict(
    evaluated: Path, monkeypatch: pytest.MonkeyPatch, a: str, b: str, more: str, status: int
) -> None:
    monkeypatch.chdir(evaluated)
    words = [f"a=eval_{a}", f"b=eval_{b}", f"more=[eval_{a}]", "output=out", "resamples=500"]
    assert main(["compare", *words, *filter(None, [more])]) == status
    facts = json.loads((evaluated / "out/comparison.json").read_text())
    assert [one["verdict"] for one in facts][1] == "no evidence" and "more1" in facts[1]
    assert len(list((evaluated / "out/overlays").glob("b_*.png"))) == 5
    assert not list((evaluated / "out/overlays").glob("more1_*.png"))
    page = (evaluated / "out/report.html").read_text()
    assert page.count('src="data:image/webp;base64,') == 5 and "http" not in page


def test_masks_are_compared_by_dice(evaluated: Path, tiff: Callable) -> None:
    from cytoloop.io.labels import read_labels

    for number in range(5):
        labels = read_labels(evaluated / f"seg/img_{number}.tif")
        tiff(evaluated / f"mask/img_{number}.tif", (labels > 0).astype(np.uint8))
    write_tables(evaluate(evaluated / "a", evaluated / "mask"), evaluated / "eval_mask")
    one = read_evaluation("a", "x", evaluated / "eval_mask")
    assert compare(one, one, QUICK).main == "dice"
    other = read_evaluation("a", "x", evaluated / "eval_a")
    assert compare(other, other, QUICK).main == "f1_50"


def test_images_with_missing_files_are_not_drawn(
    evaluated: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (evaluated / "a/img_2.tif").unlink()
    scored = [read_evaluation(n, n, evaluated / f"eval_{n}") for n in "ab"]
    one = compare(*scored, QUICK)
    assert len(write_change_overlays(one, tmp_path / "p", 9)) == 4
    assert "no figure of img_2" in caplog.text
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(comparison_table(one))
    text = console.export_text()
    assert "no evidence: 5 image(s) are too few" in text and "F1@.5" in text
    (tmp_path / "taken").touch()
    with pytest.raises(OutputError, match="cannot be written to"):
        write_comparison([one], tmp_path / "taken", {"b": []})


def test_overwrite_removes_only_the_files_of_a_former_comparison(
    evaluated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(evaluated)
    words = ["compare", "a=eval_a", "b=eval_b", "output=out", "resamples=100", "min_units=5"]
    assert main([*words, "more=[eval_b]", "overlays=2"]) == 0
    own = Path("out/overlays/own.png")
    own.touch()
    names = {path.name.split("_img")[0] for path in Path("out/overlays").glob("*_img_*.png")}
    assert names == {"b_01", "b_02", "more1_01", "more1_02"}
    assert main([*words, "overlays=1", "overwrite=true"]) == 0
    names = {path.name.split("_img")[0] for path in Path("out/overlays").glob("*_img_*.png")}
    assert names == {"b_01"} and own.is_file()
    assert main([*words, "overlays=-1", "overwrite=1"]) == 2
