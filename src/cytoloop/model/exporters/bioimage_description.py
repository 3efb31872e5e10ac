"""The description of a BioImage Model Zoo package, made from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cytoloop.model.architecture import describe
from cytoloop.model.checkpoint import Checkpoint
from cytoloop.model.exporters.metadata import About
from cytoloop.model.exporters.parity import side_multiples
from cytoloop.truth.classes import class_heads, class_names, describe_classes
from cytoloop.version import __version__

STATE_DICT = "weights.pth"
WEIGHTS, INPUT, OUTPUT, README = "model.ts.pt", "test_input.npy", "test_output.npy", "README.md"
_HALO = 8
"""The runner discards 1/8 of a window at each side, where the network lacks context."""


def has_probability_output(checkpoint: Checkpoint) -> bool:
    """Return whether the package returns probabilities: for one foreground, or for classes.

    Other heads are returned as logits.
    """
    return int(checkpoint.backbone.get("out_channels", 1)) == 1 or bool(_class_heads(checkpoint))


def describe_model(
    v0_5: Any, checkpoint: Checkpoint, about: About, folder: Path, tolerance: float, any_size: bool
) -> Any:
    """Return the zoo's description of a model, a ``ModelDescr``.

    Parameters
    ----------
    v0_5 : module
        ``bioimageio.spec.model.v0_5``.
    checkpoint : Checkpoint
    about : About
    folder : Path
        Holds `WEIGHTS`, `INPUT`, `OUTPUT` and `README`; also `STATE_DICT` of a network of MONAI.
    tolerance : float
        Largest absolute and relative difference of a reproduced output.
    any_size : bool
        The network accepts other sizes than the patch size.

    Raises
    ------
    ValueError
        The zoo refuses a value (pydantic's error).
    """
    probability = has_probability_output(checkpoint)
    meaning = "is of each class" if _class_heads(checkpoint) else "is foreground"
    tensors = {
        "inputs": [
            v0_5.InputTensorDescr(
                id="image",
                description="grey levels as the microscope gives them",
                axes=_input_axes(v0_5, checkpoint, any_size),
                test_tensor=v0_5.FileDescr(source=folder / INPUT),
                data=v0_5.IntervalOrRatioDataDescr(type="float32"),
                preprocessing=_preprocessing(v0_5, checkpoint.image),
            )
        ],
        "outputs": [
            v0_5.OutputTensorDescr(
                id="probability" if probability else "logits",
                description=f"probability that a voxel {meaning}"
                if probability
                else "of each head",
                axes=_output_axes(v0_5, checkpoint, any_size),
                test_tensor=v0_5.FileDescr(source=folder / OUTPUT),
                data=v0_5.IntervalOrRatioDataDescr(type="float32"),
                postprocessing=[v0_5.SigmoidDescr()] if probability else [],
            )
        ],
    }
    reproducibility = v0_5.ReproducibilityTolerance(
        absolute_tolerance=tolerance, relative_tolerance=tolerance
    )
    config = v0_5.BioimageioConfig(reproducibility_tolerance=[reproducibility])
    return v0_5.ModelDescr(
        name=about.name,
        description=about.description or describe(checkpoint.backbone),
        authors=[{"name": name} for name in about.authors],
        license=about.license,
        documentation=v0_5.FileDescr(source=folder / README),
        tags=["segmentation", "microscopy", f"{checkpoint.image['spatial_dims']}d", "cytoloop"],
        **tensors,
        weights=_weights(v0_5, checkpoint, folder),
        config=v0_5.Config(bioimageio=config, cytoloop={"image": _plain(checkpoint.image)}),
    )


def _weights(v0_5: Any, checkpoint: Checkpoint, folder: Path) -> Any:
    """Return the description of the weights that lie in a folder."""
    version = torch.__version__.split("+")[0]
    if not (folder / STATE_DICT).is_file():
        script = v0_5.TorchscriptWeightsDescr(source=folder / WEIGHTS, pytorch_version=version)
        return v0_5.WeightsDescr(torchscript=script)
    module, _, name = str(checkpoint.backbone["_target_"]).rpartition(".")
    arguments = {k: _plain(v) for k, v in checkpoint.backbone.items() if not k.startswith("_")}
    architecture = v0_5.ArchitectureFromLibraryDescr(
        import_from=module, callable=name, kwargs=arguments
    )
    return v0_5.WeightsDescr(
        pytorch_state_dict=v0_5.PytorchStateDictWeightsDescr(
            source=folder / STATE_DICT, pytorch_version=version, architecture=architecture
        ),
        torchscript=v0_5.TorchscriptWeightsDescr(
            source=folder / WEIGHTS, pytorch_version=version, parent="pytorch_state_dict"
        ),
    )


def _plain(value: Any) -> Any:
    """Return a value with plain lists and mappings, as YAML holds them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def readme_text(checkpoint: Checkpoint, about: About) -> str:
    """Return the package's documentation."""
    image = checkpoint.image
    spacing, classes = image.get("spacing_um"), describe_classes(class_names(image.get("heads")))
    lines = [
        f"# {about.name}",
        "",
        about.description or "A segmentation model.",
        "",
        f"- {describe(checkpoint.backbone)}, trained or imported with CytoLoop {__version__}",
        f"- voxel size of the training images (Z, Y, X): {spacing or 'unknown'} um",
        f"- normalization by the package's preprocessing: {image['normalization']}",
        *(
            [f"- classes; the most probable one above its threshold is taken: {classes}"]
            if classes
            else []
        ),
        f"- post-processing tuned in training: {image.get('tuned') or 'none'}",
        *(f"- {name}: {value:.4g}" for name, value in sorted(about.scores.items())),
        "",
        "Validation: compare its objects with labels of images that were not used for training.",
        "",
    ]
    return "\n".join(lines)


def _preprocessing(v0_5: Any, image: Mapping[str, Any]) -> list[Any]:
    """Return the preprocessing steps that are equal to the model's normalization."""
    rule = image["normalization"]
    axes = tuple(_axis_names(image))
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


def _class_heads(checkpoint: Checkpoint) -> list[str]:
    """Return the heads of the classes; they are valid identifiers for any class name."""
    return class_heads(class_names(checkpoint.image.get("heads")))


def _axis_names(image: Mapping[str, Any]) -> str:
    return "zyx"[-int(image["spatial_dims"]) :]


def _axis_scales(image: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return unit and voxel size of each axis, empty if the voxel size is unknown."""
    names, spacing = _axis_names(image), image.get("spacing_um")
    if not spacing:
        return [{} for _ in names]
    return [{"unit": "micrometer", "scale": float(s)} for s in list(spacing)[-len(names) :]]


def _input_axes(v0_5: Any, checkpoint: Checkpoint, any_size: bool) -> list[Any]:
    image = checkpoint.image
    channels = [f"channel{n}" for n in range(int(image["channels"]))]
    names, scales = _axis_names(image), _axis_scales(image)
    sides = [int(side) for side in image["patch_size"]]
    multiples = side_multiples(checkpoint) if any_size else sides
    axes: list[Any] = [v0_5.BatchAxis(), v0_5.ChannelAxis(channel_names=channels)]
    for name, side, multiple, scale in zip(names, sides, multiples, scales, strict=True):
        size = v0_5.ParameterizedSize(min=side, step=multiple) if any_size else side
        axes.append(v0_5.SpaceInputAxis(id=name, size=size, **scale))
    return axes


def _output_axes(v0_5: Any, checkpoint: Checkpoint, any_size: bool) -> list[Any]:
    image = checkpoint.image
    count = int(checkpoint.backbone.get("out_channels", 1))
    channels = ["foreground"] if count == 1 else [f"output{n}" for n in range(count)]
    channels = _class_heads(checkpoint) or channels
    names, scales = _axis_names(image), _axis_scales(image)
    axes: list[Any] = [v0_5.BatchAxis(), v0_5.ChannelAxis(channel_names=channels)]
    for name, side, scale in zip(names, image["patch_size"], scales, strict=True):
        size = v0_5.SizeReference(tensor_id="image", axis_id=name)
        halo = int(side) // _HALO
        if halo and any_size:
            axes.append(v0_5.SpaceOutputAxisWithHalo(id=name, size=size, halo=halo, **scale))
        else:
            axes.append(v0_5.SpaceOutputAxis(id=name, size=size, **scale))
    return axes
