"""The steps of the demo, run as the commands that a user would type."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from rich.table import Table

from cytoloop.cli.demo.sample_fields import FIELDS, cut_fields
from cytoloop.cli.demo.synthetic_pictures import draw_pictures
from cytoloop.errors import OutputError
from cytoloop.terminal import stderr_console, stdout_console
from cytoloop.tracking.output_folder import RUN_ID_FILE

EXPECTED_DICE = 0.85
_SHIPPED = "pretrained:nuclei_3d"
_CORRECTED = ("field_a", "field_c")
_RULE = "exclude_rules=[outside_labels(3um)]"
_VOXEL = "data.resample=[0.6,0.6,0.6]"
"""At this voxel size the nuclei are as wide as those that the shipped model knows."""
_MARK_FILE = ".cytoloop-demo"
_SCORES = ("dice", "f1_50", "seg", "mean_ap")


class DemoError(Exception):
    """A command of the demo failed, or its result is worse than expected."""


def prepare_folder(folder: Path) -> None:
    """Create an empty folder for the demo; the folder of an earlier demo is emptied.

    Raises
    ------
    OutputError
        The folder holds other files.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(str(folder), "is a file, expected a folder", "Choose another --output.")
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARK_FILE).is_file():
            raise OutputError(
                str(folder),
                "is not empty and not the folder of an earlier demo",
                "Choose another --output.",
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK_FILE).touch()


def write_images(folder: Path, kind: str) -> None:
    """Write sample images with labels into a folder and say what to type next.

    Parameters
    ----------
    folder : Path
    kind : str
        ``stacks``: the four fields of the demo. ``pictures``: synthetic 2D pictures.
    """
    if kind == "stacks":
        cut_fields(folder, list(FIELDS))
    else:
        draw_pictures(folder)
    parts = ", ".join(f"{path.name}/" for path in sorted(folder.iterdir()) if path.is_dir())
    count = len(list((folder / "raw").iterdir()))
    stdout_console.print(
        f"wrote {count} images with labels into {folder}: {parts}\n"
        f"next: cytoloop curate raw={folder}/raw seg1={folder}/seg output=dataset",
        markup=False,
        soft_wrap=True,
    )


def run_demo(folder: Path, steps: int) -> None:
    """Run two rounds of the loop, the first without a label, and print their scores.

    Parameters
    ----------
    folder : Path
        Folder for images, data sets, runs, predictions, scores and the MLflow store.
    steps : int
        Steps of the training.

    Raises
    ------
    DemoError
        A command failed, or the Dice on the test field is not above `EXPECTED_DICE`.
    """
    started = time.monotonic()
    stderr_console.print(
        "CytoLoop demo: two rounds of predict, curate, train and evaluate on fields\n"
        "of a real confocal stack of nuclei. You can type each command yourself, in "
        f"{os.path.relpath(folder)}.",
        markup=False,
    )
    cut_fields(folder / "images", list(FIELDS))
    print_headline("Round 0: no label. The model that ships with CytoLoop predicts all fields")
    words = ["predict", f"checkpoint={_SHIPPED}", "input=images/raw"]
    _run_command(folder, [*words, "output=predictions0"], "Predict at the scale of the nuclei")
    print_headline("Round 1: keep what can be trusted, correct one field, and train for a minute")
    _collect_labels(folder)
    words = ["curate", "raw=images/raw", "seg1=labels1", "exclude=images/exclude", _RULE]
    words += ["test=[field_c]", "valid=[field_d]", "output=round1"]
    purpose = "Pair images with labels, leave out what no label explains, and split the fields"
    _run_command(folder, words, purpose)
    # fixed sizes instead of planned ones: fast, and the same on every machine
    words = ["train", "experiment=nuclei_3d", "data.path=round1", "output=model1"]
    words += [_VOXEL, "data.patch_size=[16,48,48]", "data.batch_size=2", "tune=false"]
    words += [f"trainer.max_steps={steps}", "score_test=false", "paths.cache_dir=image_cache"]
    _run_command(folder, words, "Train from the weights of the shipped model")
    words = ["predict", f"checkpoint=runs:/{_run_id(folder, 1)}", "input=round1/test.csv"]
    _run_command(folder, [*words, "output=predictions1"], "Predict the field that trained nothing")
    for number in (0, 1):
        words = ["evaluate", f"predictions=predictions{number}/predictions.csv"]
        words += ["truth=round1/test.csv", f"output=evaluation{number}"]
        _run_command(folder, words, f"Score the test field after round {number}")
    dice = _print_results(folder)
    stderr_console.print(f"\nThe demo took {(time.monotonic() - started) / 60:.1f} minutes.")
    if not dice > EXPECTED_DICE:
        raise DemoError(f"Dice on the test field is {dice:.3f}, expected above {EXPECTED_DICE}")


def _collect_labels(folder: Path) -> None:
    """Put the labels of round 1 into a folder: of the model, and corrected where someone did.

    The corrected field, and the test field that only scores, have the labels of the sample.
    """
    labels = folder / "labels1"
    labels.mkdir()
    for name in FIELDS:
        source = "images/seg" if name in _CORRECTED else "predictions0/labels"
        shutil.copy(folder / source / f"{name}.ome.tif", labels)
    stderr_console.print(
        "\nlabels1 holds the model's objects of field_b and field_d. The labels of field_a,\n"
        "which you would correct, and of field_c, which is only scored, are the sample's.",
        markup=False,
    )


def print_headline(text: str) -> None:
    """Print a headline."""
    stderr_console.print(f"\n{text}", style="bold cyan", markup=False)


def _run_id(folder: Path, number: int) -> str:
    """Return the id of the MLflow run of a round."""
    return (folder / f"model{number}" / RUN_ID_FILE).read_text(encoding="utf-8").strip()


def _run_command(folder: Path, words: list[str], purpose: str) -> None:
    """Print a command with its purpose, and run it in the folder of the demo."""
    stderr_console.print(f"\n{purpose}:", markup=False)
    stderr_console.print(
        f"$ cytoloop {shlex.join(words)}", style="green", markup=False, soft_wrap=True
    )
    environment = {**os.environ}
    environment.pop("MLFLOW_TRACKING_URI", None)  # the demo uses a store in its own folder
    command = [sys.executable, "-m", "cytoloop", *words]
    status = subprocess.call(command, cwd=folder, env=environment)
    if status:
        raise DemoError(f"`cytoloop {words[0]}` ended with exit status {status}, expected 0")


def _print_results(folder: Path) -> float:
    """Print the scores of both rounds and what to do next; return the higher Dice."""
    scores = [
        json.loads((folder / f"evaluation{n}" / "summary.json").read_text())["mean"] for n in (0, 1)
    ]
    table = Table(
        title="Scores on the test field (1 = identical to the labels, which a program made)",
        title_justify="left",
    )
    table.add_column("round")
    table.add_column("labels")
    for name in _SCORES:
        table.add_column(name, justify="right")
    for number, (score, what) in enumerate(zip(scores, ("none", "one field"), strict=True)):
        table.add_row(str(number), what, *(f"{score[name]:.3f}" for name in _SCORES))
    stdout_console.print(table)
    picture = write_picture(folder)
    here = os.path.relpath(folder)
    stderr_console.print(
        f"See the result:    {os.path.relpath(picture)}\n"
        f"See all scores:    {here}/evaluation1/report.html\n"
        f"See the trainings: cd {here} && cytoloop ui\n"
        "\nThe same with your images:\n"
        "  cytoloop curate raw=IMAGES/ seg1=LABELS/ output=dataset/\n"
        "  cytoloop train experiment=nuclei_3d data.path=dataset/ "
        f"init_from={here}/model1/checkpoints/best.ckpt",
        markup=False,
        soft_wrap=True,
    )
    return float(scores[1]["dice"])


def write_picture(folder: Path) -> Path:
    """Draw raw, truth, probability, labels and errors of the test field; return the PNG file."""
    from cytoloop.evaluation import image_figure
    from cytoloop.io.labels import read_labels
    from cytoloop.io.read import read_image
    from cytoloop.io.writers.png import write_png

    name = "field_c.ome.tif"
    raw = read_image(folder / "images" / "raw" / name).data[0]
    truth = read_labels(folder / "images" / "seg" / name)
    probability = read_image(folder / "predictions1" / "probability" / name).data[0] / 255
    labels = read_labels(folder / "predictions1" / "labels" / name)
    figure = image_figure(raw, truth, probability, labels, None, "Test field after round 1")
    path = folder / "result.png"
    write_png(path, figure)
    return path
