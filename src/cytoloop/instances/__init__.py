"""From maps of probability to objects: thresholds, watershed, filters, the table of objects."""

from cytoloop.instances.segment import WatershedHierarchy, segment
from cytoloop.instances.settings import InstanceSettings

__all__ = ["InstanceSettings", "WatershedHierarchy", "segment"]
