"""The pixels of an input row, in the channels and at the pyramid level that the model takes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from cytoloop.errors import ImageError, ManifestError
from cytoloop.inference.settings import NO_DIAMETER, ReadingSettings
from cytoloop.inference.windows.predictor import Predictor
from cytoloop.io.digest import file_hash
from cytoloop.io.multi_file import image_exists
from cytoloop.io.notes import note
from cytoloop.io.pixels import Pixels, level_spacings, open_pixels
from cytoloop.io.voxel_size import Spacing
from cytoloop.manifest import Row, format_spacing, stated_axes

_MAX_PIXEL_RATIO = 1.1
"""Of a pyramid level to the training images, for ``pyramid_level=auto`` with `resample`."""
_CHOICES = ("channel", "scene", "time", "plane", "axes")
_UNNAMED = ("Channel:", "sample ")
"""Beginnings of channel names that readers make up for files without names."""


def input_digest(row: Row) -> str:
    """Return a digest of an input: the file's content and the row's choices; "" if unreadable."""
    try:
        path = row.file("raw")
        content = file_hash(path) if path is not None and image_exists(path) else ""
    except (ImageError, ManifestError, OSError):
        return ""  # the row fails when it is predicted, with the reason
    chosen = [row[name] for name in (*_CHOICES, "spacing_um") if row[name]]
    return hashlib.sha256(repr((content, chosen)).encode()).hexdigest()[:32]


def open_input(row: Row, predictor: Predictor, settings: ReadingSettings) -> Pixels:
    """Return the pixels of a row, in the channels that the model was trained on.

    Raises
    ------
    ImageError
        The file cannot be read, or the model cannot take the image.
    """
    path, scene = row.file("raw") or "", row["scene"] or None
    wanted = row["channel"] or settings.channel
    axes = stated_axes(row)
    level = _pyramid_level(path, scene, axes, predictor, settings)
    plane = row.plane
    pixels = open_pixels(path, wanted, scene, row.time, level, axes=axes, plane=plane)
    if wanted is None:
        trained = predictor.image.get("channel_names") or []
        by_name = _channels_by_name(row.id, pixels.channels, trained)
        if by_name is not None:
            pixels = open_pixels(path, by_name, scene, row.time, level, axes=axes, plane=plane)
    check_fits_model(str(path), pixels, predictor, settings.planes)
    stated = row.spacing_um if level == 0 else None
    pixels.spacing_um = stated or pixels.spacing_um or settings.spacing_um
    check_spacing(row.id, pixels.spacing_um, predictor, settings)
    return pixels


def check_fits_model(
    name: str, pixels: Pixels, predictor: Predictor, planes: bool | str = "auto"
) -> None:
    """Refuse an image with other dimensions or another number of channels than in training.

    Parameters
    ----------
    name : str
        Of the image, for messages.
    pixels : Pixels
    predictor : Predictor
    planes : bool or ``auto``
        Whether a 2D model takes a stack, plane by plane, see `ReadingSettings`.

    Raises
    ------
    ImageError
        The model cannot take the image.
    """
    dims, wanted = len(pixels.shape), int(predictor.image["spatial_dims"])
    if dims == 2 and wanted == 3:
        raise ImageError(
            name,
            f"is one plane, shape {pixels.shape}, but the model was trained on stacks",
            "Give a stack of several planes, or a model trained on 2D images: for nuclei "
            "pretrained:nuclei_2d.",
        )
    by_plane = bool(predictor.image.get("planes")) if planes == "auto" else bool(planes)
    if dims != wanted and not by_plane:
        raise ImageError(
            name,
            f"is a stack, shape {pixels.shape}, but the model was trained on 2D images",
            "planes=true predicts it plane by plane. For 3D objects give a model trained on "
            "stacks: for nuclei pretrained:nuclei_3d.",
        )
    channels = int(predictor.image["channels"])
    if len(pixels.channels) != channels:
        names = ", ".join(pixels.channels)
        raise ImageError(
            name,
            f"has {len(pixels.channels)} channels ({names}), the model takes {channels}",
            "Name the channel: channel=NUMBER or channel=NAME.",
        )


def check_spacing(
    name: str, spacing_um: Spacing | None, predictor: Predictor, settings: ReadingSettings
) -> None:
    """Warn if voxels are more than twice as large or small as those of the training images.

    The size of objects counts instead where it is given.

    Raises
    ------
    ImageError
        Resampling needs a voxel size, and it is unknown.
    """
    trained = predictor.spacing_um
    requested, resample = settings.resample, predictor.resamples(settings.resample)
    if settings.object_diameter_um not in (None, NO_DIAMETER) or trained is None:
        return
    if spacing_um is not None and resample:
        return
    if spacing_um is None:
        if resample:
            why = "resample=true" if requested is True else "the model, which resamples images,"
            raise ImageError(
                name,
                f"its voxel size is unknown, but {why} needs it",
                "Give spacing_um=[z,y,x].",
            )
        return
    # in 2D the thickness does not count
    pairs = list(zip(spacing_um, trained, strict=True))[-int(predictor.image["spatial_dims"]) :]
    if any(max(a / b, b / a) > 2 for a, b in pairs):
        note(
            name,
            f"voxel {format_spacing(spacing_um)} um, but the model was trained on "
            f"{format_spacing(trained)} um: expect poor results, or predict with resample=true",
        )


def _pyramid_level(
    path: str | Path,
    scene: str | None,
    axes: str | None,
    predictor: Predictor,
    settings: ReadingSettings,
) -> int:
    """Return the pyramid level to predict, see `ReadingSettings.pyramid_level`."""
    if settings.pyramid_level != "auto":
        return int(settings.pyramid_level)
    wanted = _wanted_spacing(predictor, settings)
    if wanted is None:
        return 0
    fine_enough = [
        level
        for level, spacing in enumerate(level_spacings(path, scene, axes))
        if spacing
        and all(s <= w * _MAX_PIXEL_RATIO for s, w in zip(spacing[1:], wanted[1:], strict=True))
    ]
    return max(fine_enough, default=0)


def _wanted_spacing(predictor: Predictor, settings: ReadingSettings) -> Spacing | None:
    """Return the voxel size (Z, Y, X) at which an image is predicted; None for its own."""
    diameter = settings.object_diameter_um
    if diameter in (None, NO_DIAMETER):
        return predictor.spacing_um if predictor.resamples(settings.resample) else None
    if isinstance(diameter, str) or predictor.scale is None:
        return None
    side = diameter / predictor.scale.diameter[1]
    return (side, side, side)


def _is_unnamed(channel: str) -> bool:
    return channel.startswith(_UNNAMED) or channel.isdigit()


def _channels_by_name(
    name: str, found: Sequence[str], trained: Sequence[str]
) -> list[str | int] | None:
    """Return the channels of training in their order, None if the image lacks one by name.

    None as well where the image has these channels, and no others, in that order.
    """
    if not trained or not set(trained) <= set(found) or len(set(trained)) < len(trained):
        unnamed = any(map(_is_unnamed, (*trained, *found)))
        if len(trained) > 1 and not unnamed:
            note(
                name,
                f"channels are {', '.join(found)}, the model was trained on {', '.join(trained)}",
            )
        return None
    if tuple(trained) == tuple(found):
        return None
    if any(map(_is_unnamed, trained)):
        note(
            name,
            f"takes {', '.join(trained)} of {', '.join(found)} by number, because the file names "
            "no channels. For another one use channel=NUMBER",
        )
    return list(trained)
