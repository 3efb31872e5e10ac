"""Pairing: images and their segmentations, by keys in their file names."""
