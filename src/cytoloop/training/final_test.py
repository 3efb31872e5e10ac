"""Models scored on annotated images: the end of a training, and versions to choose from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from cytoloop.errors import CytoloopError
from cytoloop.evaluation import evaluate, run_metrics, stated_classes, write_evaluation
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
) -> tuple[dict[str, float], list[Path]]:
    """Predict and score the test images with what was chosen on the validation images.

    The model is as good where they cannot be scored: that is said, and no error.

    Parameters
    ----------
    checkpoint : Path
        The best one, tuned.
    dataset : mapping of str to Manifest
        Test images that are among the others (as in a data set of the plugin's) are not scored.
    output : Path
        Of the training; predictions and scores go into ``test/``.
    run_id : str
        Of the training.
    postprocess : PostprocessSettings

    Returns
    -------
    scores : dict of str to float
        By name, as `cytoloop evaluate` logs them; empty where nothing was scored.
    files : list of Path
        Tables, pictures and the report.
    """
    seen = {row.id for split in ("train", "valid") for row in dataset[split]}
    if not len(dataset["test"]) or seen & {row.id for row in dataset["test"]}:
        return {}, []
    try:
        table, named = dataset["test"].path, {"model": f"runs:/{run_id}", "run_id": run_id}
        place = output.absolute() / FOLDER
        found, files = score_model(
            checkpoint, table, table, place, named, postprocess, place / "evaluation"
        )
    except CytoloopError as error:
        log.warning("the test images are not scored: %s", error)
        return {}, []
    numbers = {name: float(v) for name, v in found.items() if isinstance(v, (int, float))}
    told = ", ".join(f"{n} {numbers[n]:.3f}" for n in ("dice", "f1_50", "seg") if n in numbers)
    log.info("%d test images: %s (%s)", numbers["scored"], told, output / FOLDER / "evaluation")
    return numbers, files


def _scored(
    table: Path, truth: str | Path, folder: Path
) -> tuple[dict[str, float | None], list[Path]]:
    """Return the numbers and files of the scores of a table of predictions."""
    evaluation = evaluate(table, truth, classes=stated_classes(table))
    return run_metrics(evaluation.summary), write_evaluation(evaluation, folder)


def score_model(
    checkpoint: Path,
    images: str | Path,
    truth: str | Path,
    folder: Path,
    named: Mapping[str, str | None],
    postprocess: PostprocessSettings | None = None,
    scores: Path | None = None,
) -> tuple[dict[str, float | None], list[Path]]:
    """Predict images into a folder, score them, and write tables, pictures and the report.

    Parameters
    ----------
    checkpoint : Path
    images, truth : str or Path
        As `cytoloop predict` and `cytoloop evaluate` take them.
    folder : Path
        Of the predictions. What lies there already of the same model and images is not predicted
        again.
    named : mapping
        ``model`` (URI) and ``run_id``, as they go into the tables.
    postprocess : PostprocessSettings, optional
    scores : Path, optional
        Folder of the scores; None: that of the predictions.

    Returns
    -------
    numbers : dict of str to float or None
        As `cytoloop evaluate` logs them.
    files : list of Path

    Raises
    ------
    ImageError, ManifestError
        Images that cannot be predicted or scored.
    """
    uri, run_id = str(named["model"]), named["run_id"]
    model = ModelSource((str(checkpoint.absolute()),), uri, run_id)
    classes = model.load(WindowSettings()).training.classes
    save = ("probability", "mask" if classes else "labels")
    settings = PredictionSettings(
        postprocess=postprocess or PostprocessSettings(), output=OutputSettings(save)
    )
    results = predict_rows(list_inputs(images), model, folder, settings)
    if (failed := results.failures()) is not None:
        raise failed
    return _scored(folder / TABLE, truth, scores or folder)
