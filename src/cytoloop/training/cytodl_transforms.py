"""Transforms that replace one of MONAI's in a CytoDL experiment, because MONAI has changed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.data.meta_tensor import MetaTensor
from monai.transforms.utility.dictionary import EnsureChannelFirstd as MonaiEnsureChannelFirstd

_REPLACED = {
    f"monai.transforms.{name}": "cytoloop.training.cytodl_transforms.EnsureChannelFirstd"
    for name in ("EnsureChannelFirstd", "EnsureChannelFirstD", "EnsureChannelFirstDict")
}


class EnsureChannelFirstd(MonaiEnsureChannelFirstd):
    """MONAI's ``EnsureChannelFirstd`` that counts the spatial axes again.

    An image without channels has one spatial axis more once the channel is added. MONAI 1.6 keeps
    the former number, and ``Zoomd`` then fails for images that CytoDL's reader has loaded.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the images with channels first."""
        found: dict[Hashable, Any] = super().__call__(data)
        for key in self.key_iterator(found):
            if isinstance(found[key], MetaTensor):
                found[key].spatial_ndim = found[key].ndim - 1
        return found


def replace_transforms(node: Any) -> None:
    """Replace the transforms in a nested config of dicts and lists, in place."""
    if isinstance(node, dict):
        if node.get("_target_") in _REPLACED:
            node["_target_"] = _REPLACED[node["_target_"]]
        for value in node.values():
            replace_transforms(value)
    elif isinstance(node, list):
        for value in node:
            replace_transforms(value)
