"""Comparison of evaluations of the same images, with a verdict."""

from cytoloop.evaluation.comparison.compare import Comparison, compare
from cytoloop.evaluation.comparison.evaluation_table import (
    EvaluationTable,
    check_run,
    read_evaluation,
)
from cytoloop.evaluation.comparison.figures import write_change_overlays
from cytoloop.evaluation.comparison.output import (
    comparison_table,
    remove_comparison,
    write_comparison,
)
from cytoloop.evaluation.comparison.settings import ComparisonSettings, VerdictRule

__all__ = [
    "Comparison",
    "ComparisonSettings",
    "EvaluationTable",
    "VerdictRule",
    "check_run",
    "compare",
    "comparison_table",
    "read_evaluation",
    "remove_comparison",
    "write_change_overlays",
    "write_comparison",
]
