"""Synthetic 2D pictures of nuclei with exact labels, for the tutorials."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage.draw import ellipse

from cytoloop.io.writers.tiff import write_image

SPACING_UM = (1.0, 0.3, 0.3)
"""Z, Y, X; a picture has no Z."""
SIZE = 256
OBJECTS = 30


def draw_pictures(folder: str | Path, count: int = 12, seed: int = 0) -> Path:
    """Write pictures into ``raw/`` and their labels into ``seg/``; return the folder.

    Parameters
    ----------
    folder : str or Path
    count : int
        Number of pictures.
    seed : int
        The same seed gives the same pictures.
    """
    folder = Path(folder)
    for number in range(1, count + 1):
        random = np.random.default_rng([seed, number])
        labels = _draw_labels(random)
        name = f"picture_{number:02d}.ome.tif"
        write_image(folder / "raw" / name, _image_of(labels, random), "YX", SPACING_UM, ["DNA"])
        write_image(folder / "seg" / name, labels, "YX", SPACING_UM)
    return folder


def _draw_labels(random: np.random.Generator) -> np.ndarray:
    """Return ellipses, many of which touch, as labels (Y, X) uint16."""
    labels = np.zeros((SIZE, SIZE), np.uint16)
    number = 0
    for _ in range(OBJECTS):
        y, x = random.uniform(0, SIZE, 2)
        r_radius, c_radius = random.uniform(9, 18, 2)
        angle = random.uniform(0, np.pi)
        pixels = ellipse(y, x, r_radius, c_radius, shape=labels.shape, rotation=angle)
        taken = labels[pixels] > 0
        if taken.mean() < 0.2:  # a small overlap is cut off, so that the two objects touch
            number += 1
            labels[pixels] = np.where(taken, labels[pixels], number)
    return labels


def _image_of(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return the picture of labels as a microscope shows it, (Y, X) uint16."""
    brightness = np.concatenate([[0.0], random.uniform(250, 900, int(labels.max()))])
    texture = 1 + 0.5 * ndimage.gaussian_filter(random.normal(size=labels.shape), 2) * 4
    photons = ndimage.gaussian_filter(brightness[labels] * texture, 1.2).clip(0) + 60
    return (random.poisson(photons) + random.normal(100, 5, labels.shape)).clip(0).astype(np.uint16)
