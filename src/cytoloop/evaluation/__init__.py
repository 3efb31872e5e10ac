"""Evaluation: scores per image and pooled, tables, pictures of the errors, comparison."""

from cytoloop.evaluation.evaluate import Evaluation, Settings, evaluate
from cytoloop.evaluation.overlays import panel, write_overlays
from cytoloop.evaluation.tables import more_scores, summary_table, write_tables

__all__ = [
    "Evaluation",
    "Settings",
    "evaluate",
    "more_scores",
    "panel",
    "summary_table",
    "write_overlays",
    "write_tables",
]
