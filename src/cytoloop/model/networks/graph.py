"""Networks that are a graph of another program, TorchScript or ONNX: they only predict.

The graph is a weight, `graph`: the bytes of its file. A checkpoint holds it like any other weight.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cytoloop.errors import ModelError
from cytoloop.extras import import_extra
from cytoloop.model.networks.torchscript_check import check_torchscript

_EPSILON = 1e-6
"""Probabilities 0 and 1 become the logits of this value and of 1 minus it."""
ACTIVATIONS = ("logits", "probabilities", "softmax", "class_probabilities")
"""What a graph returns: logits; probabilities of a sigmoid; the input or the output of a softmax,
whose first class is the background."""


class GraphNetwork(nn.Module):
    """A graph with the axes, values and batches that our networks have.

    Parameters
    ----------
    spatial_dims, in_channels, out_channels : int
        Of the images and the logits that this network takes and returns.
    in_axes, out_axes : str
        Order of the graph's axes, letters of ``bczyx``. A graph without channels has no ``c``.
    activation : str
        One of `ACTIVATIONS`.
    strides : sequence of sequence of int, optional
        What the sides of an image must be multiples of: ``[[Z,] Y, X]`` in a list.
    single : bool
        The graph takes one image at a time.
    dtype : str
        Of the graph's input: float32 or float64.

    Raises
    ------
    ValueError
        An unknown activation or dtype, or other axes.
    """

    FREE_WEIGHTS: ClassVar[frozenset[str]] = frozenset({"graph"})
    """Weights whose shape the arguments do not decide."""

    graph: Tensor

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        in_axes: str = "",
        out_axes: str = "",
        activation: str = "logits",
        strides: Sequence[Sequence[int]] | None = None,
        single: bool = False,
        dtype: str = "float32",
    ) -> None:
        super().__init__()
        self.axes = "bc" + "zyx"[-spatial_dims:]
        self.in_axes, self.out_axes = in_axes or self.axes, out_axes or self.axes
        for axes in (self.in_axes, self.out_axes):
            if sorted(axes) not in (sorted(self.axes), sorted(self.axes.replace("c", ""))):
                raise ValueError(f"axes {axes!r}, expected those of {self.axes!r}")
        if activation not in ACTIVATIONS or dtype not in ("float32", "float64"):
            raise ValueError(f"activation {activation!r} or dtype {dtype!r} is unknown")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.activation, self.single = activation, single
        self.dtype = torch.float64 if dtype == "float64" else torch.float32
        self.register_buffer("graph", torch.zeros(0, dtype=torch.uint8))

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Take the graph, of any length, and load it.

        Raises
        ------
        RuntimeError
            The weights are not one graph.
        """
        found = state_dict.get("graph")
        if not isinstance(found, Tensor) or found.dtype != torch.uint8 or len(state_dict) != 1:
            raise RuntimeError(f"expected the weight 'graph', got {sorted(state_dict)[:4]}")
        self.graph = found.flatten()
        self.open_graph(found.numpy().tobytes())
        return super().load_state_dict({"graph": self.graph}, strict=False, assign=True)

    def open_graph(self, content: bytes) -> None:
        """Load the graph from the bytes of its file."""
        raise NotImplementedError

    def run_graph(self, image: Tensor) -> Tensor:
        """Return the graph's output, both in the graph's order of axes."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, K, [Z,] Y, X) of an image (B, C, [Z,] Y, X), float32."""
        if not len(self.graph):
            raise RuntimeError("the graph is not loaded")
        with torch.autocast(image.device.type, enabled=False):
            parts = image.to(self.dtype).split(1) if self.single else [image.to(self.dtype)]
            found = [self._from_graph(self.run_graph(self._to_graph(part))) for part in parts]
            outputs = found[0] if len(found) == 1 else torch.cat(found)
            if outputs.shape[0] != image.shape[0] or outputs.shape[2:] != image.shape[2:]:
                raise ModelError(
                    "the model's graph",
                    f"returns {tuple(outputs.shape)} for images {tuple(image.shape)}",
                    "Only models whose output has the size of their input are run.",
                )
            return self._to_logits(outputs.float())

    def _to_graph(self, image: Tensor) -> Tensor:
        """Return an image in the graph's order of axes."""
        here = self.axes
        if "c" not in self.in_axes:
            image, here = image[:, 0], here.replace("c", "")
        return image.permute([here.index(axis) for axis in self.in_axes]).contiguous()

    def _from_graph(self, output: Tensor) -> Tensor:
        """Return an output in our order of axes."""
        here = self.out_axes
        if output.ndim != len(here):
            raise ModelError(
                "the model's graph",
                f"returns {output.ndim} axes, its description states {here}",
                "The package is damaged, or its description is wrong.",
            )
        if "c" not in here:
            output, here = output.unsqueeze(0), "c" + here
        return output.permute([here.index(axis) for axis in self.axes])

    def _to_logits(self, outputs: Tensor) -> Tensor:
        """Return the logits of outputs (B, K, ...); a softmax loses its background."""
        if self.activation == "softmax":
            return outputs[:, 1:] - outputs[:, :1]
        if self.activation == "class_probabilities":
            logs = outputs.clamp(_EPSILON, 1).log()
            return logs[:, 1:] - logs[:, :1]
        if self.activation == "probabilities":
            return outputs.clamp(_EPSILON, 1 - _EPSILON).logit()
        return outputs


class TorchScriptNetwork(GraphNetwork):
    """A TorchScript graph; torch's interpreter runs it, not Python."""

    def open_graph(self, content: bytes) -> None:
        """Load the graph from the bytes of its file.

        Raises
        ------
        ModelError
            The file is damaged, or names operations on files.
        """
        check_torchscript("the model's TorchScript", content)
        try:
            self.script = torch.jit.load(io.BytesIO(content), map_location="cpu").eval()
        except (RuntimeError, ValueError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise ModelError(
                "the model's TorchScript",
                f"cannot be loaded: {reason}",
                "Copy the file again, or take other weights of the package.",
            ) from error

    def run_graph(self, image: Tensor) -> Tensor:
        """Return the graph's (first) output."""
        output = self.script(image)
        return output[0] if isinstance(output, (tuple, list)) else output


class OnnxNetwork(GraphNetwork):
    """An ONNX graph, run on the CPU by onnxruntime (extra ``onnx``)."""

    def open_graph(self, content: bytes) -> None:
        """Load the graph from the bytes of its file.

        Raises
        ------
        ModelError
            The file is damaged, needs other files, or has several inputs.
        """
        where, repair = "the model's ONNX", "Copy the file again, or take other weights."
        onnx, runtime = import_extra(where, "onnx", "onnx", "onnxruntime")
        try:
            model = onnx.load_model_from_string(content)
        except Exception as error:  # protobuf has errors of its own
            raise ModelError(where, f"cannot be read: {error}"[:300], repair) from error
        outside = [one.name for one in model.graph.initializer if one.external_data]
        if outside:
            raise ModelError(
                where,
                f"has {len(outside)} weights in other files",
                "Save it in one file: onnx.save(model, path, save_as_external_data=False).",
            )
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        try:
            self.session = runtime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has errors of its own
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise ModelError(where, f"cannot be loaded: {reason}", repair) from error
        inputs = [one.name for one in self.session.get_inputs()]
        if len(inputs) != 1:
            raise ModelError(where, f"has {len(inputs)} inputs, expected one image", repair)

    def run_graph(self, image: Tensor) -> Tensor:
        """Return the graph's first output, on the device of the image."""
        name = self.session.get_inputs()[0].name
        found = self.session.run(None, {name: image.cpu().numpy()})[0]
        return torch.from_numpy(found).to(image.device)
