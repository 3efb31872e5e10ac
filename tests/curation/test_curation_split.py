"""Splits: disjoint, not empty, independent of the order, and kept in later rounds."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cytoloop.curation import split_rows
from cytoloop.curation.splits.positions import group_position
from cytoloop.errors import ConfigError, ManifestError

names = st.lists(st.text("abc123", min_size=1, max_size=4), min_size=2, max_size=30, unique=True)
many = st.lists(st.integers(0, 999).map(str), min_size=20, max_size=60, unique=True)
fractions = st.tuples(st.floats(0.01, 0.49), st.floats(0.0, 0.49))
seeds = st.integers(0, 9)


@given(names, fractions, seeds, st.randoms())
def test_split_gives_every_id_one_split_and_no_split_is_empty(
    ids: list[str], requests: tuple[float, float], seed: int, rng: random.Random
) -> None:
    groups = [name[0] for name in ids]
    if len(set(groups)) < 2:
        return
    valid, test = requests
    splits = split_rows(ids, groups, valid, test, seed)
    assert set(splits) == set(ids)
    sides = {
        group: {splits[i] for i, g in zip(ids, groups, strict=True) if g == group}
        for group in groups
    }
    assert all(len(side) == 1 for side in sides.values())
    expected = {"train", "valid"} | ({"test"} if test and len(sides) >= 3 else set())
    assert expected <= set(splits.values())
    order = rng.sample(range(len(ids)), len(ids))
    assert splits == split_rows(
        [ids[i] for i in order], [groups[i] for i in order], valid, test, seed
    )


@given(names, names, fractions, seeds)
def test_split_of_the_previous_round_never_changes(
    first: list[str], more: list[str], requests: tuple[float, float], seed: int
) -> None:
    first_splits = split_rows(first, first, *requests, seed)
    ids = sorted({*first, *more})
    later = split_rows(ids, ids, *requests, seed + 1, previous=first_splits)
    assert {name: later[name] for name in first} == first_splits
    assert set(later) == set(ids)


@given(many, many, seeds)
def test_split_of_many_groups_depends_on_the_name_alone(
    first: list[str], more: list[str], seed: int
) -> None:
    def expected(name: str) -> str:
        position = group_position(seed, name)
        return "test" if position < 0.2 else "valid" if position < 0.4 else "train"

    natural = {name: expected(name) for name in {*first, *more}}
    for ids in (first, sorted({*first, *more})):
        if {natural[name] for name in ids} == {"train", "valid", "test"}:
            assert split_rows(ids, ids, 0.2, 0.2, seed) == {name: natural[name] for name in ids}


@pytest.mark.parametrize("seed", range(20))
def test_split_of_few_groups_meets_the_fractions(seed: int) -> None:
    for count, expected in ((5, (3, 1, 1)), (10, (6, 2, 2)), (12, (8, 2, 2)), (19, (11, 4, 4))):
        ids = [f"fov_{i}" for i in range(count)]
        found = Counter(split_rows(ids, ids, seed=seed).values())
        assert (found["train"], found["valid"], found["test"]) == expected
        kept = split_rows(ids[:5], ids[:5], seed=seed + 1)
        later = Counter(split_rows(ids, ids, seed=seed, previous=kept).values())
        assert later == found


def test_split_meets_the_fractions_on_average() -> None:
    ids = [f"fov_{i}" for i in range(2000)]
    counts = Counter(split_rows(ids, ids, valid=0.1, test=0.3).values())
    assert counts["valid"] == pytest.approx(200, abs=50)
    assert counts["test"] == pytest.approx(600, abs=80)
    assert split_rows(ids, ids, seed=1) != split_rows(ids, ids, seed=2)


@pytest.mark.parametrize("seed", range(20))
def test_split_of_two_and_three_groups(seed: int) -> None:
    two, three = ["a", "b"], ["a", "b", "c"]
    assert sorted(split_rows(two, two, seed=seed).values()) == ["train", "valid"]
    assert sorted(split_rows(three, three, seed=seed).values()) == ["test", "train", "valid"]
    assert "test" not in split_rows(three, three, test=0, seed=seed).values()


def test_split_by_names_leaves_the_rest_for_training() -> None:
    groups = ["Emb01", "Emb01", "Emb02", "Emb09", "Emb11"]
    ids = [str(i) for i in range(5)]
    splits = split_rows(ids, groups, valid="Emb02", test=["Emb09"])
    assert list(splits.values()) == ["train", "train", "valid", "test", "train"]
    assert list(split_rows(ids, groups, valid=["Emb01"], test=[]).values()) == [
        "valid", "valid", "train", "train", "train"
    ]  # fmt: skip


def test_split_with_one_request_by_name_and_one_by_fraction() -> None:
    ids = [f"{i}" for i in range(50)]
    splits = split_rows(ids, ids, valid=0.3, test=[7, 8])  # type: ignore[list-item]
    assert [name for name in ids if splits[name] == "test"] == ["7", "8"]
    assert 5 < sum(split == "valid" for split in splits.values()) < 30


def test_split_new_images_of_a_known_group_join_it() -> None:
    kept = {"a1": "test", "b1": "train", "c1": "valid"}
    ids = ["a1", "a2", "b1", "c1", "c2"]
    splits = split_rows(ids, [name[0] for name in ids], previous=kept)
    assert splits == {"a1": "test", "a2": "test", "b1": "train", "c1": "valid", "c2": "valid"}


def test_split_fills_an_empty_split_with_new_groups() -> None:
    kept = {"a": "train", "b": "valid"}
    assert split_rows(["a", "b", "c"], ["a", "b", "c"], previous=kept)["c"] == "test"


@pytest.mark.parametrize(
    ("ids", "groups", "message"),
    [
        ([], [], "found 0 images; at least 2 are needed"),
        (["a"], ["a"], r"found 1 image; at least 2 are needed \(train \+ valid\)"),
        (["a", "b"], ["E", "E"], r"found 1 group \('E': 2 images\); at least 2 are needed"),
    ],
)
def test_split_needs_two(ids: list[str], groups: list[str], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        split_rows(ids, groups)


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ({"valid": 0}, "valid=0: expected a fraction above 0 and below 1"),
        ({"valid": []}, r"valid=\[\] is empty"),
        ({"test": 1.0}, "test=1: expected a fraction from 0 to below 1"),
        ({"valid": 0.5, "test": 0.6}, r"valid \+ test = 1.1: nothing is left"),
        ({"valid": ["z"], "test": ["q"]}, "no group 'z'; the groups are a, b, c"),
        ({"valid": ["a"], "test": ["a"]}, "group 'a' is named in both"),
        ({"valid": ["a", "b"], "test": ["c"]}, "no group is left for train: valid: a, b; test: c"),
        ({"valid": 0.2, "test": ["b", "c"]}, "no group is left for valid: train: a; test: b, c"),
    ],
)
def test_split_refuses_impossible_requests(requests: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        split_rows(["a", "b", "c"], ["a", "b", "c"], **requests)


def test_split_lists_all_conflicts_with_the_previous_round() -> None:
    kept = {"a1": "train", "a2": "test", "b1": "train", "c1": "valid"}
    ids = list(kept)
    with pytest.raises(ConfigError) as caught:
        split_rows(ids, [name[0] for name in ids], test=["b"], valid=["c"], previous=kept)
    assert caught.value.problems == [
        "group 'a' has images of the previous round in test and train",
        "test: group 'b' is already in train",
    ]
    assert "overwrite=true" in caught.value.repair


slow_machine = [HealthCheck.too_slow]
settings.register_profile("curation", deadline=None, suppress_health_check=slow_machine)
settings.load_profile("curation")
