"""Pipes, devices and images larger than the memory are refused at once."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import zarr

from cytoloop.errors import ConfigError, ImageError, ManifestError
from cytoloop.evaluation import EvaluationSettings
from cytoloop.evaluation.comparison import VerdictRule
from cytoloop.io.digest import file_hash
from cytoloop.io.file_kind import special_kind
from cytoloop.io.pixels import open_pixels
from cytoloop.io.read import read_header, read_image
from cytoloop.manifest import read_manifest
from cytoloop.truth.regions.parse import read_bytes

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes as files")


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A pipe that nobody writes to: reading it never ends."""
    os.mkfifo(tmp_path / "image.tif")
    return tmp_path / "image.tif"


def test_kinds_of_files(pipe: Path, tmp_path: Path) -> None:
    assert special_kind(pipe) == "a pipe" and special_kind("/dev/zero") == "a device"
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(tmp_path)  # the path of a socket must be short
        server.bind("s")
        assert special_kind("s") == "a socket"
    (tmp_path / "link.tif").symlink_to(pipe)
    assert special_kind(tmp_path / "link.tif") == "a pipe"
    (tmp_path / "file.tif").write_bytes(b"")
    for path in (tmp_path / "file.tif", tmp_path, tmp_path / "gone", "a\0b"):
        assert special_kind(path) is None


def test_pipes_are_not_read(pipe: Path, tmp_path: Path) -> None:
    from cytoloop.training.prepare.plan.file import read_plan

    for read in (read_header, read_image, file_hash, read_bytes):
        with pytest.raises(ImageError, match="is a pipe, expected a file"):
            read(pipe)
    with pytest.raises(ConfigError, match="is a pipe"):
        read_plan(pipe)
    with pytest.raises(ManifestError, match="no such manifest"):
        read_manifest(pipe)


def test_an_image_larger_than_the_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.ome.zarr"
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    shape = (1, 1, 1, 10**6, 10**6)
    group.create_array("0", shape=shape, chunks=(1, 1, 1, 4096, 4096), dtype="uint16")
    kinds = dict.fromkeys("zyx", "space")
    axes = [{"name": n, "type": t} for n, t in {"t": "time", "c": "channel", **kinds}.items()]
    scale = {"type": "scale", "scale": [1, 1, 1, 0.5, 0.5]}
    levels = [{"path": "0", "coordinateTransformations": [scale]}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": levels}]
    with pytest.raises(ImageError, match="declares 1862.6 GiB of pixels to read at once"):
        read_image(path)
    with pytest.raises(ImageError, match="has 1 x 1 x 1000000 x 1000000 values, expected at most"):
        open_pixels(path)


@pytest.mark.parametrize("settings", [EvaluationSettings, VerdictRule])
def test_resamples_have_a_bound(settings: type) -> None:
    settings(resamples=1_000_000)
    with pytest.raises(ConfigError, match="below 1000001"):
        settings(resamples=10**9)
