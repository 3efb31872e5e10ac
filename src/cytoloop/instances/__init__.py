"""From maps of probability to objects: thresholds, watershed, filters, the table of objects."""

from cytoloop.instances.rule import InstanceRule
from cytoloop.instances.segment import Landscape, segment

__all__ = ["InstanceRule", "Landscape", "segment"]
