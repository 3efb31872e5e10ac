"""Evaluation: metrics per image and pooled, tables, figures of errors, comparison."""

from cytoloop.evaluation.evaluate import Evaluation, evaluate
from cytoloop.evaluation.figures.image_figures import image_figure
from cytoloop.evaluation.inputs.classes import stated_classes
from cytoloop.evaluation.output.files import remove_evaluation, write_evaluation
from cytoloop.evaluation.output.terminal import terminal_tables
from cytoloop.evaluation.settings import EvaluationSettings
from cytoloop.evaluation.summary import run_metrics

__all__ = [
    "Evaluation",
    "EvaluationSettings",
    "evaluate",
    "image_figure",
    "remove_evaluation",
    "run_metrics",
    "stated_classes",
    "terminal_tables",
    "write_evaluation",
]
