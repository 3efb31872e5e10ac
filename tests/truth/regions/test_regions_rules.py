from __future__ import annotations

import numpy as np
import pytest

from cytoloop.errors import ConfigError, ImageError
from cytoloop.truth.regions import is_rule, parse_rule, region_from_rule

SPACING = (2.0, 0.5, 0.5)


@pytest.fixture
def labels() -> np.ndarray:
    labels = np.zeros((9, 30, 30), np.uint16)
    labels[4, 10:13, 12:15] = 3
    labels[5, 14, 20] = 7
    return labels


def raw_of(labels: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).normal(500, 50, (2, *labels.shape)).astype(np.uint16)


@pytest.mark.parametrize(
    "text, margins, spacing",
    [
        ("outside_labels(2)", (2, 2, 2), None),
        ("outside_labels(0)", (0, 0, 0), None),
        (" outside_labels( 2 um ) ", (1, 4, 4), SPACING),
        ("outside_labels(2.1\u00b5m)", (2, 5, 5), SPACING),
        ("outside_labels(500)", (500, 500, 500), None),
    ],
)
def test_outside_labels_enlarges_the_bounding_box(
    labels: np.ndarray, text: str, margins: tuple[int, ...], spacing: tuple | None
) -> None:
    inside = ~region_from_rule(text, raw_of(labels), labels, spacing)
    (z, y, x), expected = margins, np.zeros(labels.shape, bool)
    expected[max(0, 4 - z) : 6 + z, max(0, 10 - y) : 15 + y, max(0, 12 - x) : 21 + x] = True
    np.testing.assert_array_equal(inside, expected)


def test_outside_labels_is_everything_without_labels(labels: np.ndarray) -> None:
    assert region_from_rule("outside_labels(3)", raw_of(labels), labels * 0, None).all()


def test_a_2d_image_uses_the_spacing_of_y_and_x(labels: np.ndarray) -> None:
    region = region_from_rule("outside_labels(1um)", raw_of(labels[4]), labels[4], SPACING)
    assert (~region).sum() == 7 * 7


def test_labels_rule_selects_these_labels(labels: np.ndarray) -> None:
    raw = raw_of(labels)
    for text, ids in (("labels(3)", [3]), ("labels(3, 7)", [3, 7]), ("labels(99)", [])):
        np.testing.assert_array_equal(
            region_from_rule(text, raw, labels, None), np.isin(labels, ids)
        )


@pytest.mark.parametrize(
    "dtype, top, clipped",
    [
        (np.uint8, 255, True),
        (np.uint16, 65535, True),
        (np.uint16, 4095, True),  # 12 bits in 16
        (np.uint16, 2000, True),  # any other maximum that many voxels have
        (np.float32, 1.0, True),
        (np.uint16, None, False),
        (np.float32, None, False),
    ],
)
def test_saturated_finds_clipped_voxels_of_any_channel(
    labels: np.ndarray, dtype: type, top: float | None, clipped: bool
) -> None:
    scale = {255: 0.2, 1.0: 1e-3}.get(top, 1)
    raw = (np.random.default_rng(1).normal(500, 50, (2, *labels.shape)) * scale).astype(dtype)
    bright = labels == 3
    if top is not None:
        bright = bright | (np.indices(labels.shape)[1] == 1)
        raw[1][bright] = top
    region = region_from_rule("saturated", raw, labels, None)
    np.testing.assert_array_equal(region, bright if clipped else np.zeros_like(bright))


def test_saturated_takes_a_given_level(labels: np.ndarray) -> None:
    raw = raw_of(labels)
    np.testing.assert_array_equal(
        region_from_rule("saturated(600)", raw, labels, None), (raw >= 600).any(axis=0)
    )


def test_rules_are_distinguished_from_paths() -> None:
    for text in ("saturated", "saturated(9)", "labels(3)", "outside_labels(5um)", "unknown(3)"):
        assert is_rule(text)
    for text in ("", "labels", "masks", "a/saturated", "mask(1).tif", "scan (1)", "{a,b}.tif"):
        assert not is_rule(text)


@pytest.mark.parametrize(
    "text, reason",
    [
        (
            "unknown(3)",
            r"'unknown\(3\)': is not a known rule\nKnown rules: outside_labels.*saturated.*labels",
        ),
        ("", "is not a known rule"),
        ("labels", r"has invalid arguments\nExpected labels\(3, 7\)"),
        ("labels(a)", "has invalid arguments"),
        ("labels(3,)", "has invalid arguments"),
        ("labels(-3)", "has invalid arguments"),
        ("outside_labels()", r"Expected outside_labels\(20\) or outside_labels\(5um\)"),
        ("outside_labels(5 nm)", "has invalid arguments"),
        ("outside_labels(1, 2, 3)", "has invalid arguments"),
        ("saturated(high)", r"Expected saturated or saturated\(4095\)"),
        ("saturated(__import__('os'))", "has invalid arguments"),
    ],
)
def test_invalid_rules_are_refused_without_an_image(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse_rule(text)


def test_images_that_do_not_fit_a_rule_are_refused(labels: np.ndarray) -> None:
    with pytest.raises(ImageError, match="has no voxel size"):
        region_from_rule("outside_labels(5um)", raw_of(labels), labels, None)
    with pytest.raises(ImageError, match="differ in shape"):
        region_from_rule("saturated", raw_of(labels)[:, 1:], labels, None)
