"""Splits of a data set: which groups of images are in train, valid and test, and in which fold."""
