"""Normalisation of grey levels: methods, invalid values and invalid rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cytoloop.errors import ConfigError
from cytoloop.intensity.normalization import (
    check_rule,
    intensity_statistics,
    normalize,
    rule_problems,
)

IMAGE = np.random.default_rng(0).gamma(2.0, 100.0, (2, 6, 20, 20)).astype(np.float32)


@pytest.mark.parametrize("method", ["percentile", "zscore", "minmax"])
@given(gain=st.floats(0.1, 50), offset=st.floats(-500, 5000))
def test_gain_and_offset_do_not_change_the_normalised_image(
    method: str, gain: float, offset: float
) -> None:
    rule = {"method": method}
    expected = normalize(IMAGE, *intensity_statistics(IMAGE, rule))
    other = IMAGE * gain + offset
    np.testing.assert_allclose(
        normalize(other, *intensity_statistics(other, rule)), expected, atol=0.01
    )


def test_percentiles_become_0_and_1_in_every_channel() -> None:
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


def test_nan_becomes_0_and_does_not_change_the_statistics() -> None:
    image = IMAGE.copy()
    image[0, 0, 0, 0] = np.nan
    out = normalize(image, *intensity_statistics(image, {"method": "percentile"}))
    assert np.isfinite(out).all() and out[0, 0, 0, 0] == 0


def test_scale_of_a_constant_image_is_1() -> None:
    flat = np.full((1, 4, 4), 7, np.uint8)
    assert (normalize(flat, *intensity_statistics(flat, {"method": "zscore"})) == 0).all()


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"method": "best"}, "method: is 'best', expected percentile, .*none"),
        ({"lower": 60, "upper": 40}, "upper: is 40, not above lower=60"),
        ({"lower": 99.9}, "upper: is 99.8, not above lower=99.9"),
        ({"upper": 100.5}, "upper: is 100.5, expected a number, 0 to 100"),
        ({"upper": float("nan")}, "upper: is nan, expected a number, 0 to 100"),
        ({"lower": "auto"}, "lower: is 'auto', expected a number"),
        ({"method": "range", "minimum": 9, "maximum": 9}, "maximum: is 9, not above minimum=9"),
        ({"method": "range", "minimum": True, "maximum": 9}, "minimum: is True, expected a number"),
        ({"method": "range", "minimum": 0, "maximum": 10**400}, "maximum: is 1000.*a grey level"),
        ({"method": "range", "minimum": 9}, "maximum: is None, expected a number"),
    ],
)
def test_invalid_rule_is_refused(rule: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=f"normalization.{problem}"):
        intensity_statistics(IMAGE, rule)


def test_all_problems_are_listed_and_a_placeholder_is_not_checked() -> None:
    with pytest.raises(ConfigError, match="2 problems"):
        check_rule({"lower": -1, "upper": "bright"})
    assert rule_problems({"lower": 99.9, "upper": "auto"}, "auto") == []
    assert [key for key, _ in rule_problems({"lower": 101, "upper": "auto"}, "auto")] == ["lower"]
