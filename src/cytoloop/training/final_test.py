"""Predict annotated images with a model and score them: test images, or images of a promotion."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from cytoloop.errors import CytoloopError
from cytoloop.evaluation import (
    EvaluationSettings,
    evaluate,
    run_metrics,
    stated_classes,
    write_evaluation,
)
from cytoloop.inference.inputs.list_inputs import list_inputs
from cytoloop.inference.model_source import ModelSource
from cytoloop.inference.postprocess.settings import PostprocessSettings
from cytoloop.inference.predict_rows import predict_rows
from cytoloop.inference.results.predictions_csv import TABLE
from cytoloop.inference.settings import OutputSettings, PredictionSettings, WindowSettings
from cytoloop.manifest import Manifest

log = logging.getLogger(__name__)

FOLDER = "test"


def score_test(
    checkpoint: Path,
    dataset: Mapping[str, Manifest],
    output: Path,
    run_id: str,
    postprocess: PostprocessSettings,
    planes: bool | str | None = None,
) -> tuple[dict[str, float], list[Path]]:
    """Predict and score the test images with the post-processing tuned on validation images.

    If the test images cannot be scored, this logs a warning and the training still succeeds.

    Parameters
    ----------
    checkpoint : Path
        Best checkpoint, tuned.
    dataset : mapping of str to Manifest
        The three splits. Nothing is scored if a test image is also a training or validation
        image, as in data sets of the Segmenter ML plugin.
    output : Path
        Folder of the training; predictions and scores go into ``test/``.
    run_id : str
        MLflow run of the training.
    postprocess : PostprocessSettings
    planes : bool, str or None
        Planes of test stacks that are scored, see `EvaluationSettings`.

    Returns
    -------
    scores : dict of str to float
        Scores by the names of `cytoloop evaluate`; empty if nothing was scored.
    files : list of Path
        Tables, figures and the report.
    """
    seen = {row.id for split in ("train", "valid") for row in dataset[split]}
    if not len(dataset["test"]) or seen & {row.id for row in dataset["test"]}:
        return {}, []
    try:
        table, origin = dataset["test"].path, {"model": f"runs:/{run_id}", "run_id": run_id}
        folder = output.absolute() / FOLDER
        found, files = score_model(
            checkpoint, table, table, folder, origin, postprocess, folder / "evaluation", planes
        )
    except CytoloopError as error:
        log.warning("the test images are not scored: %s", error)
        return {}, []
    numbers = {name: float(v) for name, v in found.items() if isinstance(v, (int, float))}
    shown = ", ".join(f"{n} {numbers[n]:.3f}" for n in ("dice", "f1_50", "seg") if n in numbers)
    log.info("%d test images: %s (%s)", numbers["scored"], shown, output / FOLDER / "evaluation")
    return numbers, files


def _scored(
    table: Path, truth: str | Path, folder: Path, planes: bool | str | None
) -> tuple[dict[str, float | None], list[Path]]:
    """Score a table of predictions; return the scores and the files written."""
    settings = EvaluationSettings(planes=planes)
    evaluation = evaluate(table, truth, settings, classes=stated_classes(table))
    return run_metrics(evaluation.summary), write_evaluation(evaluation, folder)


def score_model(
    checkpoint: Path,
    images: str | Path,
    truth: str | Path,
    folder: Path,
    origin: Mapping[str, str | None],
    postprocess: PostprocessSettings | None = None,
    scores: Path | None = None,
    planes: bool | str | None = None,
) -> tuple[dict[str, float | None], list[Path]]:
    """Predict images into a folder, score them, and write tables, pictures and the report.

    Parameters
    ----------
    checkpoint : Path
    images, truth : str or Path
        As `cytoloop predict` and `cytoloop evaluate` take them.
    folder : Path
        Folder of the predictions. Predictions of the same model and images are used again.
    origin : mapping
        ``model`` (URI) and ``run_id``, written into the tables.
    postprocess : PostprocessSettings, optional
    scores : Path, optional
        Folder of the scores; None: the folder of the predictions.
    planes : bool, str or None
        Planes of stacks that are scored, see `EvaluationSettings`.

    Returns
    -------
    numbers : dict of str to float or None
        Scores by the names of `cytoloop evaluate`.
    files : list of Path

    Raises
    ------
    ImageError, ManifestError
        Images that cannot be predicted or scored.
    """
    uri, run_id = str(origin["model"]), origin["run_id"]
    model = ModelSource((str(checkpoint.absolute()),), uri, run_id)
    classes = model.load(WindowSettings()).training.classes
    save = ("probability", "mask" if classes else "labels")
    settings = PredictionSettings(
        postprocess=postprocess or PostprocessSettings(), output=OutputSettings(save)
    )
    results = predict_rows(list_inputs(images), model, folder, settings)
    if (failed := results.failures()) is not None:
        raise failed
    return _scored(folder / TABLE, truth, scores or folder, planes)
