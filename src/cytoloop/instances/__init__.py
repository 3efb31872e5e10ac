"""Instance segmentation of probability maps: thresholds, watershed, size filters, object table."""

from cytoloop.instances.hierarchy import WatershedHierarchy
from cytoloop.instances.segment import segment
from cytoloop.instances.settings import InstanceSettings

__all__ = ["InstanceSettings", "WatershedHierarchy", "segment"]
