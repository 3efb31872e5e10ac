"""CytoLoop closes the loop curate -> train -> predict -> evaluate -> curate."""

__version__ = "0.1.0"
