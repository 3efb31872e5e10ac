"""A model from training to a served version; and one that CytoDL predicts with."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
import tifffile

import cytoloop
from cytoloop.__main__ import main
from cytoloop.io.read import read_image

Make = Callable[..., Path]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def request(url: str, content: dict | None = None) -> bytes:
    data = None if content is None else json.dumps(content).encode()
    message = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(message, timeout=60) as answer:
        return answer.read()


@pytest.fixture
def global_store() -> Iterator[None]:
    """Leave MLflow's global store as it was, for later tests."""
    yield
    mlflow.set_tracking_uri(None)


@pytest.mark.slow
def test_a_trained_model_is_registered_promoted_and_served(
    images_2d: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    global_store: None,
) -> None:
    monkeypatch.chdir(images_2d)
    store = f"sqlite:///{images_2d}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    assert main(["curate", "raw=raw", "seg1=seg", "output=dataset"]) == 0
    tiny = ["experiment=nuclei_2d", "data.path=dataset", "data.patch_size=[32,32]"]
    tiny += ["model/size=small", "data.steps_per_epoch=2", "trainer.max_epochs=1", "output=m"]
    assert main(["train", *tiny, "register=a/b"]) == 2
    assert "'a/b' is not a valid model name" in capfd.readouterr().err
    assert main(["train", *tiny, "register=nuclei"]) == 0
    assert "registered models:/nuclei/1" in capfd.readouterr().err
    assert main(["models", "promote", "checkpoint=nuclei"]) == 0
    run_id = (images_2d / "m" / "run_id").read_text().strip()
    image = tifffile.imread(images_2d / "raw" / "img_0.tif")
    expected = cytoloop.predict(image, f"runs:/{run_id}")

    mlflow.set_tracking_uri(store)
    port = free_port()
    words = ["models", "serve", "-m", "models:/nuclei@champion", "--env-manager", "local"]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *words, "--host", "127.0.0.1", "--port", str(port)],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(180):
            try:
                request(f"{url}/ping")
                break
            except (urllib.error.URLError, ConnectionError):
                assert server.poll() is None
                time.sleep(1)
        content: dict = {"inputs": image.tolist()}
        found = json.loads(request(f"{url}/invocations", content))["predictions"]
        assert np.array_equal(np.array(found), expected.labels)
        content["params"] = {"output": "probability"}
        found = json.loads(request(f"{url}/invocations", content))["predictions"]
        np.testing.assert_allclose(np.array(found), expected.probability, atol=1e-6)
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


@pytest.mark.slow
def test_cytodl_predicts_with_an_exported_model(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_model: Make,
    blobs: Callable[..., tuple[np.ndarray, np.ndarray]],
    tiff: Callable[[Path, np.ndarray], Path],
) -> None:
    monkeypatch.chdir(tmp_path)
    path = make_model(3, patch=[16, 40, 44], normalization={"method": "zscore"})  # one window
    raw = blobs((16, 40, 44), 5, 0)[0]
    tiff(tmp_path / "raw" / "a.tif", raw)
    words = ["format=cytodl", "output=experiment"]
    assert main(["models", "export", f"checkpoint={path}", *words]) == 0
    header = "raw,seg1,seg2,merge_mask,exclude_mask,base_image"
    (tmp_path / "manifest").mkdir()
    (tmp_path / "manifest" / "test.csv").write_text(f"{header}\n{tmp_path}/raw/a.tif,,,,,\n")
    code = f"""
from cyto_dl.api.model import CytoDLModel
model = CytoDLModel()
model.load_config_from_file({str(tmp_path / "experiment" / "train_config.yaml")!r})
model.override_config({{
    "data.path": {str(tmp_path / "manifest")!r},
    "checkpoint.ckpt_path": {str(tmp_path / "experiment/checkpoints/epoch_000.ckpt")!r},
    "paths.output_dir": {str(tmp_path / "theirs")!r}, "trainer.accelerator": "cpu",
    "trainer.precision": 32, "callbacks.saving.save_dir": {str(tmp_path / "theirs")!r},
}})
model.predict()
"""
    (tmp_path / "theirs").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "PROJECT_ROOT": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    written = [f for f in (tmp_path / "theirs").rglob("*.tif*") if re.search("a", f.stem)]
    assert written, list((tmp_path / "theirs").rglob("*"))
    theirs = read_image(written[0]).data[0] > 0

    # CytoDL thresholds the logits of each image by Otsu, which is a threshold of our probability
    words = ["input=raw", "accelerator=cpu", "precision=32", "window=patch"]
    assert main(["predict", f"checkpoint={path}", *words, "output=ours"]) == 0
    ours = read_image(tmp_path / "ours" / "probability" / "a.ome.tif").data[0]
    cut = (int(ours[theirs].min()) + int(ours[~theirs].max())) / 2
    assert 0.05 < theirs.mean() < 0.95
    # CytoDL's images are float16: how its network rounds them depends on the CPU
    assert ((ours > cut) == theirs).mean() > 0.995
