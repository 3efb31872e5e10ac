"""The verbs as Python functions, with typed results."""

from cytoloop.api.functions import check, compare, curate, evaluate, predict, train
from cytoloop.api.results import (
    CheckResult,
    CompareResult,
    CurateResult,
    EvaluateResult,
    PredictResult,
    TrainResult,
)

__all__ = [
    "CheckResult",
    "CompareResult",
    "CurateResult",
    "EvaluateResult",
    "PredictResult",
    "TrainResult",
    "check",
    "compare",
    "curate",
    "evaluate",
    "predict",
    "train",
]
