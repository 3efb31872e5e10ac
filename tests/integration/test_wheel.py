"""The wheel as a stranger gets it: installed by pip into a fresh environment, without the clone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import make_images

ROOT = Path(__file__).parents[2]
CPU_TORCH = "torch==2.13.0"
"""Installed first, so that pip takes the CPU build where PIP_FIND_LINKS has one."""

Run = Callable[..., str]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the python of a new environment in which pip has installed the built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "build")], check=True)
    builder = _python(folder / "build")
    subprocess.run([builder, "-m", "pip", "install", "-q", "build"], check=True)
    # the wheel is built from the sdist, so both hold all files
    command = [builder, "-m", "build", "--outdir", str(folder / "dist"), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "env")], check=True)
    python = _python(folder / "env")
    install = [python, "-m", "pip", "install", "-q", "--no-compile"]  # bytecode takes minutes
    subprocess.run([*install, CPU_TORCH], check=True)
    subprocess.run([*install, str(wheel)], check=True)
    subprocess.run([python, "-m", "pip", "check"], check=True)
    return Path(python)


def _python(environment: Path) -> str:
    return str(environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


@pytest.fixture
def run(environment: Path, tmp_path: Path) -> Run:
    """Return a function that runs Python in the new environment, in an empty folder."""

    def run_python(*words: str, status: int = 0) -> str:
        """Run without a home folder that can be written."""
        hidden = ("PYTHONPATH", "VIRTUAL_ENV", "MLFLOW_TRACKING_URI", "CYTOLOOP_TEST_DATA")
        clean = {k: v for k, v in os.environ.items() if k not in hidden}
        clean["HOME"] = f"{os.devnull}/home"
        command = [str(environment), *words]
        done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True)
        text = done.stdout + done.stderr
        assert done.returncode == status, text
        return text

    return run_python


@pytest.mark.slow
def test_a_stranger_curates_trains_predicts_and_evaluates(run: Run, tmp_path: Path) -> None:
    make_images(tmp_path, 5, (48, 56))
    found = json.loads(run("-m", "pip", "list", "--format=json"))
    names = {package["name"].lower() for package in found}
    assert not names & {"cyto-dl", "bioio-czi", "pycocotools", "opencv-python"}
    assert "opencv-python-headless" in names
    where = run("-c", "import cytoloop; print(cytoloop.__file__)")
    assert "site-packages" in where
    cytoloop = ["-m", "cytoloop"]
    assert "Usage" in run(*cytoloop, "--help")
    composed = run(*cytoloop, "train", "--cfg", "job", "experiment=nuclei_3d", "data.path=x")
    assert "monai.networks.nets.DynUNet" in composed
    run(*cytoloop, "curate", "raw=raw", "seg1=seg", "output=ds")
    run(*cytoloop, "check", "data.path=ds")
    words = ["experiment=nuclei_2d", "model/size=small", "data.path=ds", "data.batch_size=2"]
    words += ["data.steps_per_epoch=4", "data.patch_size=[32,32]", "trainer.max_epochs=2"]
    run(*cytoloop, "train", *words, "output=model", "register=nuclei")
    run(*cytoloop, "predict", "checkpoint=models:/nuclei/1", "input=raw", "output=preds")
    assert len(list((tmp_path / "preds/labels").glob("*.tif"))) == 5
    run(*cytoloop, "evaluate", "predictions=preds/predictions.csv", "truth=ds/test.csv", "output=e")
    assert (tmp_path / "e/report.html").is_file()
    run(*cytoloop, "compare", "a=e", "b=e", "output=c", status=3)  # no evidence of a difference
    run(*cytoloop, "history", "checkpoint=models:/nuclei/1")
    run(*cytoloop, "models", "export", "checkpoint=model", "format=torchscript", "output=ts")


@pytest.mark.slow
def test_errors_name_the_extra_that_is_missing(run: Run, tmp_path: Path) -> None:
    make_images(tmp_path, 2, (48, 56))
    (tmp_path / "raw/img_0.tif").rename(tmp_path / "raw/img_0.czi")
    cytoloop = ["-m", "cytoloop"]
    text = run(*cytoloop, "curate", "raw=raw", "seg1=seg", "output=ds", status=2)
    assert "pip install 'cytoloop[czi]'" in text
    (tmp_path / "raw/img_0.czi").rename(tmp_path / "raw/img_0.tif")
    run(*cytoloop, "curate", "raw=raw", "seg1=seg", "output=ds")
    text = run(*cytoloop, "annotate", "data.path=ds", "output=a", "format=coco", status=2)
    assert "pip install 'cytoloop[annotation]'" in text and not (tmp_path / "a").exists()
    text = run(*cytoloop, "demo", "--output", "demo", status=2)
    assert "pip install 'cytoloop[demo]'" in text
