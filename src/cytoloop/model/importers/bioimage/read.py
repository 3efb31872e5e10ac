"""A BioImage Model Zoo package as a model of ours."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from cytoloop.errors import ModelError, truncate_lines
from cytoloop.intensity.normalization import STEPS
from cytoloop.intensity.steps import MEASURED
from cytoloop.model.architecture import build_architecture, describe
from cytoloop.model.image_settings import check_image_settings
from cytoloop.model.importers.bioimage.axes import (
    ImageLayout,
    axis_letters,
    read_halo,
    read_layout,
)
from cytoloop.model.importers.bioimage.description import read_description
from cytoloop.model.importers.bioimage.outputs import OutputMeaning, read_meaning
from cytoloop.model.importers.bioimage.preprocessing import read_preprocessing
from cytoloop.model.importers.bioimage.test_tensors import check_reproduction, read_test_tensor
from cytoloop.model.importers.bioimage.weights import FoundWeights, read_weights
from cytoloop.model.importers.imported_model import ImportedModel

log = logging.getLogger(__name__)

OWN_CONFIG = "cytoloop"
"""Key of a package's ``config`` for the image settings of a model that CytoLoop exported."""


def read_package(path: Path) -> ImportedModel:
    """Return the model of a package, from its description.

    Raises
    ------
    ModelError
        The description is not valid, the package needs what is not done here (all of it is
        listed), or its test output is not reproduced.
    """
    where = str(path)
    described = read_description(path)
    given, returned = _single(where, described.inputs), _single(where, described.outputs)
    test = read_test_tensor(path, given), read_test_tensor(path, returned)
    layout, problems = read_layout(given, None if test[0] is None else test[0].shape)
    rule, dtype, faults = read_preprocessing(given, where)
    out_axes, axis_faults = axis_letters(returned)
    meaning, meaning_faults = read_meaning(returned, out_axes, test[1], where)
    own = _own_settings(where, described)
    if own and meaning_faults:  # its heads say what the outputs mean
        meaning, meaning_faults = _logits(meaning), []
    problems += [*faults, *axis_faults, *meaning_faults]
    if problems:
        raise ModelError(
            where,
            truncate_lines(problems, 8),
            "This package is not run here; run it with the zoo's own software, `bioimageio`.",
        )
    found, reasons = read_weights(path, described.weights, layout, meaning, dtype)
    for reason in reasons:
        log.warning("%s: its better weights are not used: %s", where, reason)
    image = own or _image_settings(returned, layout, meaning, rule)
    network = _built(where, found)
    rules = [image["normalization"]]
    if len(rules[0].get(STEPS, ())) > 1:  # the zoo's runner measures all steps before the first
        rules.append({**rules[0], MEASURED: "input"})
    for rule in rules:
        try:
            tested = check_reproduction(where, network, rule, layout, meaning, test)
        except ModelError:
            if rule is rules[-1]:
                raise
        else:
            image["normalization"] = rule
            break
    return ImportedModel(
        weights=found.weights,
        backbone=found.backbone,
        image=image,
        epoch=0,
        step=0,
        summary=f"a BioImage Model Zoo package, {described.name}: {describe(found.backbone)} "
        f"({found.form}), patch {image['patch_size']}, normalization "
        f"{image['normalization']['method']}; {tested}",
        digest=found.digest,
    )


def _single(where: str, tensors: Any) -> Any:
    """Return the only tensor of a list.

    Raises
    ------
    ModelError
        There are several.
    """
    if len(tensors) != 1:
        names = ", ".join(str(one.id) for one in tensors)
        raise ModelError(
            where,
            f"has {len(tensors)} inputs or outputs ({names}), expected one image and one output",
            "Models of several images or outputs are not run here.",
        )
    return tensors[0]


def _image_settings(
    tensor: Any, layout: ImageLayout, meaning: OutputMeaning, rule: dict[str, Any]
) -> dict[str, Any]:
    """Return the image settings of a package of another program."""
    halo = read_halo(tensor, meaning.axes, layout.dims)
    image: dict[str, Any] = {
        "spatial_dims": layout.dims,
        "channels": layout.channels,
        "channel_names": layout.channel_names,
        "spacing_um": layout.spacing_um,
        "object_voxels": None,
        "patch_size": _wide_enough(layout, halo),
        "normalization": rule,
    }
    if meaning.heads:
        image["heads"] = meaning.heads
    if meaning.threshold is not None:
        image["tuned"] = {"threshold": meaning.threshold}
    if any(halo):
        image["halo"] = halo
    if layout.multiples is None:
        image["window"] = "patch"
    return image


def _wide_enough(layout: ImageLayout, halo: list[int]) -> list[int]:
    """Return the sides of a window of which at least half is no halo, where they are free."""
    if layout.multiples is None:
        return layout.window
    return [
        side + max(math.ceil((2 * margin + max(2 * margin, step) - side) / step), 0) * step
        for side, margin, step in zip(layout.window, halo, layout.multiples, strict=True)
    ]


def _own_settings(where: str, described: Any) -> dict[str, Any]:
    """Return the image settings of a model that CytoLoop exported; {} for another package."""
    found = (described.config.model_extra or {}).get(OWN_CONFIG)
    image = found.get("image") if isinstance(found, Mapping) else None
    if not isinstance(image, Mapping):
        return {}
    check_image_settings(where, image)
    return dict(image)


def _logits(meaning: OutputMeaning) -> OutputMeaning:
    return OutputMeaning(meaning.axes, "logits", meaning.channels)


def _built(where: str, found: FoundWeights) -> nn.Module:
    """Return the network of the weights, in evaluation mode."""
    weights = {name.removeprefix("backbone."): value for name, value in found.weights.items()}
    network = build_architecture(where, found.backbone, weights)
    network.load_state_dict(weights)
    return network.eval()
