"""The weights of a package that can be used, best first: a state dict, TorchScript, ONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cytoloop.errors import CytoloopError, ModelError
from cytoloop.extras import import_extra
from cytoloop.io.digest import file_hash
from cytoloop.model.architecture import build_architecture
from cytoloop.model.importers.bioimage.axes import ImageLayout
from cytoloop.model.importers.bioimage.description import local_file
from cytoloop.model.importers.bioimage.outputs import OutputMeaning
from cytoloop.model.importers.networks import NETWORKS
from cytoloop.model.importers.outputs import to_logits
from cytoloop.model.safe_load import check_weights, load_tensors
from cytoloop.model.trust import is_library, is_trusted, untrusted_error

_GRAPHS = "cytoloop.model.networks.graph"
_MAX_BYTES = 2 << 30
"""Largest graph; ONNX itself ends at 2 GiB."""
_UNSUPPORTED = ("keras_hdf5", "keras_v3", "tensorflow_js", "tensorflow_saved_model_bundle")


@dataclass(frozen=True)
class FoundWeights:
    """Weights of a package: their format, file hash, architecture and tensors."""

    form: str
    digest: str
    backbone: dict[str, Any]
    weights: dict[str, Tensor]


def read_weights(
    path: Path, described: Any, layout: ImageLayout, meaning: OutputMeaning, dtype: str
) -> tuple[FoundWeights, list[str]]:
    """Return the best weights that can be used, and why better ones cannot.

    Parameters
    ----------
    path : Path
        The description.
    described : WeightsDescr
    layout : ImageLayout
    meaning : OutputMeaning
    dtype : str
        Of the network's input.

    Raises
    ------
    ModelError
        No weights can be used; it lists the reason for each format.
    """
    readers: Mapping[str, Callable[..., FoundWeights]] = {
        "pytorch_state_dict": _state_dict,
        "torchscript": _graph,
        "onnx": _graph,
    }
    reasons: list[str] = []
    for form, read in readers.items():
        entry = getattr(described, form)
        if entry is None:
            continue
        try:
            return read(path, form, entry, layout, meaning, dtype), reasons
        except CytoloopError as error:
            reasons.append(f"{form}: {'; '.join(error.problems)}. {error.repair}".strip(" ."))
    reasons += [
        f"{form}: Keras and TensorFlow are not run here"
        for form in _UNSUPPORTED
        if getattr(described, form, None) is not None
    ]
    raise ModelError(
        str(path),
        ["none of its weights can be used", *(reasons or ["it has none"])],
        "Take a package with TorchScript or ONNX weights; the zoo's command `bioimageio` converts.",
    )


def _state_dict(
    path: Path, form: str, entry: Any, layout: ImageLayout, meaning: OutputMeaning, dtype: str
) -> FoundWeights:
    """Return the weights of a network of a known library or a trusted package."""
    architecture = entry.architecture
    where = f"{path}, {form}"
    if getattr(architecture, "source", None) is not None:
        raise ModelError(
            where,
            f"its network {architecture.callable} is Python code of the package, which is not run",
            "Take other weights, or install the code as a package and trust it.",
        )
    target = f"{architecture.import_from}.{architecture.callable}"
    kind = str(architecture.callable)
    if not is_library(target) and not is_trusted(target):
        raise untrusted_error(where, target, "a network of MONAI or torch")
    usual = "bc" + "zyx"[-layout.dims :]
    problems = []
    if (layout.axes, meaning.axes) != (usual, usual) or dtype != "float32":
        problems.append(f"takes {dtype} images of axes {layout.axes}, expected float32, {usual}")
    if meaning.activation not in ("logits", "softmax"):
        problems.append("its network returns probabilities, expected logits")
    if meaning.activation == "softmax" and kind not in NETWORKS:
        problems.append(f"a softmax after a {kind}, expected {', '.join(NETWORKS)}")
    if problems:
        raise ModelError(where, problems, "Take other weights of the package.")
    file = local_file(path, entry)
    content = load_tensors(file)
    state = content if isinstance(content, Mapping) else {}
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not state:
        raise ModelError(str(file), "holds no weights", "Take other weights of the package.")
    check_weights(file, state)
    backbone: dict[str, Any] = {"_target_": target, **_plain(architecture.kwargs)}
    weights = dict(state)
    if is_library(target):  # laid out without memory, so that wrong weights are refused here
        backbone = {
            **backbone,
            **_sizes(backbone, layout.dims, layout.channels, meaning.channels, target),
        }
    try:
        network = build_architecture(where, backbone, weights)
        network.load_state_dict(weights)
    except (RuntimeError, ValueError, TypeError, LookupError, AssertionError) as error:
        if isinstance(error, ModelError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise ModelError(where, f"weights and network do not fit: {reason}", "") from error
    if meaning.activation == "softmax":
        backbone, weights = to_logits(where, backbone, weights)
    named = {f"backbone.{name}": value for name, value in weights.items()}
    return FoundWeights(form, file_hash(file), backbone, named)


def _sizes(
    backbone: Mapping[str, Any], dims: int, channels: int, outputs: int, target: str
) -> dict[str, int]:
    """Return the sizes that a description leaves to the defaults of a class of MONAI."""
    if not target.startswith("monai."):
        return {}
    sizes = {"spatial_dims": dims, "in_channels": channels, "out_channels": outputs}
    return {name: size for name, size in sizes.items() if name not in backbone}


def _graph(
    path: Path, form: str, entry: Any, layout: ImageLayout, meaning: OutputMeaning, dtype: str
) -> FoundWeights:
    """Return a graph as the weight of a `GraphNetwork`."""
    file = local_file(path, entry)
    if (size := file.stat().st_size) > _MAX_BYTES:
        found = f"has {size} bytes, expected at most {_MAX_BYTES}"
        raise ModelError(str(file), found, "Take other weights of the package.")
    content = file.read_bytes()
    if form == "onnx" and entry.external_data is not None:
        content = _with_external_data(path, file, entry)
    lost = 1 if meaning.activation in ("softmax", "class_probabilities") else 0
    backbone: dict[str, Any] = {
        "_target_": f"{_GRAPHS}.{'OnnxNetwork' if form == 'onnx' else 'TorchScriptNetwork'}",
        "spatial_dims": layout.dims,
        "in_channels": layout.channels,
        "out_channels": meaning.channels - lost,
        "in_axes": layout.axes,
        "out_axes": meaning.axes,
        "activation": meaning.activation,
        "strides": [layout.multiples] if layout.multiples else None,
        "single": layout.single,
        "dtype": dtype,
    }
    graph = torch.from_numpy(np.frombuffer(content, np.uint8).copy())
    network = build_architecture(f"{path}, {form}", backbone, {"graph": graph})
    network.load_state_dict({"graph": graph})  # raises where the graph cannot be loaded
    return FoundWeights(form, file_hash(file), backbone, {"backbone.graph": graph})


def _with_external_data(path: Path, file: Path, entry: Any) -> bytes:
    """Return an ONNX file with the weights that lie in the file that its description names."""
    data = local_file(path, entry.external_data)
    (onnx,) = import_extra(str(file), "onnx", "onnx")
    model = onnx.load(str(file), load_external_data=False)
    named = {
        item.value
        for tensor in model.graph.initializer
        for item in tensor.external_data
        if item.key == "location"
    }
    if named - {data.name} or data.parent != file.parent:
        found = (
            f"has weights in {', '.join(sorted(named))[:120]}, its description names {data.name}"
        )
        raise ModelError(str(file), found, "Save the weights in one file.")
    if data.stat().st_size + file.stat().st_size > _MAX_BYTES:
        found = f"has more than {_MAX_BYTES} bytes with its weights"
        raise ModelError(str(file), found, "Take other weights of the package.")
    onnx.load_external_data_for_model(model, str(file.parent))
    return bytes(model.SerializeToString())


def _plain(value: Any) -> Any:
    """Return arguments of a network as plain values."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
