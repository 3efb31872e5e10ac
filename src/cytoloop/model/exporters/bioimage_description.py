"""The description of a BioImage Model Zoo package, from what a checkpoint tells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cytoloop.model.architecture import describe
from cytoloop.model.checkpoint import Checkpoint
from cytoloop.model.exporters.metadata import About
from cytoloop.model.exporters.parity import steps
from cytoloop.truth.classes import class_heads, class_names, numbered
from cytoloop.version import __version__

WEIGHTS, INPUT, OUTPUT, README = "model.ts.pt", "test_input.npy", "test_output.npy", "README.md"
_HALO = 8
"""A window's outer 1/8 on each side is seen with too little around it."""


def gives_probability(checkpoint: Checkpoint) -> bool:
    """Tell whether the outputs are the foreground, or classes: then a sigmoid follows."""
    return int(checkpoint.backbone.get("out_channels", 1)) == 1 or bool(_classes(checkpoint))


def description(
    v0_5: Any, checkpoint: Checkpoint, about: About, folder: Path, close: float, free: bool
) -> Any:
    """Return the zoo's description of a model.

    Parameters
    ----------
    v0_5 : module
        ``bioimageio.spec.model.v0_5``.
    checkpoint : Checkpoint
    about : About
    folder : Path
        Holds `WEIGHTS`, `INPUT`, `OUTPUT` and `README`.
    close : float
        Difference of the output that is taken for the same.
    free : bool
        Whether the network takes sides other than those of its patches.

    Raises
    ------
    ValueError
        The zoo does not take a value (pydantic's error).
    """
    one = gives_probability(checkpoint)
    meant = "to be of each class" if _classes(checkpoint) else "to be foreground"
    tensors = {
        "inputs": [
            v0_5.InputTensorDescr(
                id="image",
                description="grey levels as the microscope gives them",
                axes=_axes(v0_5, checkpoint, free),
                test_tensor=v0_5.FileDescr(source=folder / INPUT),
                data=v0_5.IntervalOrRatioDataDescr(type="float32"),
                preprocessing=normalization(v0_5, checkpoint.image),
            )
        ],
        "outputs": [
            v0_5.OutputTensorDescr(
                id="probability" if one else "logits",
                description=f"of a voxel {meant}" if one else "of each head",
                axes=_output_axes(v0_5, checkpoint, free),
                test_tensor=v0_5.FileDescr(source=folder / OUTPUT),
                data=v0_5.IntervalOrRatioDataDescr(type="float32"),
                postprocessing=[v0_5.SigmoidDescr()] if one else [],
            )
        ],
    }
    tolerance = v0_5.ReproducibilityTolerance(absolute_tolerance=close, relative_tolerance=close)
    config = v0_5.BioimageioConfig(reproducibility_tolerance=[tolerance])
    return v0_5.ModelDescr(
        name=about.name,
        description=about.description or describe(checkpoint.backbone),
        authors=[{"name": name} for name in about.authors],
        license=about.license,
        documentation=v0_5.FileDescr(source=folder / README),
        tags=["segmentation", "microscopy", f"{checkpoint.image['spatial_dims']}d", "cytoloop"],
        **tensors,
        weights=v0_5.WeightsDescr(
            torchscript=v0_5.TorchscriptWeightsDescr(
                source=folder / WEIGHTS, pytorch_version=torch.__version__.split("+")[0]
            )
        ),
        config=v0_5.Config(bioimageio=config),
    )


def normalization(v0_5: Any, image: Mapping[str, Any]) -> list[Any]:
    """Return the zoo's steps that do what a rule of `cytoloop.intensity.normalization` does."""
    rule = image["normalization"]
    axes = tuple(_names(image))
    method = rule["method"]
    if method == "zscore":
        return [v0_5.ZeroMeanUnitVarianceDescr(kwargs={"axes": axes})]
    if method == "range":
        gain = 1 / (rule["maximum"] - rule["minimum"])
        kwargs = {"gain": gain, "offset": -rule["minimum"] * gain}
        neutral = kwargs == {"gain": 1.0, "offset": 0.0}
        return [] if neutral else [v0_5.ScaleLinearDescr(kwargs=kwargs)]
    if method == "none":
        return []
    ends = (rule["lower"], rule["upper"]) if method == "percentile" else (0.0, 100.0)
    kwargs = {"axes": axes, "min_percentile": ends[0], "max_percentile": ends[1]}
    return [v0_5.ScaleRangeDescr(kwargs=kwargs)]


def readme(checkpoint: Checkpoint, about: About) -> str:
    """Return the package's documentation."""
    image = checkpoint.image
    spacing, classes = image.get("spacing_um"), numbered(class_names(image.get("heads")))
    lines = [
        f"# {about.name}",
        "",
        about.description or "A segmentation model.",
        "",
        f"- {describe(checkpoint.backbone)}, trained with CytoLoop {__version__} or read by it",
        f"- voxel size of the training images (Z, Y, X): {spacing or 'not known'} um",
        f"- grey levels: {image['normalization']}, by the package's own steps",
        *([f"- classes, from the most probable above its threshold: {classes}"] if classes else []),
        f"- post-processing chosen in training: {image.get('tuned') or 'none'}",
        *(f"- {name}: {value:.4g}" for name, value in sorted(about.scores.items())),
        "",
        "Validation: compare its objects with labels of images it has not seen.",
        "",
    ]
    return "\n".join(lines)


def _classes(checkpoint: Checkpoint) -> list[str]:
    """Return the heads of classes: whatever a class is called, they are identifiers."""
    return class_heads(class_names(checkpoint.image.get("heads")))


def _names(image: Mapping[str, Any]) -> str:
    return "zyx"[-int(image["spatial_dims"]) :]


def _scales(image: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return unit and size of a voxel along each axis, nothing where it is not known."""
    names, spacing = _names(image), image.get("spacing_um")
    if not spacing:
        return [{} for _ in names]
    return [{"unit": "micrometer", "scale": float(s)} for s in list(spacing)[-len(names) :]]


def _axes(v0_5: Any, checkpoint: Checkpoint, free: bool) -> list[Any]:
    image = checkpoint.image
    channels = [f"channel{n}" for n in range(int(image["channels"]))]
    sides = [int(side) for side in image["patch_size"]]
    step = steps(checkpoint.backbone) if free else sides
    return [
        v0_5.BatchAxis(),
        v0_5.ChannelAxis(channel_names=channels),
        *(
            v0_5.SpaceInputAxis(
                id=name, size=v0_5.ParameterizedSize(min=side, step=k) if free else side, **scale
            )
            for name, side, k, scale in zip(_names(image), sides, step, _scales(image), strict=True)
        ),
    ]


def _output_axes(v0_5: Any, checkpoint: Checkpoint, free: bool) -> list[Any]:
    image = checkpoint.image
    count = int(checkpoint.backbone.get("out_channels", 1))
    names = ["foreground"] if count == 1 else [f"output{n}" for n in range(count)]
    names = _classes(checkpoint) or names
    axes: list[Any] = [v0_5.BatchAxis(), v0_5.ChannelAxis(channel_names=names)]
    for name, side, scale in zip(_names(image), image["patch_size"], _scales(image), strict=True):
        size = v0_5.SizeReference(tensor_id="image", axis_id=name)
        halo = int(side) // _HALO
        if halo and free:
            axes.append(v0_5.SpaceOutputAxisWithHalo(id=name, size=size, halo=halo, **scale))
        else:
            axes.append(v0_5.SpaceOutputAxis(id=name, size=size, **scale))
    return axes
