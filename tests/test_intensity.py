from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cytoloop.errors import ConfigError
from cytoloop.intensity import intensity_statistics, normalize

IMAGE = np.random.default_rng(0).gamma(2.0, 100.0, (2, 6, 20, 20)).astype(np.float32)


@pytest.mark.parametrize("method", ["percentile", "zscore", "minmax"])
@given(gain=st.floats(0.1, 50), offset=st.floats(-500, 5000))
def test_gain_and_offset_of_a_microscope_do_not_matter(
    method: str, gain: float, offset: float
) -> None:
    rule = {"method": method}
    expected = normalize(IMAGE, *intensity_statistics(IMAGE, rule))
    other = IMAGE * gain + offset
    np.testing.assert_allclose(
        normalize(other, *intensity_statistics(other, rule)), expected, atol=0.01
    )


def test_percentiles_become_zero_and_one_in_every_channel() -> None:
    out = normalize(IMAGE, *intensity_statistics(IMAGE, {"lower": 5, "upper": 95}))
    for channel in out:
        np.testing.assert_allclose(np.percentile(channel, [5, 95]), [0, 1], atol=1e-4)


def test_range_and_none() -> None:
    rule = {"method": "range", "minimum": 100, "maximum": 300}
    np.testing.assert_allclose(
        normalize(IMAGE, *intensity_statistics(IMAGE, rule)), (IMAGE - 100) / 200, rtol=1e-5
    )
    np.testing.assert_array_equal(
        normalize(IMAGE, *intensity_statistics(IMAGE, {"method": "none"})), IMAGE
    )


def test_nan_becomes_background_and_spoils_nothing() -> None:
    image = IMAGE.copy()
    image[0, 0, 0, 0] = np.nan
    out = normalize(image, *intensity_statistics(image, {"method": "percentile"}))
    assert np.isfinite(out).all() and out[0, 0, 0, 0] == 0


def test_a_constant_image_divides_by_one() -> None:
    flat = np.full((1, 4, 4), 7, np.uint8)
    assert (normalize(flat, *intensity_statistics(flat, {"method": "zscore"})) == 0).all()


def test_unknown_method_and_bad_percentiles_are_refused() -> None:
    with pytest.raises(ConfigError, match="'best' is unknown"):
        intensity_statistics(IMAGE, {"method": "best"})
    with pytest.raises(ConfigError, match="0 <= lower < upper <= 100"):
        intensity_statistics(IMAGE, {"lower": 60, "upper": 40})
