"""Assigns groups of images to train, valid and test.

A group's position is a hash of the seed and its name, between 0 and 1. In [0, 1) come first test,
then valid, then train, as wide as their fractions. With 20 groups or more, the position alone
decides, whatever the other groups are; the fractions are met on average. With fewer groups, chance
could leave one training image out of five. Then groups are counted in the order of their positions
until the fractions are met. Splits of the previous round are kept in both cases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from cytoloop.curation.splits.names import SPLITS
from cytoloop.curation.splits.positions import group_position, stratified_positions
from cytoloop.curation.splits.requests import SplitRequest, parse_request, request_problems
from cytoloop.errors import ConfigError, ManifestError, join_names

FEW_GROUPS = 20
"""With fewer groups than this, groups are counted, so that the fractions are met."""

_MAX_LISTED = 20


def split_rows(
    ids: Sequence[str],
    groups: Sequence[str],
    valid: SplitRequest = 0.2,
    test: SplitRequest = 0.2,
    seed: int = 12345,
    previous: Mapping[str, str] | None = None,
    counts: Sequence[float] | None = None,
    leakage: str = "refuse",
) -> dict[str, str]:
    """Return the split of each id: ``train``, ``valid`` or ``test``.

    Parameters
    ----------
    ids, groups : sequence of str
        Of equal length; all ids of a group get one split.
    valid, test : float, str or sequence of str
        A fraction of the groups, or names of groups. With two groups, one is for valid; with
        three, one is also for test. All other groups are for training.
    seed : int
    previous : mapping of str to str, optional
        Split of ids in the previous round. These ids and their groups keep their split.
    counts : sequence of float, optional
        Number of objects of each id. Each split then gets groups with few and with many objects.
    leakage : str
        ``allow``: ids of one group stay in two splits if `previous` has them there. New ids of
        such a group get the first of these splits by name.

    Raises
    ------
    ConfigError
        Fractions that cannot be met, unknown groups, or requests that contradict `previous`; all
        problems at once.
    ManifestError
        Fewer than two images or groups.
    """
    names = sorted(set(groups))
    if len(names) < 2:
        raise _too_few_groups(ids, names)
    problems = request_problems(valid, test)
    requests = {} if problems else {"valid": parse_request(valid), "test": parse_request(test)}
    fixed, conflicts = _previous_groups(ids, groups, previous or {})
    problems += conflicts if leakage == "refuse" else []
    problems += _fix_named_groups(requests, names, fixed)
    if problems:
        raise ConfigError(
            "splitting",
            problems,
            "Correct valid= and test=. Images of the previous round keep their split: to split "
            "them again, give overwrite=true or another output=.",
        )
    fractions = {split: r for split, r in requests.items() if isinstance(r, float)}
    positions = {name: group_position(seed, name) for name in names}
    if counts is not None:
        positions = stratified_positions(ids, groups, counts, seed)
    by_group = {**_draw(positions, fixed, fractions), **fixed}
    for split in ("train", "valid"):
        if split not in by_group.values():
            raise ConfigError(
                "splitting",
                f"no group is left for {split}: {_describe(by_group)}",
                "Name fewer groups in valid= and test=, or curate more images.",
            )
    unchanged = dict(previous or {}) if leakage == "allow" else {}
    return {n: unchanged.get(n, by_group[group]) for n, group in zip(ids, groups, strict=True)}


def _too_few_groups(ids: Sequence[str], names: Sequence[str]) -> ManifestError:
    if len(ids) < 2:
        found, repair = f"{len(ids)} image{'s' if not ids else ''}", "Curate more images."
    else:
        found = f"1 group ({names[0]!r}: {len(ids)} images)"
        repair = (
            "Add images of another group, change group=, or cut each image in space with "
            "split.in_space=true."
        )
    text = f"found {found}; at least 2 are needed (train + valid)"
    return ManifestError("splitting", text, repair)


def _previous_groups(
    ids: Sequence[str], groups: Sequence[str], previous: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Return the split of each group of the previous round, and groups that are in two splits."""
    found: dict[str, set[str]] = {}
    for name, group in zip(ids, groups, strict=True):
        if name in previous:
            found.setdefault(group, set()).add(previous[name])
    conflicts = [
        f"group {group!r} has images of the previous round in {' and '.join(sorted(splits))}"
        for group, splits in sorted(found.items())
        if len(splits) > 1
    ]
    return {group: min(splits) for group, splits in found.items()}, conflicts


def _fix_named_groups(
    requests: Mapping[str, float | tuple[str, ...]], names: Sequence[str], fixed: dict[str, str]
) -> list[str]:
    """Add the groups that are requested by name to `fixed`; return the problems."""
    problems = []
    for split, request in requests.items():
        for name in request if isinstance(request, tuple) else ():
            if name not in names:
                groups = join_names(names, _MAX_LISTED)
                problems.append(f"{split}: no group {name!r}; the groups are {groups}")
            elif fixed.setdefault(name, split) != split:
                problems.append(f"{split}: group {name!r} is already in {fixed[name]}")
    return problems


def _draw(
    positions: Mapping[str, float], fixed: Mapping[str, str], fractions: Mapping[str, float]
) -> dict[str, str]:
    """Return the split of each group that is not fixed, by its position."""
    free = sorted((position, name) for name, position in positions.items() if name not in fixed)
    taken = Counter(fixed.values())
    test, valid = fractions.get("test", 0.0), fractions.get("valid", 0.0)
    if len(positions) < FEW_GROUPS:
        for_test = max(int(test * len(positions) + 0.5) - taken["test"], 0)
        for_valid = max(int(valid * len(positions) + 0.5) - taken["valid"], 0)
    else:
        for_test = sum(position < test for position, _ in free)
        for_valid = sum(test <= position < test + valid for position, _ in free)
    if test and "test" not in taken and len(positions) >= 3:
        for_test = max(for_test, 1)
    if valid and "valid" not in taken:
        for_valid = max(for_valid, 1)
    available = max(len(free) - ("train" not in taken), 0)
    while for_test + for_valid > available:  # few groups: train comes first, then valid, then test
        if for_test >= for_valid:
            for_test -= 1
        else:
            for_valid -= 1
    order = ["test"] * for_test + ["valid"] * for_valid
    order += ["train"] * (len(free) - len(order))
    return {name: split for (_, name), split in zip(free, order, strict=True)}


def _describe(by_group: Mapping[str, str]) -> str:
    parts = {split: [g for g, s in sorted(by_group.items()) if s == split] for split in SPLITS}
    return "; ".join(
        f"{split}: {join_names(names, _MAX_LISTED)}" for split, names in parts.items() if names
    )
