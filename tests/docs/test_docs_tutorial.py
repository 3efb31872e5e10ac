"""The 2D tutorial works as it is written, with a short training."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from commands import ROOT, blocks

from cytoloop.__main__ import main

TUTORIAL = ROOT / "docs/tutorials/pictures-2d.md"


@pytest.mark.slow
def test_the_tutorial_of_pictures_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shell = [block for kind, block in blocks(TUTORIAL.read_text()) if kind == "sh"]
    lines = re.sub(r"\\\n\s*", "", "".join(shell)).splitlines()
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("cytoloop ")]
    assert [words[0] for words in commands] == [
        *("demo", "curate", "train", "check", "predict", "evaluate"),
        *("predict", "evaluate", "compare"),
    ]
    for words in commands:
        if words[0] == "train":
            short = ["model/size=small", "trainer.max_epochs=1", "data.steps_per_epoch=4"]
            words[words.index("budget_minutes=3") :] = short
        status = main(words)
        captured = capfd.readouterr()
        assert status == (3 if words[0] == "compare" else 0), captured.err
        if words[0] == "curate":
            assert "12 images: 8 train, 2 valid, 2 test, 0 rejected" in captured.out + captured.err
    assert "no evidence" in captured.out
    for name in ("dataset/report.html", "model/checkpoints/best.ckpt", "preview.png"):
        assert (tmp_path / name).exists()
