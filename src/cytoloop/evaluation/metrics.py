"""The scores of an image: their names, their order, and which way is better."""

from __future__ import annotations

SEMANTIC = (
    *("dice", "iou", "precision", "recall"),
    *("surface_dice", "hd95", "volume_error"),
)
INSTANCE = (
    *("f1_50", "ap_50", "f1_75", "ap_75", "mean_ap", "seg", "sq", "rq", "pq", "aji"),
    *("count_error", "precision_50", "recall_50"),
)
PROBABILITY = ("ece",)
SCORES = SEMANTIC + INSTANCE + PROBABILITY

HEADS = {
    "dice": "Dice",
    "iou": "IoU",
    "surface_dice": "surface Dice",
    "hd95": "HD95",
    "volume_error": "volume error",
    "f1_50": "F1@.5",
    "ap_50": "AP@.5",
    "f1_75": "F1@.75",
    "ap_75": "AP@.75",
    "mean_ap": "mAP",
    "seg": "SEG",
    "sq": "SQ",
    "rq": "RQ",
    "pq": "PQ",
    "aji": "AJI",
    "count_error": "count error",
    "precision_50": "precision@.5",
    "recall_50": "recall@.5",
    "ece": "ECE",
}
"""How a score is headed in a table; the others by their name."""

_LOW = ("hd95", "ece")
_NEAR_ZERO = ("volume_error", "count_error")


def merit(name: str, value: float) -> float:
    """Return a value of a score such that more is better.

    Distances and calibration errors change their sign; of errors with a sign the size counts.

    >>> merit("dice", 0.9), merit("hd95", 2.0), merit("count_error", -3.0)
    (0.9, -2.0, -3.0)
    """
    if name in _NEAR_ZERO:
        return -abs(value)
    return -value if name in _LOW else value
