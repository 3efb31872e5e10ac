"""Synthetic images of nuclei with labels, 2D and 3D: for training, tests, demos and teaching."""
