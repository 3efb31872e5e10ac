"""Evaluation: scores per image and pooled, tables, and pictures of the errors."""

from cytoloop.evaluation.evaluate import Evaluation, evaluate
from cytoloop.evaluation.overlays import panel, write_overlays
from cytoloop.evaluation.tables import summary_table, write_tables

__all__ = ["Evaluation", "evaluate", "panel", "summary_table", "write_overlays", "write_tables"]
