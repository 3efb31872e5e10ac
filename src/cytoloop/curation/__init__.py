"""Curation: images become a data set that can be trusted.

A pure function, `curate`: (sources, decisions, settings) -> manifests. It pairs files by name,
checks every row, applies what people decided, and splits by group; bad or ambiguous input is
refused with all that is wrong. Its checks also serve `cytoloop check` and the preflight of training
(`check_dataset`).
"""

from cytoloop.curation.checks.dataset import check_dataset, check_rows, inspect_rows
from cytoloop.curation.checks.facts import Facts, Problem
from cytoloop.curation.checks.rows import check_row
from cytoloop.curation.curate import CurationResult, curate
from cytoloop.curation.decisions.latest import read_decisions
from cytoloop.curation.decisions.log import append_decision
from cytoloop.curation.pairing.pairs import Pair, pair_images
from cytoloop.curation.settings import Settings
from cytoloop.curation.splits.assign import split_rows

__all__ = [
    "CurationResult",
    "Facts",
    "Pair",
    "Problem",
    "Settings",
    "append_decision",
    "check_dataset",
    "check_row",
    "check_rows",
    "curate",
    "inspect_rows",
    "pair_images",
    "read_decisions",
    "split_rows",
]
