"""Malicious model files: no code runs, and memory stays limited."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets import DynUNet

from cytoloop.__main__ import main
from cytoloop.errors import ModelError
from cytoloop.model.checkpoint import build_network, read_checkpoint
from cytoloop.model.importers.config_references import lookup
from cytoloop.model.safe_load import read_config

ARGUMENTS: dict[str, Any] = {
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 1,
    "filters": [4, 8, 8],
    "strides": [1, 2, 2],
    "kernel_size": [3, 3, 3],
    "upsample_kernel_size": [2, 2],
}
BACKBONE = {"_target_": "monai.networks.nets.DynUNet", **ARGUMENTS}


class Bomb:
    """Unpickling it creates a file."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch exploded",)


@pytest.fixture(autouse=True)
def nothing_explodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run in a temporary folder, and check that no pickle created its file."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.rglob("exploded"))


def save(path: Path, config: str | None = None, **changes: Any) -> Path:
    """Write a CytoDL checkpoint, and optionally a config beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {f"backbone.{k}": v for k, v in DynUNet(**ARGUMENTS).state_dict().items()}
    content = {"state_dict": state, "hyper_parameters": {"backbone": BACKBONE}} | changes
    torch.save({key: value for key, value in content.items() if value is not None}, path)
    if config is not None:
        (path.parent / "train_config.yaml").write_text(config)
    return path


def test_harmless_file_is_read(tmp_path: Path) -> None:
    assert build_network(read_checkpoint(save(tmp_path / "a.ckpt")))
    config = f"model: {{backbone: {json.dumps(BACKBONE)}}}"
    assert build_network(read_checkpoint(save(tmp_path / "b.ckpt", config, hyper_parameters=None)))


@pytest.mark.parametrize("name", ["a.ckpt", "best_model.pth"])
@pytest.mark.parametrize("place", ["callbacks", "hyper_parameters", "state_dict"])
def test_pickle_does_not_run(tmp_path: Path, name: str, place: str) -> None:
    path = save(tmp_path / name, **{place: {"backbone.x": Bomb()}})
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="damaged, or contains code"):
        read_checkpoint(path)


def test_pickled_network_is_refused_with_advice(tmp_path: Path) -> None:
    torch.save(DynUNet(**ARGUMENTS), tmp_path / "best_model.pth")
    with pytest.raises(ModelError, match=r"save network.state_dict\(\) instead of the whole"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("model: !!python/object/apply:os.system ['touch exploded']", "could not determine a cons"),
        ("!!python/object/new:subprocess.Popen [[touch, exploded]]", "could not determine a cons"),
        ("model: {backbone: {_target_: os.system, command: touch exploded}}", "'os.system'"),
        (
            "model: {backbone: {_target_: monai.networks.nets.DynUNet, spatial_dims: "
            "\"${eval:'open(`exploded`,`w`)'}\"}}",
            "is an interpolation, expected a value",
        ),
        (
            "model: {backbone: '${oc.env:HOME}'}",
            None,
        ),  # stays text, so the architecture is inferred
        ("model: {backbone: '${model.backbone}'}", None),
        ("model: {backbone: ['${oc.decode:1}']}", None),
        ("a: " * 400, "cannot be read as plain data"),
        ("[" * 40000, "cannot be read as plain data: RecursionError|recursion"),
        ("#" * (600 << 10), "expected at most 524288"),
        ("[1, 2]", "contains list, expected keys"),
        ("\x00", "cannot be read as plain data"),
    ],
)
def test_config_is_read_as_data(tmp_path: Path, config: str, reason: str | None) -> None:
    path = save(tmp_path / "checkpoints" / "a.ckpt", config, hyper_parameters=None)
    if reason is None:
        assert read_checkpoint(path).backbone["filters"] == [4, 8, 8]
        return
    with pytest.raises(ModelError, match=reason):
        read_checkpoint(path)


def test_only_references_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "dims: 2\nmodel: {a: '${dims}', b: ['${model.a}', '${eval:1+1}'], c: '${model.b}', "
        "d: 'x/${dims}', e: '${missing}', f: '${model.f}', g: '${model.g.h}', h: {i: '${model}'}}"
    )
    tree = read_config(tmp_path / "c.yaml")
    assert lookup(tree, "model.c") == [2, "${eval:1+1}"]
    assert lookup(tree, "model.d") == "x/${dims}"
    assert lookup(tree, "model.e") is lookup(tree, "model.g.x") is lookup(tree, "none.x") is None
    assert lookup(tree, "model.f") == "${model.f}"
    assert lookup(tree, "model.h")  # contains itself, but does not loop


def test_multiplying_aliases_are_refused(tmp_path: Path) -> None:
    rows = ["a0: &a0 [4, 8, 8]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    rows += ["model: {backbone: {_target_: monai.networks.nets.DynUNet, filters: *a29}}"]
    path = save(tmp_path / "a.ckpt", "\n".join(rows), hyper_parameters=None)
    with pytest.raises(ModelError, match="has more than 200 values, or is nested deeper than 4"):
        read_checkpoint(path)


def test_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.ckpt")
    whole = path.read_bytes()
    for size in (0, 100, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:size])
        with pytest.raises(ModelError, match="is not a readable checkpoint"):
            read_checkpoint(path)
    for place in range(0, len(whole), len(whole) // 40):  # one byte is changed
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            build_network(read_checkpoint(path))
        except ModelError:
            continue


def test_compressed_checkpoint_is_refused(tmp_path: Path) -> None:
    source = save(tmp_path / "a.ckpt")
    packed = tmp_path / "packed.ckpt"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
        new.writestr("archive/data/999", bytes(50 << 20))
    with pytest.raises(ModelError, match="is compressed and unpacks to"):
        read_checkpoint(packed)


def memory() -> int:
    """Return the peak memory of this process in bytes."""
    resource = pytest.importorskip("resource")  # not on Windows
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("own", [True, False])
def test_network_larger_than_its_weights_is_never_built(tmp_path: Path, own: bool) -> None:
    extra = {"image": {"spatial_dims": 2}} if own else {}
    for filters, reason in (
        ([10**9] * 3, "1000000000 is more than 4096"),
        ([4096] * 3, "weights and architecture do not fit"),
    ):
        hparams = {"backbone": {**BACKBONE, "filters": filters}, **extra}
        path = save(tmp_path / "a.ckpt", hyper_parameters=hparams)
        before = memory()
        with pytest.raises(ModelError, match=reason):
            build_network(read_checkpoint(path))
        assert memory() - before < 100 << 20


def test_weights_larger_than_the_file_and_other_faulty_weights_are_refused(tmp_path: Path) -> None:
    name = "backbone.input_block.conv1.conv.weight"
    state = torch.load(save(tmp_path / "a.ckpt"), weights_only=True)["state_dict"]
    for value, reason in (
        (torch.zeros(1).expand(10**6, 10**6), "claims shape .* larger than the file"),
        (
            torch.full((4, 1, 3, 3), float("nan")),
            "has NaN or infinite values: the training diverged",
        ),
        (torch.zeros(4, 1, 3, 3).to_sparse(), "is not a dense tensor"),
        ("text", "is not a tensor but str"),
    ):
        path = save(tmp_path / "b.ckpt", state_dict=state | {name: value})
        with pytest.raises(ModelError, match=reason):
            read_checkpoint(path)


@pytest.mark.parametrize("patch", [[10**5] * 3, [64, -1], [], "64", [64, 2.5]])
def test_patch_size_that_would_fill_the_memory_is_refused(tmp_path: Path, patch: Any) -> None:
    hparams = {"backbone": BACKBONE, "image": {"spatial_dims": 2, "patch_size": patch}}
    with pytest.raises(ModelError, match="patch size"):
        read_checkpoint(save(tmp_path / "a.ckpt", hyper_parameters=hparams))


def test_checkpoints_with_missing_parts_are_refused(tmp_path: Path) -> None:
    for part in ("backbone", "image"):
        hparams = {"backbone": BACKBONE, "image": {}} | {part: 1}
        with pytest.raises(ModelError, match=f"lacks a part of a checkpoint: {part}"):
            read_checkpoint(save(tmp_path / "a.ckpt", hyper_parameters=hparams))


@pytest.mark.parametrize(
    "spoil", ["pickle", "class", "eval", "cut", "shapes", "nothing", "config", "text"]
)
def test_every_malicious_file_ends_with_a_message_and_status_2(
    tmp_path: Path, spoil: str, capfd: pytest.CaptureFixture[str], tiff: Any, blobs: Any
) -> None:
    tiff(tmp_path / "images" / "i.tif", blobs((40, 40), 3, 0)[0])
    path = save(tmp_path / "model" / "a.ckpt")
    if spoil == "pickle":
        save(path, callbacks=Bomb())
    elif spoil == "class":
        save(path, hyper_parameters={"backbone": {"_target_": "os.system", "command": "touch x"}})
    elif spoil == "eval":
        text = "model: {backbone: {_target_: monai.networks.nets.DynUNet, filters: '${eval:1}'}}"
        save(path, text, hyper_parameters=None)
    elif spoil == "cut":
        path.write_bytes(path.read_bytes()[:2000])
    elif spoil == "shapes":
        save(path, hyper_parameters={"backbone": {**BACKBONE, "filters": [4, 8, 16]}})
    elif spoil == "nothing":
        path.unlink()
    elif spoil == "config":
        shutil.copy(path, tmp_path / "model" / "best_model.pth")
        (tmp_path / "model" / "config.json").write_text('{"architecture": "os.system"}')
    else:
        path.write_text("import os")
    words = [
        f"checkpoint={path.parent if spoil in ('nothing', 'config') else path}",
        "input=images",
    ]
    assert main(["predict", *words, "output=out"]) == 2
    message = capfd.readouterr().err
    message = message[message.index("ModelError: ") :]
    assert "model" in message and "Traceback" not in message
    assert (
        len([line for line in message.splitlines() if line.strip()]) >= 2
    )  # the fault, and how to repair it
    assert not (tmp_path / "out" / "predictions.csv").exists()
