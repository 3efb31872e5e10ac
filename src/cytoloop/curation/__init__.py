"""Curation: turn images and segmentations into a checked data set with splits.

`curate` pairs files by name, checks every row, applies the decisions of curators, splits by group
and writes manifests. The same sources, decisions and settings give the same bytes. Input with
problems is refused, and the error lists all problems. `cytoloop check` and training use the same
checks (`validate_dataset`).
"""

from cytoloop.curation.checks.dataset import check_rows, validate_dataset, validate_rows
from cytoloop.curation.checks.result import CheckResult, Problem
from cytoloop.curation.checks.row import check_row
from cytoloop.curation.curate import curate
from cytoloop.curation.decisions.latest import read_decisions
from cytoloop.curation.decisions.log import append_decision
from cytoloop.curation.output.result import CurationResult
from cytoloop.curation.pairing.pairs import Pair, pair_images
from cytoloop.curation.settings import CurationSettings
from cytoloop.curation.splits.group_splits import split_rows

__all__ = [
    "CheckResult",
    "CurationResult",
    "CurationSettings",
    "Pair",
    "Problem",
    "append_decision",
    "check_row",
    "check_rows",
    "curate",
    "pair_images",
    "read_decisions",
    "split_rows",
    "validate_dataset",
    "validate_rows",
]
