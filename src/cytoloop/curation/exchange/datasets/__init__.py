"""Data set formats: rows of images and segmentations, from and to training tools."""
