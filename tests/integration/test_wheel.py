"""The wheel works where the repository is not: configs and verbs travel with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_wheel_trains_elsewhere(tmp_path: Path) -> None:
    uv = shutil.which("uv") or str(ROOT / ".tools/uv/bin/uv")
    if not Path(uv).exists():
        pytest.skip("uv is neither on the PATH nor in .tools")
    build = [uv, "build", "--wheel", "--out-dir", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    # the overrides of CytoDL's pins belong to the project, not to the wheel's metadata
    pins = tmp_path / "overrides.txt"
    pins.write_text("torch>=2.6,<2.14\ntifffile>=2025.2.18\ntorchvision; python_version < '0'\n")
    environment = tmp_path / "env"
    subprocess.run([uv, "venv", "--python", sys.executable, str(environment)], check=True)
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    install = [uv, "pip", "install", "--python", str(python), "--overrides", str(pins), str(wheel)]
    subprocess.run(install, check=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def cytoloop(*words: str) -> str:
        command = [str(python), "-m", "cytoloop", *words]
        clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(command, cwd=elsewhere, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    composed = cytoloop("train", "--cfg", "job", "experiment=nuclei_3d", "data.path=x")
    assert "monai.networks.nets.DynUNet" in composed and "patch_size" in composed
    where = [str(python), "-c", "import cytoloop; print(cytoloop.__file__)"]
    found = subprocess.run(where, cwd=elsewhere, capture_output=True, text=True, check=True)
    assert str(environment) in found.stdout
    assert "Usage" in cytoloop("--help")
    assert "budget_minutes" in cytoloop("train", "--help")
