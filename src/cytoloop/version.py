"""The version of CytoLoop."""

__version__ = "0.1.0"
