"""Exporters of graphs that run without Python code: ONNX, TorchScript and ExportedProgram.

The graphs return logits. Batch size and sides of images are free if the network accepts them.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cytoloop.errors import ModelError
from cytoloop.extras import import_extra
from cytoloop.model.checkpoint import Checkpoint, build_network
from cytoloop.model.exporters.metadata import About, write_metadata
from cytoloop.model.exporters.parity import check_parity, probe_images, side_multiples

_TORCHSCRIPT, _PROGRAM, _ONNX = "model.ts.pt", "model.pt2", "model.onnx"


def write_torchscript(checkpoint: Checkpoint, folder: Path, about: About) -> float:
    """Write ``model.ts.pt``, for `torch.jit.load` in Python, C++ and Java.

    Like all exporters, return the largest difference of its logits from those of the checkpoint.
    """
    network, images = _prepare(checkpoint, folder)
    path = folder / _TORCHSCRIPT
    trace(network, images[0], path)
    return check_parity(path.name, images, network, torch.jit.load(path))


def trace(network: nn.Module, image: Tensor, path: Path) -> None:
    """Trace a network with an image (B, C, [Z,] Y, X), and write it as TorchScript.

    Raises
    ------
    ModelError
        torch cannot trace the network.
    """
    with _quiet_torch(path.name), torch.no_grad():
        torch.jit.save(torch.jit.trace(network, image, check_trace=False), path)


def write_program(checkpoint: Checkpoint, folder: Path, about: About) -> float:
    """Write ``model.pt2``, for `torch.export.load`."""
    network, images = _prepare(checkpoint, folder)
    path = folder / _PROGRAM
    with _quiet_torch(path.name):
        program = torch.export.export(network, (images[0],), dynamic_shapes=_free_axes(images))
        torch.export.save(program, path)
        loaded = torch.export.load(path).module()
    return check_parity(path.name, images, network, loaded)


def write_onnx(checkpoint: Checkpoint, folder: Path, about: About) -> float:
    """Write ``model.onnx``."""
    runtime, *_ = import_extra("format=onnx", "onnx", "onnxruntime", "onnx", "onnxscript")
    network, images = _prepare(checkpoint, folder)
    path = folder / _ONNX
    with _quiet_torch(path.name):
        torch.onnx.export(
            network,
            (images[0],),
            path,
            dynamo=True,
            dynamic_shapes=_free_axes(images),
            input_names=["image"],
            output_names=["logits"],
            external_data=False,
            verbose=False,
        )
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(image: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"image": image.numpy()})[0])

    return check_parity(path.name, images, network, run)


def _prepare(checkpoint: Checkpoint, folder: Path) -> tuple[nn.Module, list[Tensor]]:
    """Return the network and probe images, and write the graph's metadata."""
    network = build_network(checkpoint).requires_grad_(False)
    images = probe_images(checkpoint, network)
    if _accepts_other_sizes(images):
        shape: dict[str, Any] = {"sides_multiples_of": side_multiples(checkpoint)}
    else:
        shape = {"shape": list(images[0].shape)}
    write_metadata(checkpoint, folder, **shape)
    return network, images


def _accepts_other_sizes(images: list[Tensor]) -> bool:
    """Return whether the probe images contain a second size."""
    return len(images) > 1


def _free_axes(images: list[Tensor]) -> Any:
    """Return the axes of free length, as `dynamic_shapes` of `torch.export`."""
    if not _accepts_other_sizes(images):
        return None
    axes = (0, *range(2, images[0].ndim))
    return (dict.fromkeys(axes, torch.export.Dim.DYNAMIC),)


@contextmanager
def _quiet_torch(name: str) -> Iterator[None]:
    """Silence torch's warnings in the block, and turn its errors into a ModelError for `name`."""
    logger = logging.getLogger("torch.onnx")
    former = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # torch raises many types here
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(
            name, f"torch cannot write this network: {reason}", "Take another format=."
        ) from error
    finally:
        logger.setLevel(former)
