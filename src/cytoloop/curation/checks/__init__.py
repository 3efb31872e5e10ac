"""Checks of images and segmentations."""
