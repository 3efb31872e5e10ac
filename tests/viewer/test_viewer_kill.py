"""`kill -9` of a real napari in the middle of curation: nothing that was shown as done is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from conftest import make_images

from cytoloop.curation import CurationSettings, curate, read_decisions
from cytoloop.curation.decisions.latest import Decision
from cytoloop.io.labels import read_labels
from cytoloop.viewer.session.dataset import open_dataset
from cytoloop.viewer.session.images import image_state, load_image

pytestmark = [pytest.mark.viewer, pytest.mark.slow]
SCRIPT = Path(__file__).with_name("curate_until_killed.py")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_killed_napari_loses_nothing(project: Path) -> None:
    images = make_images(project / "images", 6)
    folder = project / "dataset"
    curate(CurationSettings(raw=images / "raw", seg1=images / "seg", output=folder))
    originals = {p.name: p.read_bytes() for p in (images / "seg").glob("*.tif")}
    seen, last = [], {}
    # each napari opens what the one before left; the next action has begun when it is killed
    for actions, pause in ((9, 0.0), (6, 0.01)):
        napari = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder)],
            stdout=subprocess.PIPE,
            stderr=(project / "errors.txt").open("wb"),
            text=True,
            cwd=project,
        )
        assert napari.stdout is not None
        before = len(seen)
        for line in napari.stdout:
            if line.startswith("{"):
                seen.append(json.loads(line))
            if len(seen) - before >= actions:
                break
        time.sleep(pause)
        os.kill(napari.pid, signal.SIGKILL)
        rest, _ = napari.communicate()  # lines that were printed before the kill
        seen += [json.loads(one) for one in rest.splitlines() if one.endswith("}")]
        assert len(seen) - before >= actions, (project / "errors.txt").read_text()
        dataset = open_dataset(folder)
        log = dataset.log.read_bytes().decode()
        assert all(log.startswith(one["log"]) for one in seen)  # no line was lost or changed
        for row_id in {one["id"] for one in seen}:
            assert dataset.decision(row_id) == read_decisions(dataset.log).get(row_id, Decision())
        last |= {one["id"]: one for one in seen[before:]}
        del last[seen[-1]["id"]]  # the action after it may be on disk, too
        for row_id, shown in last.items():
            found = dataset.decision(row_id)
            assert json.loads(json.dumps(asdict(found))) == shown["decision"]
            entry = dataset.entry(row_id)
            state = image_state(load_image(entry), entry.row, found, dataset)
            assert int(state.target.astype(np.int64).sum()) == shown["sum"]
        for part in (folder / "corrected").glob("*.tif"):
            read_labels(part)  # no file is half written
    curate(CurationSettings(output=folder))
    assert {p.name: p.read_bytes() for p in (images / "seg").glob("*.tif")} == originals
    assert {one["act"] for one in seen} >= {"keep", "reject", "paint", "exclude", "undo", "redo"}
