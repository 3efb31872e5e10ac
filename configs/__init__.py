"""Hydra config groups, shipped in the wheel as `cytoloop.configs`."""
