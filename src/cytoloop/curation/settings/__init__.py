"""Settings of a curation: the keys of ``configs/curate.yaml`` in groups, checked together."""

from cytoloop.curation.settings.combined import CurationSettings

__all__ = ["CurationSettings"]
