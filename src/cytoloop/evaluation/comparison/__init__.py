"""Comparison: is one evaluation better than another, on the same images."""

from cytoloop.evaluation.comparison.compare import Comparison, Rule, compare
from cytoloop.evaluation.comparison.output import comparison_table, write_comparison
from cytoloop.evaluation.comparison.pictures import write_changes
from cytoloop.evaluation.comparison.scored import read_scored

__all__ = [
    "Comparison",
    "Rule",
    "compare",
    "comparison_table",
    "read_scored",
    "write_changes",
    "write_comparison",
]
