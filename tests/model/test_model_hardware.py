from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.networks.nets import DynUNet

from cytoloop.model import hardware


@pytest.mark.parametrize(
    ("norm", "device", "faster"),
    [("batch", "cpu", True), ("batch", "cuda", False), ("instance", "cpu", False)],
)
def test_channels_last_is_faster_with_batch_norm_on_a_cpu(
    norm: str, device: str, faster: bool
) -> None:
    network = DynUNet(2, 1, 1, [3] * 3, [1, 2, 2], [2, 2], filters=[16] * 3, norm_name=norm)
    assert hardware.is_channels_last_faster(network, device) is faster


@pytest.mark.parametrize(
    ("dims", "features", "safe"), [(2, 8, False), (2, 15, False), (2, 16, True), (3, 8, True)]
)
def test_channels_last_is_avoided_where_torch_crashes(dims: int, features: int, safe: bool) -> None:
    """A 2D network with batch norm over fewer than 16 channels ends the process on a CPU."""
    filters = [features, 32, 64]
    network = DynUNet(dims, 1, 1, [3] * 3, [1, 2, 2], [2, 2], filters=filters, norm_name="batch")
    assert hardware.is_channels_last_safe(network, "cpu") is safe
    assert hardware.is_channels_last_faster(network, "cpu") is safe
    assert hardware.is_channels_last_safe(network, "cuda")


def test_precision_follows_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "has_fast_cpu_bf16", lambda: True)
    assert hardware.choose_precision("cpu") == "bf16-mixed"
    monkeypatch.setattr(hardware, "has_fast_cpu_bf16", lambda: False)
    assert hardware.choose_precision("cpu") == "32"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert hardware.choose_precision("auto") == "16-mixed"
    assert hardware.choose_precision("mps") == "32"


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_tile", "avx2"])
def test_bf16_is_fast_on_a_cpu_with_its_instructions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flag: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {flag: True}, raising=False)
    assert hardware.has_fast_cpu_bf16() is (flag != "avx2")
    # an older torch does not report them
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    info = tmp_path / "cpuinfo"
    info.write_text(f"model name\t: Some CPU\nflags\t\t: fpu {flag} sse\n")
    monkeypatch.setattr(hardware, "_CPU_INFO", info)
    assert hardware.has_fast_cpu_bf16() is (flag != "avx2")
    assert hardware.describe_hardware()["cpu"] == "Some CPU"
