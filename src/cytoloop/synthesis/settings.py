"""Settings of synthetic images: the ranges from which each image draws its properties."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from cytoloop.bounds import Bounds, raise_faults

Range = tuple[float, float]
"""Lowest and highest value; each image draws one value between them."""

SHAPES = ("ellipsoid", "lobed", "crescent", "elongated", "mitotic")
LAYOUTS = ("uniform", "clusters", "ball", "sheet")

_RANGES = {
    "anisotropy": (0.1, 20), "object_diameter_um": (1e-6, 1e6), "size_spread": (0, 1),
    "crowding": (0, 1), "contact": (0.3, 5), "brightness_spread": (0, 2), "texture": (0, 2),
    "spots": (0, 50), "rim": (-1, 2), "blur": (0, 2), "axial_blur": (0.1, 10), "haze": (0, 2),
    "tails": (0, 5),
    "depth_loss": (0, 5), "background": (0, 20), "debris": (0, 10), "photons": (0.1, 1e6),
    "read_noise": (0, 1e3), "smoothing": (0, 3), "outline": (0.05, 0.9), "by_plane": (0, 0.8),
    "one_contrast": (0, 1),
}  # fmt: skip
"""Bounds of the ends of each range."""


@dataclass(frozen=True)
class SynthesisSettings:
    """What synthetic images show. A range is the lowest and the highest value of an image.

    Attributes
    ----------
    shape : tuple of int
        (Z, Y, X) or (Y, X).
    spacing_um : tuple of float
        Size (Y, X) of a voxel in um, or (Z, Y, X); Z is replaced where `anisotropy` is given.
    anisotropy : range or None
        Z size of a voxel divided by its Y size.
    object_diameter_um : range
        Typical diameter of an image's objects.
    size_spread : range
        Standard deviation of the logarithm of diameters within an image.
    crowding : range
        Fraction of the field that objects fill, where there is room.
    contact : range
        Smallest distance of two centres, in sums of their radii. Below 1 objects touch.
    layouts, shapes : dict of str to float
        How often each layout of an image, and each shape of an object, is drawn.
    brightness_spread : range
        Standard deviation of the logarithm of brightness within an image.
    texture : range
        Contrast of the grain within objects.
    spots : range
        Mean number of bright spots in an object; as many dark holes, a third of them as often.
    rim : range
        Brightness of the rim relative to the centre: -0.5 dim, 1 twice as bright.
    blur : range
        Lateral sigma of the point spread function, in mean radii of the image's objects.
    axial_blur : range
        Axial sigma divided by lateral sigma.
    tails : range
        Light in the axial tails of the point spread function, which show a bright object above and
        below itself: in brightnesses of the object. Of stacks only.
    haze : range
        Light from out of focus, in brightnesses of an object.
    depth_loss : range
        Logarithm of the brightness that is lost from the first plane to the last.
    background : range
        Even background, in brightnesses of an object.
    debris : range
        Unlabelled small bodies per object.
    photons : range
        Mean photons of an object's voxel.
    read_noise : range
        Standard deviation of the camera's noise, in photons.
    smoothing : range
        Sigma in voxels of a smoothing after the noise, as by resampling or denoising.
    outline : range
        A voxel belongs to an object where the object's blurred body exceeds this fraction of its
        maximum: annotators draw what they see, not the border before the optics. An object
        that noise or other light hides has no label.
    by_plane : range
        How much annotators judge each plane of a stack for itself. In a plane whose brightest
        voxel has the fraction m of the object's maximum, `outline` is multiplied by m to the power
        of this: 0 = one level for the whole object; 0.5 = labels reach further above and below an
        object than beside it. Of stacks only.
    one_contrast : range
        How much one contrast of the screen holds for all objects of an image: `outline` is divided
        by an object's brightness to the power of this. 0 = each object is judged for itself; above
        0 annotators draw bright objects wider and dim ones tighter.
    """

    shape: tuple[int, ...] = (32, 128, 128)
    spacing_um: tuple[float, ...] = (1.0, 0.5, 0.5)
    anisotropy: Range | None = None
    object_diameter_um: Range = (6, 12)
    size_spread: Range = (0.05, 0.3)
    crowding: Range = (0.03, 0.4)
    contact: Range = (0.7, 1.1)
    layouts: tuple[tuple[str, float], ...] = (("uniform", 1.0),)
    shapes: tuple[tuple[str, float], ...] = (("ellipsoid", 1.0),)
    brightness_spread: Range = (0.1, 0.6)
    texture: Range = (0, 0.5)
    spots: Range = (0, 8)
    rim: Range = (-0.4, 0.5)
    blur: Range = (0.05, 0.2)
    axial_blur: Range = (1.5, 3.5)
    tails: Range = (0, 0.5)
    haze: Range = (0, 0.3)
    depth_loss: Range = (0, 1)
    background: Range = (0, 1)
    debris: Range = (0, 0.3)
    photons: Range = (3, 300)
    read_noise: Range = (0, 3)
    smoothing: Range = (0, 0.8)
    outline: Range = (0.2, 0.4)
    by_plane: Range = (0, 0)
    one_contrast: Range = (0, 0)

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> SynthesisSettings:
        """Return the settings in a config.

        Raises
        ------
        ConfigError
            With all values that are out of their bounds.
        """
        raise_faults(synthesis_faults(values), "See `cytoloop synthesize --help`.")
        known: dict[str, Any] = {}
        for field in fields(cls):
            value = values[field.name]
            if isinstance(value, Mapping):
                known[field.name] = tuple((str(k), float(v)) for k, v in value.items())
            else:
                known[field.name] = None if value is None else tuple(value)
        return cls(**known)


def synthesis_faults(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the config keys of the values that are out of their bounds, and what is wrong."""
    faults = [*_field_faults(values), *_range_faults(values), *_choice_faults(values)]
    return [(f"synthesis.{name}", fault) for name, fault in faults]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _field_faults(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what is wrong with the shape and the voxel size of a field."""
    shape, spacing = values["shape"], values["spacing_um"]
    side = Bounds("", 4, 4096)
    if not _is_list(shape, (2, 3)) or any(side.fault(n) for n in shape):
        fault = f"is {shape}, expected [z,y,x] or [y,x], whole numbers from 4 to 4096"
        return [("shape", fault)]
    if not _is_list(spacing, (len(shape), 3)) or not all(_is_number(s) and s > 0 for s in spacing):
        axes = "[z,y,x]" if len(shape) == 3 else "[y,x]"
        return [("spacing_um", f"is {spacing}, expected {axes} in um, above 0")]
    return []


def _is_list(value: Any, lengths: Sequence[int]) -> bool:
    return isinstance(value, (list, tuple)) and len(value) in lengths


def _range_faults(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the ranges that are none, or out of their bounds."""
    faults = []
    for name, (low, high) in _RANGES.items():
        value = values[name]
        if value is None and name == "anisotropy":
            continue
        two = _is_list(value, (2,)) and all(map(_is_number, value))
        if not two or not low <= value[0] <= value[1] <= high:
            fault = f"is {value}, expected [lowest, highest] within {low:g} to {high:g}"
            faults.append((name, fault))
    return faults


def _choice_faults(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the shapes and layouts that are unknown, or whose frequencies are no frequencies."""
    faults = []
    for name, choices in (("shapes", SHAPES), ("layouts", LAYOUTS)):
        value = values[name]
        if not isinstance(value, Mapping) or set(value) - set(choices):
            faults.append((name, f"is {value}, expected {{NAME: frequency}} of {choices}"))
        elif not all(_is_number(v) and v >= 0 for v in value.values()) or not any(value.values()):
            faults.append((name, f"is {value}, expected frequencies from 0, not all of them 0"))
    return faults
