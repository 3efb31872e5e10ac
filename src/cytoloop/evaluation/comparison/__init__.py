"""Comparison: is one evaluation better than another, on the same images."""

from cytoloop.evaluation.comparison.compare import Comparison, Rule, compare
from cytoloop.evaluation.comparison.figures import write_changes
from cytoloop.evaluation.comparison.output import comparison_table, write_comparison
from cytoloop.evaluation.comparison.scored import Scored, check_run, read_scored

__all__ = [
    "Comparison",
    "Rule",
    "Scored",
    "check_run",
    "compare",
    "comparison_table",
    "read_scored",
    "write_changes",
    "write_comparison",
]
