"""The ranking of unlabelled images: orders with a known answer, tables, wrong inputs."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from conftest import make_images, write_tiff

from cytoloop.__main__ import main
from cytoloop.curation.pool.measure import features_of, uncertainty
from cytoloop.curation.pool.orders import order_images, standardized
from cytoloop.manifest import write_manifest
from cytoloop.viewer.session.dataset import open_dataset

NONE = np.zeros((0, 2))
NAMES = ("a", "b", "c", "d", "e")


def square(*corners: int, size: int = 8) -> np.ndarray:
    """Return labels of squares with these corners (y = x)."""
    labels = np.zeros((32, 32), np.uint16)
    for number, corner in enumerate(corners, 1):
        labels[corner : corner + size, corner : corner + size] = number
    return labels


def predict_by_hand(
    folder: Path, labels: Mapping[str, np.ndarray], unsure: str = "", model: str = "aa"
) -> Path:
    """Write the predictions of a model; it is unsure about one image."""
    rows = []
    for name, found in labels.items():
        chance = np.random.default_rng(ord(name))
        raw = write_tiff(
            folder.parent / "pool" / f"{name}.tif", chance.integers(9, 99, (32, 32), "u2")
        )
        sure = (128, 120) if name == unsure else (255, 0)
        write_tiff(folder / f"{name}_p.tif", np.where(found > 0, *sure).astype(np.uint8))
        write_tiff(folder / f"{name}_l.tif", found)
        files = {"probability": f"{name}_p.tif", "labels": f"{name}_l.tif"}
        rows.append({"id": name, "raw": str(raw), "model_sha256": model, "status": "done", **files})
    write_manifest(folder / "predictions.csv", rows, ("id", "raw"))
    return folder / "predictions.csv"


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def tables(project: Path) -> list[Path]:
    """Two models: they differ in b by one of two objects, in d wholly; the first is unsure of c."""
    agreed = dict.fromkeys(NAMES, square(2, 20))
    other = agreed | {"b": square(2), "d": square(11)}
    return [
        predict_by_hand(project / "one", agreed, unsure="c"),
        predict_by_hand(project / "two", other, model="bb"),
    ]


def test_k_centre_takes_the_farthest_image_next() -> None:
    line = np.array([[0.0, 0], [1, 0], [2, 0], [10, 0], [6, 0]])
    order, novelty = order_images("diversity", np.zeros(5), line, np.array([[0.0, 0]]))
    assert order == [3, 4, 2, 1, 0] and novelty == [10, 4, 2, 1, 0]
    centred = standardized(line, NONE)[0]
    first = order_images("diversity", np.zeros(5), centred, NONE)
    assert first[0][0] == 2 and first[1][0] == np.inf  # nearest to the mean, 3.8
    assert first[0][1] == 3


def test_scores_decide_alone_or_with_distance() -> None:
    features = np.array([[0.0, 0], [0.1, 0], [5, 0], [9, 9]])
    scores = np.array([0.9, 0.8, 0.5, 0.0])
    assert order_images("disagreement", scores, features, NONE)[0] == [0, 1, 2, 3]
    assert order_images("uncertainty", scores[::-1], features, NONE)[0] == [3, 2, 1, 0]
    # 1 is like 0: with 0 chosen, 2 is worth 5 x 0.5, 1 only 0.1 x 0.8
    assert order_images("mixed", scores, features, NONE)[0] == [0, 2, 1, 3]
    equal = np.zeros((3, 2))
    assert order_images("mixed", np.array([0.1, 0.3, 0.2]), equal, equal)[0] == [1, 2, 0]
    orders = [order_images("random", scores, features, NONE, seed)[0] for seed in (1, 1, 2, 3, 4)]
    assert orders[0] == orders[1] and len({tuple(one) for one in orders}) > 1
    assert all(sorted(one) == [0, 1, 2, 3] for one in orders)


def test_uncertainty_is_that_of_voxels_that_may_be_objects() -> None:
    assert uncertainty(np.array([0, 0.01, 0.09])) == 0
    assert uncertainty(np.array([0, 0.5, 0.5, 0.02])) == 1
    assert uncertainty(np.array([0.5, 1, 0])) == 0.5


def test_features_have_one_scale_and_unknown_values_are_average() -> None:
    pool, known = standardized(np.array([[1.0, 5], [np.nan, 5]]), np.array([[3.0, 5]]))
    assert pool.tolist() == [[-1, 0], [0, 0]] and known.tolist() == [[1, 0]]
    assert np.isnan(features_of({"focus": 1.0})[1:]).all()
    dim, bright = (features_of({"low": 0, "median": m, "high": 9 * m}) for m in (10, 1000))
    assert dim[2] == bright[2] and dim[1] < bright[1]


def test_models_that_disagree_are_unsure_or_see_something_new(
    tables: list[Path], project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [
        "rank",
        f"predictions=[{tables[0]},{tables[1]}]",
        "output=next",
        "count=2",
        "workers=1",
    ]
    assert main([*words, "order=disagreement"]) == 0
    rows = read(project / "next/ranked.csv")
    assert [row["id"] for row in rows] == ["d", "b", "a", "c", "e"]
    # b: the best overlaps of two objects and of one are 1, 0 and 1; d: nothing overlaps
    assert float(rows[1]["disagreement"]) == pytest.approx(1 / 3, abs=1e-3)
    assert [row["id"] for row in read(project / "next/next.csv")] == ["d", "b"]
    assert main([*words, "order=uncertainty"]) == 0
    rows = read(project / "next/ranked.csv")
    # c: 8 x 8 x 2 voxels of 0.5 in one model, 1 in the other; d: 0.5 wherever the models differ
    assert [row["id"] for row in rows[:3]] == ["d", "c", "b"]
    assert main(["rank", f"predictions={tables[0]}", *words[2:], "order=uncertainty"]) == 0
    rows = read(project / "next/ranked.csv")
    assert rows[0]["id"] == "c" and float(rows[0]["uncertainty"]) > 0.9
    assert {row["uncertainty"] for row in rows[1:]} == {"0"}
    for order in ("diversity", "mixed", "random"):
        assert main([*words, f"order={order}"]) == 0
        assert sorted(row["id"] for row in read(project / "next/ranked.csv")) == list(NAMES)
    text = capfd.readouterr()
    assert "cytoloop annotate data.path=next/next.csv" in text.err and "novelty" in text.out


def test_labels_to_correct_are_those_of_the_model_that_agrees_most(
    tables: list[Path], project: Path
) -> None:
    third = predict_by_hand(project / "three", dict.fromkeys(NAMES, square(2)), model="cc")
    words = [f"predictions=[{tables[0]},{tables[1]},{third}]", "output=next", "order=disagreement"]
    assert main(["rank", *words, "workers=1"]) == 0
    rows = {row["id"]: Path(row["seg1"]) for row in read(project / "next/next.csv")}
    assert rows["b"].parent.name == "two"  # the third agrees with the second
    assert rows["a"].parent.name == "one"


def test_labelled_images_are_left_out_and_the_queue_keeps_the_order(
    tables: list[Path], project: Path
) -> None:
    (project / "copies").mkdir()
    for name in ("a", "d"):  # the same picture under another path
        (project / f"copies/{name}.tif").write_bytes((project / f"pool/{name}.tif").read_bytes())
        write_tiff(project / f"labels/{name}.tif", square(2, 20))
    words = ["raw=copies", "seg1=labels", "output=dataset", "valid=0.4", "test=0"]
    assert main(["curate", *words, "split.leakage=allow"]) == 0
    words = [f"predictions=[{tables[0]},{tables[1]}]", "output=next", "order=disagreement"]
    assert main(["rank", *words, "labelled=dataset", "workers=1"]) == 0
    rows = read(project / "next/next.csv")
    assert [row["id"] for row in rows] == ["b", "c", "e"]
    assert all(float(row["novelty"]) < np.inf for row in rows)

    words = ["raw=next/next.csv", "output=review", "valid=0.4", "test=0", "split.leakage=allow"]
    assert main(["curate", *words]) == 0
    assert [one.id for one in open_dataset(project / "review").entries] == ["b", "c", "e"]
    table = project / "next/next.csv"
    table.write_text(table.read_text().replace("\n1,b", "\n9,b"))
    assert main(["curate", *words[:1], "output=later", *words[2:]]) == 0
    assert [one.id for one in open_dataset(project / "later").entries] == ["c", "e", "b"]
    table.write_text(table.read_text().replace("\n9,b", "\nfirst,b"))
    assert main(["curate", *words[:1], "output=wrong", *words[2:]]) == 2
    assert not (project / "wrong").exists()


def test_wrong_inputs_are_named_at_once_and_nothing_is_written(
    tables: list[Path], project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    one, two = tables
    same = predict_by_hand(project / "same", dict.fromkeys(NAMES, square(2)))
    others = predict_by_hand(project / "others", {"z": square(2)}, model="zz")
    make_images(project / "images", 1, (24, 24))
    cases: dict[tuple[str, ...], list[str]] = {
        ("order=best", "count=0", "seed=x"): [
            *("predictions=... is missing", "order=best: expected one of disagreement"),
            *("count=0: expected", "seed=x: expected"),
        ],
        (f"predictions={one}", "models_of=s"): [
            "predictions=... and models_of=... exclude each other"
        ],
        ("predictions=[gone.csv,lost.csv]", "labelled=nowhere"): ["gone", "lost", "nowhere"],
        (f"predictions=[{one},{same}]",): ["is of the same model as"],
        (f"predictions=[{one},{others}]",): ["no image in common"],
        (f"predictions={one}", "order=disagreement"): ["needs the predictions of two models"],
        ("models_of=images", "input=nothing_here"): ["images: holds no study", "nothing_here"],
        ("models_of=images",): ["input=... is missing"],
    }
    for words, expected in cases.items():
        assert main(["rank", "output=out", "workers=1", *words]) == 2, words
        text = capfd.readouterr().err
        assert all(part in text for part in expected), (words, text)
        assert "Traceback" not in text
    write_tiff(project / "two/b_l.tif", np.ones((9, 9), np.uint16))
    assert main(["rank", "output=out", "workers=1", f"predictions=[{one},{two}]"]) == 2
    assert "b: labels of (9, 9) but the image is (32, 32)" in capfd.readouterr().err
    assert not list(project.glob("out/*.csv"))
