"""Packages of the BioImage Model Zoo: predicted as their test says, or refused with the reason."""

from __future__ import annotations

import hashlib
import logging
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from cytoloop.errors import ModelError
from cytoloop.inference.predict_array import predict_array
from cytoloop.inference.windows.predictor import Predictor
from cytoloop.model.checkpoint import build_network, read_checkpoint
from cytoloop.model.convert import converted_checkpoint
from cytoloop.model.exporters import About, export_model
from cytoloop.model.transfer import require_weights
from cytoloop.model.trust import VARIABLE, trusting
from cytoloop.tracking.checkpoints import locate_checkpoint
from cytoloop.training.callbacks.warm_start import WarmStart

pytest.importorskip("bioimageio.spec", reason="the extra bioimageio is not installed")

Values = dict[str, Any]
SPACE = [{"type": "space", "id": axis, "size": {"min": 16, "step": 8}} for axis in "zyx"]
GREY = np.random.default_rng(0).normal(500, 100, (1, 1, 32, 40)).astype(np.float32)


class Net(nn.Module):
    """A convolution whose result is turned into what a package returns."""

    def __init__(self, channels: int = 1, outputs: int = 1, ndim: int = 2, end: str = "") -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = (nn.Conv2d if ndim == 2 else nn.Conv3d)(channels, outputs, 3, padding=1)
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.end == "sigmoid":
            return torch.sigmoid(y)
        return torch.softmax(y, 1) if self.end == "softmax" else y


class ChannelsLast(Net):
    """The same for images (B, Y, X, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Framed(Net):
    """A network whose output is wrong within 4 voxels of the side of a window."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        frame = torch.ones_like(y)
        frame[:, :, 4:-4, 4:-4] = 0
        return torch.sigmoid(y + 100 * frame)


def axes_of(kinds: str, channels: Sequence[str], space: list[Values] | None = None) -> list[Values]:
    """Return the axes of a tensor: letters of bczyx."""
    known: dict[str, Values] = {
        "b": {"type": "batch"},
        "c": {"type": "channel", "channel_names": list(channels)},
        **{axis["id"]: axis for axis in space or SPACE},
    }
    return [known[kind] for kind in kinds]


def reference(kinds: str, channels: Sequence[str], halo: int = 0) -> list[Values]:
    """Return the axes of an output of the size of the input."""
    size = {
        axis: {"size": {"tensor_id": "raw", "axis_id": axis}, "type": "space", "id": axis}
        for axis in "zyx"
    }
    for axis in size.values():
        axis |= {"halo": halo} if halo else {}
    return axes_of(kinds, channels, list(size.values()))


def with_units(axes: list[Values], space: list[Values]) -> list[Values]:
    """Return the axes of an output with scale and unit of the input's axes."""
    known = {axis["id"]: {key: axis[key] for key in ("scale", "unit")} for axis in space}
    return [{**axis, **known.get(axis.get("id", ""), {})} for axis in axes]


@pytest.fixture
def package(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a package (spec 0.5), and returns its folder."""

    def write(
        network: nn.Module | None,
        grey: np.ndarray = GREY,
        expected: np.ndarray | None = None,
        preprocessing: list[Values] | None = None,
        postprocessing: list[Values] | None = None,
        **changes: Any,
    ) -> Path:
        folder = tmp_path / "package"
        folder.mkdir()
        letters = "bcyx" if grey.ndim == 4 else "bczyx"
        inputs = {
            "id": "raw",
            "axes": axes_of(letters, ["channel0"]),
            "test_tensor": {"source": "in.npy"},
            "data": {"type": "float32"},
            "preprocessing": preprocessing or [],
            **changes.pop("input", {}),
        }
        outputs = {
            "id": "out",
            "axes": reference(letters, ["channel0"]),
            "test_tensor": {"source": "out.npy"},
            "postprocessing": postprocessing or [],
            **changes.pop("output", {}),
        }
        weights = changes.pop("weights", {})
        if network is not None:
            example = torch.from_numpy(grey)
            torch.jit.trace(network.eval(), example, check_trace=False).save(folder / "net.pt")
            weights["torchscript"] = {"source": "net.pt", "pytorch_version": "2.0.0"}
        content = {
            "format_version": "0.5.3",
            "type": "model",
            "name": "tested",
            "description": "a test",
            "authors": [{"name": "A. Person"}],
            "cite": [{"text": "none", "doi": "10.1234/abc"}],
            "license": "MIT",
            "documentation": "README.md",
            "inputs": [inputs],
            "outputs": [outputs],
            "weights": weights,
            **changes,
        }
        (folder / "README.md").write_text("# Validation\n")
        (folder / "rdf.yaml").write_text(yaml.safe_dump(content))
        np.save(folder / "in.npy", grey)
        if expected is None and network is not None:
            np.save(folder / "out.npy", grey)  # replaced
            expected = reference_output(folder)
        np.save(folder / "out.npy", GREY if expected is None else expected)
        return folder

    return write


def reference_output(folder: Path) -> np.ndarray:
    """Return the output of the zoo's own runner for the test input."""
    core = pytest.importorskip("bioimageio.core", reason="the extra bioimageio is not installed")
    from bioimageio.core.digest_spec import get_test_input_sample
    from bioimageio.spec import load_model_description

    model = load_model_description(folder / "rdf.yaml", perform_io_checks=False)
    with core.create_prediction_pipeline(model, devices=["cpu"]) as pipeline:
        sample = get_test_input_sample(model)
        given = pipeline.predict_sample_without_blocking(
            sample, skip_input_padding=True, skip_output_cropping=True
        )
    return np.asarray(next(iter(given.members.values())).data)


def step(name: str, **kwargs: Any) -> Values:
    return {"id": name, **({"kwargs": kwargs} if kwargs else {})}


SIGMOID = [step("sigmoid")]
XY = ["x", "y"]
PREPROCESSING = {
    "none": ([step("scale_linear", gain=0.01, offset=-5.0)], "range"),
    "zscore": ([step("zero_mean_unit_variance", axes=XY)], "zscore"),
    "zscore of all channels": (
        [step("zero_mean_unit_variance", axes=["channel", *XY])],
        "zscore",
    ),
    "wide eps": ([step("zero_mean_unit_variance", axes=XY, eps=0.1)], "steps"),
    "percentile": (
        [step("scale_range", axes=XY, min_percentile=1.0, max_percentile=99.0)],
        "percentile",
    ),
    "minmax": ([step("scale_range", axes=XY)], "minmax"),
    "fixed": ([step("fixed_zero_mean_unit_variance", mean=500.0, std=90.0)], "range"),
    "fixed of a channel": (
        [step("fixed_zero_mean_unit_variance", axis="channel", mean=[500.0], std=[90.0])],
        "range",
    ),
    "negative gain": ([step("scale_linear", gain=-0.01, offset=2.0)], "steps"),
    "clip": (
        [step("clip", min=420.0, max=600.0), step("zero_mean_unit_variance", axes=XY)],
        "steps",
    ),
    "clip percentiles": (
        [
            step("clip", min_percentile=5.0, max_percentile=95.0, axes=XY),
            step("scale_range", axes=XY),
            step("scale_linear", gain=-2.0, offset=1.0),
            step("clip", min=-0.8, max=0.9),
        ],
        "steps",
    ),
}


@pytest.mark.parametrize("name", PREPROCESSING)
def test_preprocessing_is_that_of_the_zoos_runner(package: Callable, name: str) -> None:
    steps, method = PREPROCESSING[name]
    checkpoint = read_checkpoint(package(Net(), preprocessing=steps, postprocessing=SIGMOID))
    assert checkpoint.image["normalization"]["method"] == method


def test_statistics_of_all_channels_together(package: Callable, tmp_path: Path) -> None:
    grey = np.concatenate([GREY, 3 * GREY + 7], axis=1)
    axes = {"axes": axes_of("bcyx", ["dapi", "gfp"])}
    steps = [step("zero_mean_unit_variance", axes=["channel", *XY])]
    folder = package(Net(2), grey, preprocessing=steps, postprocessing=SIGMOID, input=axes)
    image = read_checkpoint(folder).image
    assert image["channels"] == 2 and image["channel_names"] == ["dapi", "gfp"]
    assert image["normalization"]["steps"][0]["joint"] is True


@pytest.mark.parametrize(
    ("post", "end", "outputs", "heads"),
    [
        (SIGMOID, "", 1, None),
        ([], "sigmoid", 1, None),
        ([step("softmax")], "", 2, None),
        ([], "softmax", 2, None),
        ([step("softmax")], "", 3, ["class_c1", "class_c2"]),
        ([], "softmax", 3, ["class_c1", "class_c2"]),
        ([], "sigmoid", 2, ["class_c1", "class_c2"]),
    ],
)
def test_outputs_are_probabilities(
    package: Callable, post: list[Values], end: str, outputs: int, heads: Any
) -> None:
    names = [f"channel{n}" for n in range(outputs)]
    zscore = [step("zero_mean_unit_variance", axes=XY)]
    checkpoint = read_checkpoint(
        package(
            Net(1, outputs, 2, end),
            preprocessing=zscore,
            postprocessing=post,
            output={"axes": reference("bcyx", names)},
        )
    )
    assert checkpoint.image.get("heads") == heads


def test_names_of_channels_are_heads(package: Callable) -> None:
    axes = {"axes": reference("bcyx", ["foreground", "boundary"])}
    found = read_checkpoint(package(Net(1, 2), postprocessing=SIGMOID, output=axes))
    assert found.image["heads"] == ["foreground", "contour"]


def test_binarization_is_a_threshold(package: Callable) -> None:
    steps = [*SIGMOID, step("binarize", threshold=0.7)]
    zscore = [step("zero_mean_unit_variance", axes=XY)]
    found = read_checkpoint(package(Net(), preprocessing=zscore, postprocessing=steps))
    assert found.image["tuned"] == {"threshold": 0.7}


REFUSED = {
    "meaning": ({}, "values .* are neither probabilities nor followed by sigmoid"),
    "postprocessing": (
        {"postprocessing": [step("scale_linear", gain=2.0)]},
        "postprocessing scale_linear: is not done here",
    ),
    "preprocessing": (
        {
            "preprocessing": [
                step("binarize", threshold=3.0),
                step("ensure_dtype", dtype="float32"),
            ],
            "postprocessing": SIGMOID,
        },
        "preprocessing binarize: is not done here",
    ),
    "each row": (
        {"preprocessing": [step("zero_mean_unit_variance", axes=["x"])], "postprocessing": SIGMOID},
        "measures each place along y separately",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_honoured_is_refused_in_words(package: Callable, name: str) -> None:
    changes, message = REFUSED[name]
    with pytest.raises(ModelError, match=message):
        read_checkpoint(package(Net(), **changes))


def test_axes_of_any_order_and_a_fixed_size(package: Callable) -> None:
    space = [{"type": "space", "id": axis, "size": n} for axis, n in (("y", 32), ("x", 40))]
    grey = GREY.transpose(0, 2, 3, 1)
    folder = package(
        ChannelsLast(end="sigmoid"),
        grey,
        preprocessing=[step("scale_linear", gain=0.01)],
        input={"axes": axes_of("byxc", ["channel0"], space)},
        output={"axes": axes_of("byxc", ["channel0"], space)},
    )
    checkpoint = read_checkpoint(folder)
    assert checkpoint.image["window"] == "patch" and checkpoint.image["patch_size"] == [32, 40]
    large = np.pad(GREY[0, 0], ((10, 20), (30, 11)), mode="symmetric")
    assert Predictor([checkpoint]).layout(large.shape).size == (32, 40)
    found = predict_array(large, [folder]).probability
    with torch.inference_mode():
        expected = Net()(torch.from_numpy(large)[None, None] * 0.01).sigmoid()[0, 0].numpy()
    inner = slice(1, -1)
    assert np.abs(found - expected)[inner, inner].max() < 0.3  # windows differ at their sides
    np.testing.assert_allclose(np.median(np.abs(found - expected)), 0, atol=0.005)


def test_three_dimensions_voxel_size_and_float64(package: Callable) -> None:
    sizes = {"z": 2.0, "y": 0.0005, "x": 0.0005}
    units = {"z": "micrometer", "y": "millimeter", "x": "millimeter"}
    space = [{**axis, "scale": sizes[axis["id"]], "unit": units[axis["id"]]} for axis in SPACE]
    grey = np.random.default_rng(0).normal(0, 1, (1, 1, 16, 16, 24))
    folder = package(
        Net(ndim=3).double(),
        grey,
        postprocessing=SIGMOID,
        input={"axes": axes_of("bczyx", ["channel0"], space), "data": {"type": "float64"}},
        output={"axes": with_units(reference("bczyx", ["channel0"]), space)},
    )
    checkpoint = read_checkpoint(folder)
    assert checkpoint.image["spacing_um"] == [2.0, 0.5, 0.5]
    assert checkpoint.backbone["dtype"] == "float64"


@pytest.mark.parametrize("window", ["auto", "patch"])
def test_halo_is_not_used(package: Callable, window: str) -> None:
    """Within 4 voxels of the side of a window this network returns 1."""
    scale = [step("scale_linear", gain=0.01, offset=-5.0)]
    folder = package(
        Framed(), preprocessing=scale, output={"axes": reference("bcyx", ["channel0"], 4)}
    )
    image = np.random.default_rng(1).normal(500, 100, (90, 77)).astype(np.float32)
    found = predict_array(image, [folder], window=window).probability
    padded = np.pad(image, 8, mode="symmetric") * 0.01 - 5
    with torch.inference_mode():
        expected = Net()(torch.from_numpy(padded)[None, None].float()).sigmoid()
    np.testing.assert_allclose(found, expected[0, 0, 8:-8, 8:-8].numpy(), atol=0.01)


def test_onnx(package: Callable, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    network = Net().eval()
    zscore = [step("zero_mean_unit_variance", axes=XY)]
    folder = package(network, preprocessing=zscore, postprocessing=SIGMOID)
    make_onnx(onnx, network, folder / "net.onnx")
    content = yaml.safe_load((folder / "rdf.yaml").read_text())
    content["weights"] = {"onnx": {"source": "net.onnx", "opset_version": 17}}
    (folder / "rdf.yaml").write_text(yaml.safe_dump(content))
    checkpoint = read_checkpoint(folder)
    found = predict_array(GREY[0, 0], [folder]).probability
    np.testing.assert_allclose(found, np.load(folder / "out.npy")[0, 0], atol=0.01)
    with pytest.raises(ModelError, match="Onnx graph, which predicts and cannot be trained"):
        require_weights("model", checkpoint.backbone)
    # weights in another file are read from the folder of the package only
    model = onnx.load(folder / "net.onnx")
    onnx.save(
        model, folder / "net.onnx", save_as_external_data=True, location="w.data", size_threshold=0
    )
    with pytest.raises(ModelError, match="weights in other files"):
        read_checkpoint(folder)
    data = {"source": "w.data"}
    content["weights"]["onnx"] |= {"external_data": data}
    (folder / "rdf.yaml").write_text(yaml.safe_dump(content))
    assert "cytoloop" in read_checkpoint(folder).backbone["_target_"]


def make_onnx(onnx: Any, network: Net, path: Path) -> None:
    """Write the convolution of a network as ONNX, without torch's exporter."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weight, bias = (p.detach().numpy() for p in (network.conv.weight, network.conv.bias))
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], pads=[1, 1, 1, 1])
    graph = helper.make_graph(
        [node],
        "net",
        [helper.make_tensor_value_info("x", kind, ["n", 1, "y", "x"])],
        [helper.make_tensor_value_info("y", kind, ["n", 1, "y", "x"])],
        [onnx.numpy_helper.from_array(weight, "w"), onnx.numpy_helper.from_array(bias, "b")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path
    )


def test_spec_0_4(package: Callable) -> None:
    zscore = [step("zero_mean_unit_variance", axes=XY)]
    folder = package(Net(), preprocessing=zscore, postprocessing=SIGMOID)
    content = {
        "format_version": "0.4.10",
        "type": "model",
        "name": "older",
        "description": "an older one",
        "authors": [{"name": "A. Person"}],
        "cite": [{"text": "none", "doi": "10.1234/abc"}],
        "license": "MIT",
        "documentation": "README.md",
        "timestamp": "2022-01-01T00:00:00",
        "inputs": [
            {
                "name": "raw",
                "axes": "bcyx",
                "shape": {"min": [1, 1, 16, 16], "step": [0, 0, 8, 8]},
                "data_type": "float32",
                "preprocessing": [
                    {
                        "name": "zero_mean_unit_variance",
                        "kwargs": {"mode": "per_sample", "axes": "yx"},
                    }
                ],
            }
        ],
        "outputs": [
            {
                "name": "out",
                "axes": "bcyx",
                "data_type": "float32",
                "halo": [0, 0, 4, 4],
                "shape": {
                    "reference_tensor": "raw",
                    "scale": [1.0, 1.0, 1.0, 1.0],
                    "offset": [0.0, 0.0, 0.0, 0.0],
                },
                "postprocessing": [{"name": "sigmoid"}],
            }
        ],
        "test_inputs": ["in.npy"],
        "test_outputs": ["out.npy"],
        "weights": {"torchscript": {"source": "net.pt", "pytorch_version": "1.10"}},
    }
    (folder / "rdf.yaml").write_text(yaml.safe_dump(content))
    checkpoint = read_checkpoint(folder)
    assert checkpoint.image["normalization"] == {"method": "zscore"}
    assert checkpoint.image["halo"] == [4, 4] and checkpoint.backbone["strides"] == [[8, 8]]


UNET = {
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 2,
    "channels": [4, 8],
    "strides": [2],
}


def state_dict_package(package: Callable, source: Values, network: nn.Module) -> Path:
    """Return a package with a state dict, whose network is described as in `source`."""
    folder: Path = package(
        network,
        preprocessing=[step("zero_mean_unit_variance", axes=XY)],
        postprocessing=[step("softmax")],
        output={"axes": reference("bcyx", ["background", "nuclei"])},
    )
    torch.save(network.state_dict(), folder / "weights.pth")
    content = yaml.safe_load((folder / "rdf.yaml").read_text())
    entry = {"source": "weights.pth", "pytorch_version": "2.0.0", "architecture": source}
    content["weights"] = {"pytorch_state_dict": entry}
    (folder / "rdf.yaml").write_text(yaml.safe_dump(content))
    return folder


def test_state_dict_of_a_network_of_monai(package: Callable) -> None:
    from monai.networks.nets import UNet

    network = UNet(**UNET).eval()
    source = {"callable": "UNet", "import_from": "monai.networks.nets", "kwargs": UNET}
    checkpoint = read_checkpoint(state_dict_package(package, source, network))
    assert checkpoint.backbone["out_channels"] == 1  # the logit of the softmax
    require_weights("model", checkpoint.backbone)


def test_network_of_a_trusted_package_is_built(
    package: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = f"lab_{tmp_path.name}"
    (tmp_path / lab).mkdir()
    (tmp_path / lab / "__init__.py").write_text(
        "from torch import nn\n\nclass Net(nn.Module):\n    def __init__(self, features):\n"
        "        super().__init__()\n        self.conv = nn.Conv2d(features, 1, 3, padding=1)\n\n"
        "    def forward(self, x):\n        return self.conv(x)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    folder: Path = package(Net().eval(), postprocessing=[step("sigmoid")])
    torch.save(Net().state_dict(), folder / "weights.pth")
    content = yaml.safe_load((folder / "rdf.yaml").read_text())
    source = {"callable": "Net", "import_from": lab, "kwargs": {"features": 1}}
    entry = {"source": "weights.pth", "pytorch_version": "2.0.0", "architecture": source}
    content["weights"] = {"pytorch_state_dict": entry}
    (folder / "rdf.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ModelError, match=rf"trust=\[{lab}\]"):
        read_checkpoint(folder)
    assert lab not in sys.modules
    with trusting([lab]):  # runs the package's test
        checkpoint = read_checkpoint(folder)
        found = build_network(checkpoint)(torch.from_numpy(GREY))
    assert checkpoint.backbone == {"_target_": f"{lab}.Net", "features": 1}
    np.testing.assert_allclose(found.sigmoid().detach(), np.load(folder / "out.npy"), atol=1e-5)
    del sys.modules[lab]


def test_code_of_a_package_is_never_run(package: Callable, tmp_path: Path) -> None:
    from monai.networks.nets import UNet

    source = {"callable": "Net", "source": "net.py", "kwargs": {}}
    folder = state_dict_package(package, source, UNet(**UNET).eval())
    (folder / "net.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(ModelError, match="Net is Python code of the package, which is not run"):
        read_checkpoint(folder)
    source = {"callable": "system", "import_from": "os", "kwargs": {"command": "true"}}
    content = yaml.safe_load((folder / "rdf.yaml").read_text())
    content["weights"]["pytorch_state_dict"]["architecture"] = source
    (folder / "rdf.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ModelError, match=r"names the class 'os.system'"):
        read_checkpoint(folder)
    assert not (tmp_path / "ran").exists()


def test_torchscript_that_touches_files_is_refused(package: Callable, tmp_path: Path) -> None:
    folder = package(Net(), postprocessing=SIGMOID)

    class Writer(nn.Module):
        def __init__(self, file: str) -> None:
            super().__init__()
            self.file = file

        def forward(self, x: Tensor) -> Tensor:
            return x + torch.from_file(self.file, True, 1).sum()

    torch.jit.script(Writer(str(tmp_path / "written"))).save(folder / "net.pt")
    with pytest.raises(ModelError, match="uses torch.from_file"):
        read_checkpoint(folder)
    assert not (tmp_path / "written").exists()


def test_another_output_than_the_test_output_is_refused(package: Callable) -> None:
    folder = package(Net(), postprocessing=SIGMOID)
    np.save(folder / "out.npy", 1 - np.load(folder / "out.npy"))
    with pytest.raises(ModelError, match="its test input does not give its test output"):
        read_checkpoint(folder)


def test_missing_test_tensors_are_said(package: Callable, caplog: pytest.LogCaptureFixture) -> None:
    folder = package(Net(), postprocessing=SIGMOID)
    content = yaml.safe_load((folder / "rdf.yaml").read_text())
    for tensor in (*content["inputs"], *content["outputs"]):
        tensor["test_tensor"] = {"source": f"https://example.com/{tensor['id']}.npy"}
    (folder / "rdf.yaml").write_text(yaml.safe_dump(content))
    with caplog.at_level(logging.WARNING):
        read_checkpoint(folder)
    assert "holds no test input and output" in caplog.text


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("../outside.pt", "names the file"),
        ("/etc/hostname", "absolute|names the file|source"),
        ("https://example.com/net.pt", "nothing is downloaded"),
        ("missing.pt", "does not hold"),
    ],
)
def test_files_outside_the_package_are_not_read(
    package: Callable, tmp_path: Path, source: str, message: str
) -> None:
    folder = package(Net(), postprocessing=SIGMOID)
    (tmp_path / "outside.pt").write_bytes((folder / "net.pt").read_bytes())
    content = yaml.safe_load((folder / "rdf.yaml").read_text())
    content["weights"]["torchscript"]["source"] = source
    (folder / "rdf.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ModelError, match=message):
        read_checkpoint(folder)


def test_a_file_with_another_hash_is_refused(package: Callable) -> None:
    folder = package(Net(), postprocessing=SIGMOID)
    content = yaml.safe_load((folder / "rdf.yaml").read_text())
    entry = content["weights"]["torchscript"]
    entry["sha256"] = hashlib.sha256((folder / "net.pt").read_bytes()).hexdigest()
    (folder / "rdf.yaml").write_text(yaml.safe_dump(content))
    read_checkpoint(folder)
    entry["sha256"] = "0" * 64
    (folder / "rdf.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ModelError, match="another hash"):
        read_checkpoint(folder)


def test_zip_folder_and_description_are_the_same_model(package: Callable, tmp_path: Path) -> None:
    zscore = [step("zero_mean_unit_variance", axes=XY)]
    folder = package(Net(), preprocessing=zscore, postprocessing=SIGMOID)
    packed = tmp_path / "nuclei.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    found = [
        read_checkpoint(locate_checkpoint(str(path)).path)
        for path in (packed, folder, folder / "rdf.yaml")
    ]
    assert len({one.sha256 for one in found}) == 1 and found[0].path == packed
    maps = [
        predict_array(GREY[0, 0], [path]).probability
        for path in (packed, folder, folder / "rdf.yaml")
    ]
    assert np.array_equal(maps[0], maps[1]) and np.array_equal(maps[0], maps[2])
    # the registry keeps a checkpoint of ours, with the graph in it
    with converted_checkpoint(packed) as file:
        again = read_checkpoint(file)
        assert not again.imported
        kept = predict_array(GREY[0, 0], [file]).probability
    assert np.array_equal(maps[0], kept)
    with pytest.raises(ModelError, match="a graph of another program"):
        export_model(again, "torchscript", tmp_path / "out", About())
    (folder / "net.pt").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="is not a TorchScript file"):
        read_checkpoint(folder)


@pytest.mark.parametrize("heads", [None, ["foreground", "distance"], ["class_a", "class_b"]])
def test_our_export_is_the_same_model(
    tmp_path: Path, make_model: Callable[..., Path], heads: Any
) -> None:
    """Weights and settings are those of the checkpoint: training can start from it."""
    tuned = {"threshold": 0.4}
    given = {} if heads is None else {"heads": heads, "outputs": len(heads)}
    first = read_checkpoint(make_model(2, tuned=tuned, object_voxels=81.5, **given))
    export_model(first, "bioimageio", tmp_path / "out", About("nuclei", "d", ["A. Person"], "MIT"))
    again = read_checkpoint(tmp_path / "out" / "model.bioimageio.zip")
    assert again.image == first.image and again.backbone == first.backbone
    assert list(again.weights) == list(first.weights)
    assert all(torch.equal(again.weights[name], first.weights[name]) for name in first.weights)
    image = torch.randn(1, 1, 32, 32)
    with torch.inference_mode():
        assert torch.equal(build_network(again)(image), build_network(first)(image))
    warm = WarmStart(tmp_path / "out" / "model.bioimageio.zip")
    assert warm.path.suffix == ".zip"
