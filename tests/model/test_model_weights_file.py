"""Weights as safetensors with settings beside them: read as data, refused where damaged."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cytoloop.errors import ModelError
from cytoloop.model.checkpoint import build_network, read_checkpoint
from cytoloop.model.convert import converted_checkpoint
from cytoloop.model.weights_file import WeightsFile, read_weights_file, write_weights_file


@pytest.fixture
def weights_file(tmp_path: Path, make_model: Callable) -> Path:
    """Weights of a tiny model, with their settings."""
    one = read_checkpoint(make_model(ndim=2))
    path = tmp_path / "tiny.safetensors"
    write_weights_file(path, WeightsFile(one.weights, one.backbone, one.image, one.epoch, one.step))
    return path


def test_a_weights_file_is_a_checkpoint_in_half_precision(
    weights_file: Path, make_model: Callable
) -> None:
    original, read = read_checkpoint(make_model(ndim=2)), read_checkpoint(weights_file)
    assert read.backbone == original.backbone
    assert read.image == original.image
    for name, value in original.weights.items():
        assert read.weights[name].dtype == value.dtype
        torch.testing.assert_close(read.weights[name], value, rtol=1e-3, atol=1e-3)
    assert all(v.dtype != torch.float32 for v in load_file(weights_file).values())
    build_network(read)
    with converted_checkpoint(weights_file) as file:
        assert read_checkpoint(file).weights.keys() == read.weights.keys()


def test_other_settings_make_another_model(weights_file: Path) -> None:
    before = read_checkpoint(weights_file).sha256
    settings = json.loads(weights_file.with_suffix(".json").read_text())
    settings["image"]["tuned"] = {"threshold": 0.3}
    weights_file.with_suffix(".json").write_text(json.dumps(settings))
    assert read_checkpoint(weights_file).sha256 != before


@pytest.mark.parametrize("cut", [0, 4, 100, -1])
def test_a_file_that_is_cut_off_is_refused(weights_file: Path, cut: int) -> None:
    content = weights_file.read_bytes()
    weights_file.write_bytes(content[:cut])
    with pytest.raises(ModelError, match="damaged or cut off"):
        read_checkpoint(weights_file)


def test_a_header_that_lies_is_refused(weights_file: Path) -> None:
    content = weights_file.read_bytes()
    for header in (b"x" * 8, struct.pack("<Q", 2**60), struct.pack("<Q", 5)):
        weights_file.write_bytes(header + content[8:])
        with pytest.raises(ModelError, match="damaged or cut off"):
            read_checkpoint(weights_file)
    lie = {"a": {"dtype": "F32", "shape": [2**30, 2**20], "data_offsets": [0, 4]}}
    text = json.dumps(lie).encode()
    weights_file.write_bytes(struct.pack("<Q", len(text)) + text + b"0000")
    with pytest.raises(ModelError, match="damaged or cut off"):
        read_checkpoint(weights_file)


def test_a_pickle_with_this_suffix_is_refused(weights_file: Path) -> None:
    torch.save({"state_dict": {}}, weights_file)
    with pytest.raises(ModelError, match="damaged or cut off"):
        read_checkpoint(weights_file)


def test_weights_that_are_no_numbers_are_refused(weights_file: Path) -> None:
    weights = load_file(weights_file)
    name = next(k for k, v in weights.items() if v.is_floating_point())
    weights[name] = torch.full_like(weights[name], float("nan"))
    save_file(weights, weights_file)
    with pytest.raises(ModelError, match="NaN or infinite"):
        read_checkpoint(weights_file)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"backbone": None}, "lacks a part of a model: backbone"),
        ({"backbone": {"_target_": "os.system"}}, "os.system"),
        ({"image": {"spatial_dims": 7}}, "spatial_dims is 7"),
        ({"aliases": {"a": "none"}}, "aliases name tensors that the weights do not have"),
        ({"aliases": 3}, "aliases name tensors that the weights do not have"),
    ],
)
def test_settings_that_are_wrong_are_refused(
    weights_file: Path, change: dict[str, object], match: str
) -> None:
    path = weights_file.with_suffix(".json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError, match=match):
        build_network(read_checkpoint(weights_file))


def test_missing_settings_and_weights_too_large_for_a_half_are_refused(weights_file: Path) -> None:
    model = read_weights_file(weights_file)
    name = next(k for k, v in model.weights.items() if v.is_floating_point())
    model.weights[name].fill_(1e6)
    with pytest.raises(ModelError, match="too large for half precision"):
        write_weights_file(weights_file.with_name("other.safetensors"), model)
    weights_file.with_suffix(".json").unlink()
    with pytest.raises(ModelError, match=r"settings are missing: tiny\.json"):
        read_checkpoint(weights_file)
    with pytest.raises(ModelError, match="no such file"):
        read_checkpoint(weights_file.with_name("none.safetensors"))
