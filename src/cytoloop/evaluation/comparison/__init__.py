"""Comparison: is one evaluation better than another, on the same images."""

from cytoloop.evaluation.comparison.compare import Comparison, VerdictRule, compare
from cytoloop.evaluation.comparison.evaluation_table import (
    EvaluationTable,
    check_run,
    read_evaluation,
)
from cytoloop.evaluation.comparison.figures import write_changes
from cytoloop.evaluation.comparison.output import comparison_table, write_comparison

__all__ = [
    "Comparison",
    "EvaluationTable",
    "VerdictRule",
    "check_run",
    "compare",
    "comparison_table",
    "read_evaluation",
    "write_changes",
    "write_comparison",
]
