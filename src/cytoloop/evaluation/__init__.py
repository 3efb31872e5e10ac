"""Evaluation: scores per image and pooled, tables, pictures of the errors, comparison."""

from cytoloop.evaluation.evaluate import Evaluation, EvaluationSettings, evaluate
from cytoloop.evaluation.figures.charts import write_charts
from cytoloop.evaluation.figures.image_figures import image_figure
from cytoloop.evaluation.figures.overlays import write_overlays
from cytoloop.evaluation.output.report import write_report
from cytoloop.evaluation.output.tables import more_scores, summary_table, write_tables
from cytoloop.evaluation.summary import as_metrics

__all__ = [
    "Evaluation",
    "EvaluationSettings",
    "as_metrics",
    "evaluate",
    "image_figure",
    "more_scores",
    "summary_table",
    "write_charts",
    "write_overlays",
    "write_report",
    "write_tables",
]
