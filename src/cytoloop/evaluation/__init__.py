"""Evaluation: scores per image and pooled, tables, pictures of the errors, comparison."""

from cytoloop.evaluation.evaluate import Evaluation, Settings, evaluate
from cytoloop.evaluation.figures.charts import write_charts
from cytoloop.evaluation.figures.overlays import panel, write_overlays
from cytoloop.evaluation.report import write_report
from cytoloop.evaluation.summary import as_metrics
from cytoloop.evaluation.tables import more_scores, summary_table, write_tables

__all__ = [
    "Evaluation",
    "Settings",
    "as_metrics",
    "evaluate",
    "more_scores",
    "panel",
    "summary_table",
    "write_charts",
    "write_overlays",
    "write_report",
    "write_tables",
]
