"""Error type of each object: matched, inexact, missed, spurious, merged or split."""

from __future__ import annotations

import numpy as np

from cytoloop.evaluation.counts.matching import Matching

ERROR_TYPES = ("matched", "inexact", "missed", "spurious", "merged", "split")


def find_error_types(matching: Matching) -> tuple[dict[int, str], dict[int, str]]:
    """Return the error type of each true label and of each predicted label.

    - merged: a predicted object covers more than half of two or more true objects; they and it
    - split: two or more predicted objects lie in a true object, each with more than half of its
      voxels; they and it
    - matched: else, an object that matches at IoU .5
    - inexact: else, a pair in which one object covers more than half of the other
    - missed, spurious: all other true and predicted objects

    Parameters
    ----------
    matching : Matching
        With the threshold 0.5.
    """
    overlaps = matching.overlaps
    true_types = {int(label): "missed" for label in overlaps.true_ids}
    predicted_types = {int(label): "spurious" for label in overlaps.predicted_ids}
    for error_type, places in (  # later types replace earlier ones
        ("inexact", np.flatnonzero(overlaps.covers_true | overlaps.lies_in_true)),
        ("matched", matching.matched[0.5]),
        ("split", np.flatnonzero(overlaps.splitting)),
        ("merged", np.flatnonzero(overlaps.merging)),
    ):
        for true, predicted in overlaps.pairs[places]:
            true_types[int(overlaps.true_ids[true])] = error_type
            predicted_types[int(overlaps.predicted_ids[predicted])] = error_type
    return true_types, predicted_types
