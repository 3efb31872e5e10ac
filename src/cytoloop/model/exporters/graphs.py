"""Graphs that run without the Python they were made of: ONNX, TorchScript, ExportedProgram.

They give logits. Batch and sides are free where the network's are.
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
from cytoloop.model.checkpoint import Checkpoint, build_network
from cytoloop.model.exporters.metadata import About, need, write_image
from cytoloop.model.exporters.parity import check_same, probes, steps

TORCHSCRIPT, PROGRAM, ONNX = "model.ts.pt", "model.pt2", "model.onnx"


def write_torchscript(checkpoint: Checkpoint, folder: Path, about: About) -> float:
    """Write ``model.ts.pt``, for `torch.jit.load` in Python, C++ and Java."""
    network, images = _prepared(checkpoint, folder)
    path = folder / TORCHSCRIPT
    trace(network, images[0], path)
    return check_same(path.name, images, network, torch.jit.load(path))


def trace(network: nn.Module, image: Tensor, path: Path) -> None:
    """Record what a network does and write it.

    Raises
    ------
    ModelError
        torch cannot record it.
    """
    with _recording(path.name), torch.no_grad():
        torch.jit.save(torch.jit.trace(network, image, check_trace=False), path)


def write_program(checkpoint: Checkpoint, folder: Path, about: About) -> float:
    """Write ``model.pt2``, for `torch.export.load`."""
    network, images = _prepared(checkpoint, folder)
    path = folder / PROGRAM
    with _recording(path.name):
        program = torch.export.export(network, (images[0],), dynamic_shapes=_free(images))
        torch.export.save(program, path)
        loaded = torch.export.load(path).module()
    return check_same(path.name, images, network, loaded)


def write_onnx(checkpoint: Checkpoint, folder: Path, about: About) -> float:
    """Write ``model.onnx``."""
    runtime, *_ = need("onnx", "onnx", "onnxruntime", "onnx", "onnxscript")
    network, images = _prepared(checkpoint, folder)
    path = folder / ONNX
    with _recording(path.name):
        torch.onnx.export(
            network,
            (images[0],),
            path,
            dynamo=True,
            dynamic_shapes=_free(images),
            input_names=["image"],
            output_names=["logits"],
            external_data=False,
            verbose=False,
        )
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(image: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"image": image.numpy()})[0])

    return check_same(path.name, images, network, run)


def _prepared(checkpoint: Checkpoint, folder: Path) -> tuple[nn.Module, list[Tensor]]:
    """Return the network and images for it; tell beside the graph what it takes."""
    network = build_network(checkpoint).requires_grad_(False)
    images = probes(checkpoint, network)
    if _is_free(images):
        shape: dict[str, Any] = {"sides_multiples_of": steps(checkpoint.backbone)}
    else:
        shape = {"shape": list(images[0].shape)}
    write_image(checkpoint, folder, **shape)
    return network, images


def _is_free(images: list[Tensor]) -> bool:
    return len(images) > 1


def _free(images: list[Tensor]) -> Any:
    """Return which axes of the image may have any length, as `torch.export` wants it."""
    if not _is_free(images):
        return None
    axes = (0, *range(2, images[0].ndim))
    return (dict.fromkeys(axes, torch.export.Dim.DYNAMIC),)


@contextmanager
def _recording(name: str) -> Iterator[None]:
    """Keep torch's advice off the terminal; name what it cannot record.

    Raises
    ------
    ModelError
    """
    talker = logging.getLogger("torch.onnx")
    former = talker.level
    talker.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # torch has no family of its own for these
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(
            name, f"torch cannot write this network so: {reason}", "Take another format=."
        ) from error
    finally:
        talker.setLevel(former)
