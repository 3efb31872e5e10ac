"""Leaks between splits, folds, stratification, and counts of unmatched files."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytoloop.curation import CurationSettings, curate
from cytoloop.curation.splits.folds import assign_folds
from cytoloop.curation.splits.group_splits import split_rows
from cytoloop.errors import ConfigError, ManifestError
from cytoloop.manifest import read_manifest

Blobs = Callable[..., tuple[np.ndarray, np.ndarray]]
Tiff = Callable[[Path, np.ndarray], Path]


def settings_of(images: Path, **changes: object) -> CurationSettings:
    given = {"raw": images / "raw", "seg1": images / "seg", "output": images.parent / "dataset"}
    return CurationSettings(**{**given, **changes})  # type: ignore[arg-type]


def test_leaks_of_near_duplicates_are_refused(
    images_2d: Path, tmp_path: Path, blobs: Blobs, tiff: Tiff
) -> None:
    raw, _ = blobs((48, 56), 5, seed=0)
    noise = np.random.default_rng(1).normal(0, 15, raw.shape)
    tiff(images_2d / "raw" / "img_1.tif", np.clip(raw + noise, 0, None).astype(np.uint16))
    apart = {"valid": ["img_1"], "test": ["img_2"]}
    with pytest.raises(ManifestError) as caught:
        curate(settings_of(images_2d, **apart))
    assert caught.value.problems[0].startswith(
        "img_0 (train) and img_1 (valid) are near-duplicates (similarity 0.9"
    )
    assert "split.leakage=allow" in caught.value.repair
    assert not (tmp_path / "dataset").exists()
    curate(settings_of(images_2d, **apart, leakage="allow"))
    flags = {r.id: r["flags"] for r in read_manifest(tmp_path / "dataset" / "dataset.csv")}
    assert "similarity" in flags["img_0"] and "similarity" not in flags["img_2"]
    together = {"valid": ["img_3"], "test": ["img_2"], "output": tmp_path / "other"}
    curate(settings_of(images_2d, **together))  # in one split they are only flagged


def test_leaks_of_an_exact_copy_may_be_allowed(images_2d: Path, tmp_path: Path) -> None:
    copy = (images_2d / "raw" / "img_0.tif").read_bytes()
    (images_2d / "raw" / "img_2.tif").write_bytes(copy)
    with pytest.raises(ManifestError, match="same image as img_0"):
        curate(settings_of(images_2d))
    curate(settings_of(images_2d, leakage="allow"))
    lines = list(csv.DictReader((tmp_path / "dataset" / "quality.csv").open()))
    found = {line["id"]: (line["nearest"], line["similarity"]) for line in lines}
    assert found["img_0"] == ("img_2", "1") and found["img_2"] == ("img_0", "1")


def test_unmatched_files_are_counted_and_listed(
    images_2d: Path, tmp_path: Path, blobs: Blobs, tiff: Tiff
) -> None:
    raw, labels = blobs((48, 56), 5, seed=50)
    tiff(images_2d / "raw" / "unpaired.tif", raw)
    tiff(images_2d / "raw" / "img_0.ome.tif", raw)  # a second file of one key
    tiff(images_2d / "seg" / "extra.tif", labels)
    with pytest.raises(ManifestError, match="raw: one key, several files"):
        curate(settings_of(images_2d))
    result = curate(settings_of(images_2d, on_problem="reject"))
    assert result.counts["images"] == 7 and result.counts["keep"] == 4
    assert result.counts["unmatched"] == 3 and result.counts["reject"] == 0
    with (tmp_path / "dataset" / "unmatched.csv").open(newline="") as file:
        lines = {
            (line["source"], Path(line["path"]).name): line["why"] for line in csv.DictReader(file)
        }
    assert lines == {
        ("raw", "img_0.ome.tif"): "one key, several files",
        ("raw", "img_0.tif"): "one key, several files",
        ("raw", "unpaired.tif"): "without a seg1",
        ("seg1", "img_0.tif"): "its raw is in no pair",
        ("seg1", "extra.tif"): "without a raw",
    }
    for path in [*images_2d.rglob("unpaired.tif"), *images_2d.rglob("extra.tif")]:
        path.unlink()
    (images_2d / "raw" / "img_0.ome.tif").unlink()
    curate(settings_of(images_2d, on_problem="reject"))
    assert not (tmp_path / "dataset" / "unmatched.csv").exists()


def test_folds_are_written_and_kept(images_2d: Path, tmp_path: Path) -> None:
    curate(settings_of(images_2d, folds=3, test=["img_4"]))
    rows = {r.id: r for r in read_manifest(tmp_path / "dataset" / "dataset.csv")}
    first = {name: row["fold"] for name, row in rows.items()}
    assert first.pop("img_4") == "" and set(first.values()) == {"0", "1", "2"}
    curate(settings_of(images_2d, folds=3, seed=5))
    again = read_manifest(tmp_path / "dataset" / "dataset.csv")
    assert {r.id: r["fold"] for r in again if r.id in first} == first
    with pytest.raises(ConfigError, match=r"split.folds=9: expected 2 to 4"):
        curate(settings_of(images_2d, folds=9))


GROUPS = st.lists(st.integers(0, 30), min_size=8, max_size=60)


@settings(max_examples=60, deadline=None)
@given(GROUPS, st.integers(2, 5), st.integers(0, 99))
def test_folds_keep_groups_whole_and_even(numbers: list[int], folds: int, seed: int) -> None:
    groups = {f"i{n}": f"g{g}" for n, g in enumerate(numbers)}
    if len(set(groups.values())) < folds:
        return
    found = assign_folds(groups, folds, seed)
    assert set(found.values()) == set(range(folds)) and set(found) == set(groups)
    assert all(len({found[i] for i in groups if groups[i] == g}) == 1 for g in groups.values())
    load, largest = Counter(found.values()), max(Counter(groups.values()).values())
    assert max(load.values()) - min(load.values()) <= max(largest, 1) + len(numbers) // folds
    assert assign_folds({**groups, "new": "gnew"}, folds, seed, found).items() >= found.items()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.integers(20, 60))
def test_stratified_splits_have_few_and_many_objects(seed: int, count: int) -> None:
    ids = [f"i{n}" for n in range(count)]
    counts = [float(n) for n in range(count)]
    splits = split_rows(ids, ids, 0.2, 0.2, seed, counts=counts)
    for split in ("train", "valid", "test"):
        mine = [n for name, n in zip(ids, counts, strict=True) if splits[name] == split]
        assert abs(np.mean(mine) - (count - 1) / 2) < count * 0.17, split
    assert split_rows(ids, ids, 0.2, 0.2, seed, counts=counts) == splits


def test_curation_with_stratified_splits(images_2d: Path, tmp_path: Path) -> None:
    assert curate(settings_of(images_2d, stratify=True)).counts["keep"] == 5


def test_groups_in_two_splits_are_refused_unless_allowed() -> None:
    ids, groups = ["a", "b", "c", "d", "e"], ["g", "g", "h", "i", "g"]
    kept = {"a": "train", "b": "test"}
    with pytest.raises(ConfigError, match="'g' has images of the previous round in test and train"):
        split_rows(ids, groups, previous=kept)
    found = split_rows(ids, groups, previous=kept, leakage="allow")
    assert (found["a"], found["b"]) == ("train", "test")
