"""Fixtures: small synthetic images with seeds, an MLflow store and a tiny model."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

SPACING = (0.6, 0.3, 0.3)
HANDLERS = pytest.StashKey[dict[str, object]]()


def missing_for_viewer() -> str:
    """Return why napari cannot open a window here, "" if it can."""
    if importlib.util.find_spec("napari") is None or importlib.util.find_spec("pytestqt") is None:
        return "napari or pytest-qt is not installed (extra `viewer`)"
    known = ("DISPLAY", "WAYLAND_DISPLAY")
    if sys.platform == "linux" and not any(os.environ.get(name) for name in known):
        return "no screen: neither DISPLAY nor WAYLAND_DISPLAY is set (make setup-screen)"
    return ""


if not missing_for_viewer():  # Qt's libraries may be missing where there is no screen
    pytest_plugins = ["pytestqt.plugin"]


def make_blobs(
    shape: tuple[int, ...], count: int, seed: int, radius: float = 4.5
) -> tuple[np.ndarray, np.ndarray]:
    """Return a noisy uint16 image of bright balls and their uint16 labels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint16)
    grid = np.indices(shape)
    for number in range(1, count + 1):
        for _ in range(200):
            centre = [rng.uniform(min(radius, n / 2), max(n - radius, n / 2)) for n in shape]
            ball = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) < radius**2
            if not labels[ball].any():
                labels[ball] = number
                break
    raw = 200 + 900 * (labels > 0) + rng.normal(0, 60, shape)
    return np.clip(raw, 0, 65535).astype(np.uint16), labels


def write_tiff(path: Path, data: np.ndarray) -> Path:
    """Write an ImageJ TIFF with the test spacing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata: dict[str, object] = {"axes": "ZYX"[-data.ndim :], "unit": "um"}
    if data.ndim == 3:
        metadata["spacing"] = SPACING[0]
    tifffile.imwrite(
        path, data, imagej=True, resolution=(1 / SPACING[2], 1 / SPACING[1]), metadata=metadata
    )
    return path


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--campaign N``."""
    parser.addoption(
        "--campaign",
        type=int,
        default=3,
        help="kills of each verb in tests/integration/test_faults.py",
    )


def signal_handlers() -> dict[str, object]:
    """Return the handlers of the signals that the product handles."""
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]
    return {name: signal.getsignal(getattr(signal, name)) for name in names}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Remember the signal handlers before a test."""
    item.stash[HANDLERS] = signal_handlers()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Fail a test that leaves signal handlers behind: a later test would meet them."""
    yield
    before, after = item.stash[HANDLERS], signal_handlers()
    changed = [name for name in before if before[name] != after[name]]
    for name in changed:
        signal.signal(getattr(signal, name), before[name])  # type: ignore[arg-type]
    if changed:
        pytest.fail(f"the test left handlers of {', '.join(changed)} behind")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the tests of the viewer without a screen; fail them if a screen is required."""
    reason = missing_for_viewer()
    if reason and item.get_closest_marker("viewer"):
        if os.environ.get("CYTOLOOP_REQUIRE_SCREEN"):
            pytest.fail(f"CYTOLOOP_REQUIRE_SCREEN is set, but {reason}")
        pytest.skip(reason)


@pytest.fixture(scope="session")
def campaign(request: pytest.FixtureRequest) -> int:
    """Number of kills of each verb."""
    return int(request.config.getoption("campaign"))


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Use a separate state folder, so that a training of the user does not lock the tests."""
    os.environ["CYTOLOOP_STATE"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URI of an MLflow store that all tests share, because creating one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def project(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty working folder; MLflow uses the shared store."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[Path]:
    """Change to a folder with its own MLflow store, as for a new user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder


@pytest.fixture
def blobs() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Function that creates an image: ``blobs(shape, count, seed) -> (raw, labels)``."""
    return make_blobs


@pytest.fixture
def tiff() -> Callable[[Path, np.ndarray], Path]:
    """Function that writes a TIFF: ``tiff(path, data) -> path``."""
    return write_tiff


def make_images(folder: Path, count: int, shape: tuple[int, ...] = (12, 40, 40)) -> Path:
    """Write ``raw/img_N.tif`` and ``seg/img_N.tif`` for each N; return the folder."""
    for number in range(count):
        raw, labels = make_blobs(shape, 5, seed=number)
        write_tiff(folder / "raw" / f"img_{number}.tif", raw)
        write_tiff(folder / "seg" / f"img_{number}.tif", labels)
    return folder


@pytest.fixture
def images_3d(tmp_path: Path) -> Path:
    """Folder with five pairs of 12 x 40 x 40 in ``raw/`` and ``seg/``."""
    return make_images(tmp_path / "images", 5)


@pytest.fixture
def images_2d(tmp_path: Path) -> Path:
    """Folder with five pairs of 48 x 56 in ``raw/`` and ``seg/``."""
    return make_images(tmp_path / "images", 5, (48, 56))


@contextlib.contextmanager
def limited_file_size(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size (bytes), as on a full disk."""
    resource = pytest.importorskip("resource")
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


@pytest.fixture
def limited_files() -> Callable[[int], contextlib.AbstractContextManager[None]]:
    """Context manager in which files cannot grow beyond a size: ``limited_files(bytes)``."""
    return limited_file_size


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the shared real data; the test is skipped if the folder does not exist."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CYTOLOOP_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder} (set CYTOLOOP_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes a checkpoint with random weights.

    In evaluation, batch norm is a fixed scale: the prediction at a voxel does not depend on the
    size of the window.
    """

    import torch
    from monai.networks.nets import DynUNet

    def make(
        ndim: int = 3,
        patch: Any = None,
        seed: int = 0,
        channels: int = 1,
        outputs: int = 1,
        **image: Any,
    ) -> Path:
        torch.manual_seed(seed)
        backbone = {
            "spatial_dims": ndim, "in_channels": channels, "out_channels": outputs,
            "strides": [1, 1, 2], "kernel_size": [3] * 3, "upsample_kernel_size": [1, 2],
            "filters": [4, 4, 8], "norm_name": "batch",
        }  # fmt: skip
        network = DynUNet(**backbone)
        facts = {
            "spatial_dims": ndim,
            "channels": channels,
            "channel_names": [],
            "spacing_um": [1.0, 0.5, 0.5],
            "patch_size": patch or [8, 32, 32][-ndim:],
            "normalization": {"method": "percentile", "lower": 1.0, "upper": 99.8},
            "object_voxels": 0,
            **image,
        }
        content = {
            "state_dict": {f"backbone.{k}": v for k, v in network.state_dict().items()},
            "hyper_parameters": {
                "backbone": {"_target_": "monai.networks.nets.DynUNet", **backbone},
                "image": facts,
            },
            "epoch": 1,
            "global_step": 2,
        }
        path = tmp_path_factory.mktemp("model") / "best.ckpt"
        torch.save(content, path)
        return path

    return make
