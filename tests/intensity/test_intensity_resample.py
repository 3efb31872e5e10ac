"""Zoomed images are those of MONAI's `Zoom`, box by box."""

from __future__ import annotations

import numpy as np
import pytest
from monai.transforms import Zoom

from cytoloop.intensity.resample import ZoomedPixels
from cytoloop.io.pixels import MemoryPixels


@pytest.mark.parametrize("zoom", [[0.25] * 3, [1.0, 0.4, 0.7], [0.3, 0.5, 0.5]])
def test_zoomed_image_is_that_of_monai_in_every_box(zoom: list[float]) -> None:
    image = np.random.default_rng(0).integers(0, 4000, (1, 17, 30, 41)).astype(np.uint16)
    expected = np.asarray(Zoom(zoom, mode="area", keep_size=False)(image))
    pixels = ZoomedPixels(MemoryPixels(image), zoom)
    assert pixels.shape == expected.shape[1:]
    whole = pixels.read(tuple(slice(0, n) for n in pixels.shape))
    np.testing.assert_allclose(whole, expected, rtol=1e-5)
    box = (slice(1, 3), slice(2, 7), slice(3, 9))
    np.testing.assert_allclose(pixels.read(box), expected[(slice(None), *box)], rtol=1e-5)
