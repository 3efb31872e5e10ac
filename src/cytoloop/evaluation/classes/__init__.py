"""Evaluation of images whose values are classes: scores of each class, and their mean."""

from cytoloop.evaluation.classes.evaluate import ClassEvaluation, evaluate_classes, stated_classes
from cytoloop.evaluation.classes.figures import write_class_pictures
from cytoloop.evaluation.classes.output import class_table, write_class_tables
from cytoloop.evaluation.classes.report import write_class_report
from cytoloop.evaluation.classes.summary import class_metrics

__all__ = [
    "ClassEvaluation",
    "class_metrics",
    "class_table",
    "evaluate_classes",
    "stated_classes",
    "write_class_pictures",
    "write_class_report",
    "write_class_tables",
]
