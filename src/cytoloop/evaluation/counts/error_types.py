"""What became of each object: matched, inexact, missed, spurious, merged or split."""

from __future__ import annotations

import numpy as np

from cytoloop.evaluation.counts.matching import Matching, match_instances

KINDS = ("matched", "inexact", "missed", "spurious", "merged", "split")


def error_kinds(
    truth: np.ndarray, labels: np.ndarray, valid: np.ndarray | None = None
) -> tuple[dict[int, str], dict[int, str]]:
    """Return what became of each object: one of `KINDS` for true and predicted labels.

    A predicted object that covers more than half of two or more true ones is merged (and so are
    those); a true object that holds two or more predicted ones is split (and so are those). A
    pair that shares more than half of one of them is matched, or inexact where the IoU is below
    0.5. What is left is missed or spurious, as in the counts of `match_instances`.
    """
    return kinds_of(match_instances(truth, labels, valid, (0.5,)))


def kinds_of(matching: Matching) -> tuple[dict[int, str], dict[int, str]]:
    """Return the kinds of `error_kinds` for a matching that has the threshold 0.5."""
    found = matching.overlaps
    true_kinds = {int(i): "missed" for i in found.true_ids}
    predicted_kinds = {int(i): "spurious" for i in found.predicted_ids}
    for kind, places in (
        ("inexact", np.flatnonzero(found.covers_true | found.lies_in_true)),
        ("matched", matching.matched[0.5]),
        ("split", np.flatnonzero(found.splitting)),
        ("merged", np.flatnonzero(found.merging)),
    ):
        for t, p in found.pairs[places]:
            true_kinds[int(found.true_ids[t])] = kind
            predicted_kinds[int(found.predicted_ids[p])] = kind
    return true_kinds, predicted_kinds
