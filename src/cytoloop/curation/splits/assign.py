"""Splits: each group of images is in one of train, valid, test, and stays there.

A group's place is a number between 0 and 1, the hash of seed and name: from 0 up lie test,
valid and train. With 20 groups or more the place alone decides, whatever the other groups and
the order of the files are; the shares are then met on average. With fewer, chance would leave
one image for training out of five: there the groups are taken in the order of their places
until the shares are met. What an earlier round decided is kept in both cases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from cytoloop.curation.splits.names import SPLITS
from cytoloop.curation.splits.strata import place, stratified_places
from cytoloop.errors import ConfigError, ManifestError, listed

FEW = 20
"""Fewer groups than this are counted out, so that the shares are met."""

Wish = float | str | Sequence[str]
"""A share of the groups, or the names of groups."""


def split_rows(
    ids: Sequence[str],
    groups: Sequence[str],
    valid: Wish = 0.2,
    test: Wish = 0.2,
    seed: int = 12345,
    kept: Mapping[str, str] | None = None,
    counts: Sequence[float] | None = None,
    leakage: str = "refuse",
) -> dict[str, str]:
    """Return the split of each id: ``train``, ``valid`` or ``test``.

    Parameters
    ----------
    ids, groups : sequence of str
        Of equal length; all ids of a group get one split.
    valid, test : float, str or sequence of str
        A share of the groups (at least one of two groups for valid, of three for test), or the
        names of groups. Groups that are neither named nor drawn are for training.
    seed : int
    kept : mapping of str to str, optional
        Split of ids in an earlier round: they, and with them their groups, never move.
    counts : sequence of float, optional
        Objects of each id: the shares are then drawn so that each split has groups with few
        objects and groups with many.
    leakage : str
        ``allow`` leaves a group in two splits where `kept` has it there; the rest of such a
        group goes to the first of them by name.

    Raises
    ------
    ConfigError
        Shares that cannot be met, unknown groups, or a wish against `kept`; all of them.
    ManifestError
        Fewer than two images or groups.
    """
    names = sorted(set(groups))
    if len(names) < 2:
        what = "image" if len(ids) < 2 else f"group ({names[0]!r}: {len(ids)} images)"
        raise ManifestError(
            "splitting",
            f"found {len(names)} {what}; at least 2 are needed (train + valid)",
            "Curate more images." if len(ids) < 2 else "Add images of another, or change group=.",
        )
    asked = {"valid": as_wish(valid), "test": as_wish(test)}
    wrong = wish_problems(valid, test)
    problems = list(wrong)
    fixed = _kept_groups(ids, groups, kept or {}, [] if leakage == "allow" else problems)
    if not wrong:
        _fix_named(asked, names, fixed, problems)
    if problems:
        raise ConfigError(
            "splitting",
            problems,
            "Correct valid= and test=; an image of an earlier round never moves: to split "
            "anew, take another output folder.",
        )
    shares = {split: wish for split, wish in asked.items() if isinstance(wish, float)}
    order = stratified_places(ids, groups, counts, seed) if counts is not None else None
    by_group = {**_draw(names, fixed, shares, seed, order), **fixed}
    for split in ("train", "valid"):
        if split not in by_group.values():
            raise ConfigError(
                "splitting",
                f"no group is left for {split}: {_listing(by_group)}",
                "Name fewer groups in valid= and test=, or curate more images.",
            )
    stays = dict(kept or {}) if leakage == "allow" else {}
    return {n: stays.get(n, by_group[group]) for n, group in zip(ids, groups, strict=True)}


def as_wish(wish: Wish) -> float | tuple[str, ...]:
    """Return a share as float, or names as tuple of str (a single name may come bare)."""
    if isinstance(wish, str):
        return (wish,)
    return tuple(map(str, wish)) if isinstance(wish, Sequence) else float(wish)


def wish_problems(valid: Wish, test: Wish) -> list[str]:
    """Return what is wrong with the wishes themselves, whatever the images are."""
    asked_valid, asked_test = as_wish(valid), as_wish(test)
    problems = []
    if isinstance(asked_valid, float) and not 0 < asked_valid < 1:
        problems.append(f"valid={asked_valid:g}: expected a share between 0 and 1, above 0")
    if asked_valid == ():
        problems.append("valid=[] is empty: without a validation image no checkpoint can be chosen")
    if isinstance(asked_test, float) and not 0 <= asked_test < 1:
        problems.append(f"test={asked_test:g}: expected a share from 0 to below 1")
    if isinstance(asked_valid, float) and isinstance(asked_test, float):
        if not problems and asked_valid + asked_test >= 1:
            total = asked_valid + asked_test
            problems.append(f"valid + test = {total:g}: nothing is left for training")
    elif isinstance(asked_valid, tuple) and isinstance(asked_test, tuple):
        both = sorted(set(asked_valid) & set(asked_test))
        problems += [f"group {name!r} is named in both valid and test" for name in both]
    return problems


def _kept_groups(
    ids: Sequence[str], groups: Sequence[str], kept: Mapping[str, str], problems: list[str]
) -> dict[str, str]:
    """Return the split of each group that has images of an earlier round."""
    found: dict[str, set[str]] = {}
    for name, group in zip(ids, groups, strict=True):
        if name in kept:
            found.setdefault(group, set()).add(kept[name])
    problems += [
        f"group {group!r} has images of an earlier round in {' and '.join(sorted(splits))}"
        for group, splits in sorted(found.items())
        if len(splits) > 1
    ]
    return {group: min(splits) for group, splits in found.items()}


def _fix_named(
    asked: Mapping[str, float | tuple[str, ...]],
    names: Sequence[str],
    fixed: dict[str, str],
    problems: list[str],
) -> None:
    """Add the groups that are asked for by name."""
    for split, wish in asked.items():
        for name in wish if isinstance(wish, tuple) else ():
            if name not in names:
                problems.append(f"{split}: no group {name!r}; the groups are {listed(names, 20)}")
            elif fixed.setdefault(name, split) != split:
                problems.append(f"{split}: group {name!r} is in {fixed[name]} already")


def _draw(
    names: Sequence[str],
    fixed: Mapping[str, str],
    shares: Mapping[str, float],
    seed: int,
    places: Mapping[str, float] | None = None,
) -> dict[str, str]:
    """Return the split of each group that is not fixed, by its place."""
    free = sorted(
        (places[name] if places else place(seed, name), name) for name in names if name not in fixed
    )
    taken = Counter(fixed.values())
    test, valid = shares.get("test", 0.0), shares.get("valid", 0.0)
    if len(names) < FEW:
        for_test = max(int(test * len(names) + 0.5) - taken["test"], 0)
        for_valid = max(int(valid * len(names) + 0.5) - taken["valid"], 0)
    else:
        for_test = sum(at < test for at, _ in free)
        for_valid = sum(test <= at < test + valid for at, _ in free)
    if test and "test" not in taken and len(names) >= 3:
        for_test = max(for_test, 1)
    if valid and "valid" not in taken:
        for_valid = max(for_valid, 1)
    room = max(len(free) - ("train" not in taken), 0)
    while for_test + for_valid > room:  # few groups: training comes first, then validation
        if for_test >= for_valid:
            for_test -= 1
        else:
            for_valid -= 1
    order = ["test"] * for_test + ["valid"] * for_valid
    order += ["train"] * (len(free) - len(order))
    return {name: split for (_, name), split in zip(free, order, strict=True)}


def _listing(by_group: Mapping[str, str]) -> str:
    parts = {split: [g for g, s in sorted(by_group.items()) if s == split] for split in SPLITS}
    return "; ".join(f"{split}: {listed(names, 20)}" for split, names in parts.items() if names)
