"""The model that an importer returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class ImportedModel:
    """A model of another tool, with the attributes of a `Checkpoint`.

    Attributes
    ----------
    weights : dict of str to Tensor
        Keys ``backbone.*``.
    backbone : dict
        ``_target_`` and arguments of the network.
    image : dict
        Images that the network expects, see `image_settings`.
    epoch, step : int
        Progress of the training; 0 if it is not known.
    summary : str
        What was read from where, for the log.
    digest : str
        Hash of the weights, if they are in another file than the one that was given.
    """

    weights: dict[str, Tensor]
    backbone: dict[str, Any]
    image: dict[str, Any]
    epoch: int
    step: int
    summary: str
    digest: str = ""


def image_settings(
    backbone: Mapping[str, Any], patch: list[int], normalization: dict[str, Any], **known: Any
) -> dict[str, Any]:
    """Return the images that a network expects; unknown values are None or empty.

    Parameters
    ----------
    backbone : mapping
        Arguments of the network.
    patch : list of int
        [Z,] Y, X.
    normalization : dict
        A rule of `cytoloop.intensity.normalization`.
    **known
        Other settings that the model states.
    """
    return {
        "spatial_dims": int(backbone["spatial_dims"]),
        "channels": int(backbone["in_channels"]),
        "channel_names": [],
        "spacing_um": None,
        "object_voxels": None,
        "patch_size": patch,
        "normalization": normalization,
        **known,
    }
