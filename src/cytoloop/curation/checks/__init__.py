"""Checks of images and segmentations, quality metrics, and the ranking for review."""
