"""Voxel sizes: every unit of OME and NGFF; positive and finite, or unknown with a warning."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from cytoloop.io.notes import collect_notes
from cytoloop.io.read import read_header
from cytoloop.io.units import unit_in_um
from cytoloop.io.voxel_size import decide_spacing

INCH = 25_400.0
SI = {
    "Y": 24,
    "Z": 21,
    "E": 18,
    "P": 15,
    "T": 12,
    "G": 9,
    "M": 6,
    "k": 3,
    "h": 2,
    "da": 1,
    "": 0,
    "d": -1,
    "c": -2,
    "m": -3,
    "\u00b5": -6,
    "n": -9,
    "p": -12,
    "f": -15,
    "a": -18,
    "z": -21,
    "y": -24,
}
OME_UNITS = {f"{prefix}m": 10.0 ** (power + 6) for prefix, power in SI.items()} | {
    "\u00c5": 1e-4,
    "thou": INCH / 1000,
    "li": INCH / 12,
    "in": INCH,
    "ft": 12 * INCH,
    "yd": 36 * INCH,
    "mi": 63_360 * INCH,
    "ua": 1.495978707e17,
    "ly": 9.4607304725808e21,
    "pc": 3.0856775814913673e22,
    "pt": INCH / 72,
    "pixel": None,
    "reference frame": None,
}
"""The enumeration UnitsLength of OME 2016-06."""
NGFF_UNITS = {
    "angstrom": 1e-4,
    "attometer": 1e-12,
    "centimeter": 1e4,
    "decimeter": 1e5,
    "exameter": 1e24,
    "femtometer": 1e-9,
    "foot": 12 * INCH,
    "gigameter": 1e15,
    "hectometer": 1e8,
    "inch": INCH,
    "kilometer": 1e9,
    "megameter": 1e12,
    "meter": 1e6,
    "micrometer": 1.0,
    "mile": 63_360 * INCH,
    "millimeter": 1e3,
    "nanometer": 1e-3,
    "parsec": 3.0856775814913673e22,
    "petameter": 1e21,
    "picometer": 1e-6,
    "terameter": 1e18,
    "yard": 36 * INCH,
    "yoctometer": 1e-18,
    "yottameter": 1e30,
    "zeptometer": 1e-15,
    "zettameter": 1e27,
}
"""The units of space that NGFF 0.4 lists."""


@pytest.mark.parametrize("unit, um", {**OME_UNITS, **NGFF_UNITS}.items())
def test_every_unit_of_ome_and_ngff_is_known(unit: str, um: float | None) -> None:
    assert unit_in_um(unit) == (pytest.approx(um, rel=1e-6) if um else None)


@pytest.mark.parametrize("unit", ["um", "\u03bcm", "\\u00B5m", "micron", "microns", "Micrometer"])
def test_names_of_the_micrometre(unit: str) -> None:
    assert unit_in_um(unit) == 1.0


@pytest.mark.parametrize("unit", ["second", "m**9999999", "xyz", "m m", "2m", "-"])
def test_what_is_no_length_is_unknown(unit: str) -> None:
    assert unit_in_um(unit) is None


def ome_tiff(path: Path, size: Any, unit: str | None) -> Path:
    metadata: dict[str, Any] = {"axes": "ZYX"}
    for axis in "ZYX":
        metadata[f"PhysicalSize{axis}"] = size
        if unit is not None:
            metadata[f"PhysicalSize{axis}Unit"] = unit
    tifffile.imwrite(path, np.zeros((4, 5, 6), np.uint8), ome=True, metadata=metadata)
    return path


def ome_zarr(path: Path, scale: Any, unit: str | None) -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("0", data=np.zeros((4, 5, 6), np.uint8))
    axis = {"type": "space"} | ({"unit": unit} if unit else {})
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": [{"name": a, **axis} for a in "zyx"],
            "datasets": [
                {
                    "path": "0",
                    "coordinateTransformations": [{"type": "scale", "scale": [scale] * 3}],
                }
            ],
        }
    ]
    return path


@pytest.mark.parametrize("unit, um", OME_UNITS.items())
def test_units_of_an_ome_tiff(tmp_path: Path, unit: str, um: float | None) -> None:
    found = read_header(ome_tiff(tmp_path / "a.ome.tif", 0.5 / (um or 1), unit)).spacing_um
    assert found == (pytest.approx((0.5,) * 3, rel=1e-6) if um else None)


@pytest.mark.parametrize("unit, um", NGFF_UNITS.items())
def test_units_of_an_ome_zarr(tmp_path: Path, unit: str, um: float) -> None:
    found = read_header(ome_zarr(tmp_path / "a.ome.zarr", 0.5 / um, unit)).spacing_um
    assert found == pytest.approx((0.5,) * 3, rel=1e-6)


BAD = [0.0, -0.5, math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("size", BAD)
@pytest.mark.parametrize("kind", ["ome", "zarr", "imagej", "hdf5"])
def test_sizes_that_cannot_be_are_unknown_or_repaired_with_a_warning(
    tmp_path: Path, kind: str, size: float
) -> None:
    data = np.zeros((4, 5, 6), np.uint8)
    if kind == "ome":
        path = ome_tiff(tmp_path / "a.ome.tif", size, "\u00b5m")
    elif kind == "zarr":
        path = ome_zarr(tmp_path / "a.zarr", size, "micrometer")
    elif kind == "imagej":
        path = tmp_path / "a.tif"
        metadata = {"axes": "ZYX", "spacing": size, "unit": "um"}
        tifffile.imwrite(path, data, imagej=True, resolution=(2, 2), metadata=metadata)
    else:
        path = tmp_path / "a.h5"
        with h5py.File(path, "w") as file:
            file["data"] = data
            file["data"].attrs["element_size_um"] = [size] * 3
    with collect_notes() as notes:
        found = read_header(path).spacing_um
    assert found == (pytest.approx((0.5,) * 3) if size == -0.5 else None)
    assert notes and f"voxel size {size}" in notes[0]


@pytest.mark.parametrize("size, unit", [(2000.0, "um"), (1.0, "m"), (1e-7, "um")])
def test_absurd_sizes_are_warned_of(size: float, unit: str) -> None:
    with collect_notes() as notes:
        assert decide_spacing("a", dict.fromkeys("ZYX", (size, unit)), True) is not None
    assert "Check it, and set spacing_um" in notes[0]


def test_scale_without_a_unit_is_um_and_one_is_unknown(tmp_path: Path) -> None:
    assert read_header(ome_zarr(tmp_path / "a.zarr", 1.0, None)).spacing_um is None
    with collect_notes() as notes:
        assert read_header(ome_zarr(tmp_path / "b.zarr", 0.5, None)).spacing_um == (0.5,) * 3
    assert "without a unit" in notes[0]


def test_thickness_does_not_count_in_2d() -> None:
    sizes = {"Z": (0.0, "um"), "Y": (0.5, "um"), "X": (0.25, "um")}
    with collect_notes() as notes:
        assert decide_spacing("a", sizes, False) == (1.0, 0.5, 0.25)
    assert not notes


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name, spacing",
    [
        ("negative.tif", True),
        ("zero.tif", False),
        ("unit_metre.ome.tif", True),
        ("unit_angstrom.ome.tif", True),
        ("unit_inch.ome.tif", True),
    ],
)
def test_voxel_sizes_of_the_cases(real_data: Path, name: str, spacing: bool) -> None:
    found = read_header(real_data / "cases" / "06_voxels" / name).spacing_um
    assert found == (pytest.approx((0.5, 0.2, 0.2), rel=1e-4) if spacing else None)
