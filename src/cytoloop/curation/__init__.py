"""Curation: images become a data set that can be trusted.

A pure function, `curate`: (sources, decisions, settings) -> manifests. It pairs files by name,
checks every row, applies what people decided, and splits by group; bad or ambiguous input is
refused with all that is wrong. Its checks also serve `cytoloop check` and the preflight of training
(`validate_dataset`).
"""

from cytoloop.curation.checks.dataset import check_rows, inspect_rows, validate_dataset
from cytoloop.curation.checks.facts import Facts, Problem
from cytoloop.curation.checks.rows import check_row
from cytoloop.curation.curate import CurationResult, curate
from cytoloop.curation.decisions.latest import read_decisions
from cytoloop.curation.decisions.log import append_decision
from cytoloop.curation.pairing.pairs import Pair, pair_images
from cytoloop.curation.settings import CurationSettings
from cytoloop.curation.splits.assign import split_rows

__all__ = [
    "CurationResult",
    "CurationSettings",
    "Facts",
    "Pair",
    "Problem",
    "append_decision",
    "check_row",
    "check_rows",
    "curate",
    "inspect_rows",
    "pair_images",
    "read_decisions",
    "split_rows",
    "validate_dataset",
]
