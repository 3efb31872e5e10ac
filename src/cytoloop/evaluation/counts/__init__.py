"""Counts of one image (voxels, surfaces, objects), from which metrics are computed."""
