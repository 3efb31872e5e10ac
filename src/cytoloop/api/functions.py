"""The verbs as Python functions.

Values are Python objects. Errors are exceptions, `cytoloop.errors.CytoloopError`, with the text of
the command line. Keys are those of the command line: top-level keys and config groups as keyword
arguments, other keys in a dictionary.

Examples
--------
>>> train(experiment="nuclei_2d", **{"data.path": "dataset"})  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from cytoloop.api.call import call_verb, isolated_call
from cytoloop.api.results import (
    CheckResult,
    CompareResult,
    CurateResult,
    EvaluateResult,
    PredictResult,
    TrainResult,
)
from cytoloop.cli.config_errors import missing_keys_error
from cytoloop.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cytoloop.inference.predict_array import Prediction


def curate(**keys: Any) -> CurateResult:
    """Pair, check and split images, and write a data set.

    Parameters
    ----------
    **keys
        ``raw``, ``seg1``, ``output``, ``group``, ``valid``, ``test`` ...; see
        ``cytoloop curate --help``.

    Raises
    ------
    CytoloopError
        Images, decisions or keys have problems.
    """
    from cytoloop.cli.commands.curate import curate_images

    def run(cfg: Any) -> CurateResult:
        result = curate_images(cfg)
        files = tuple(path.absolute() for path in result.files)
        return CurateResult(Path(cfg.output).absolute(), result.counts, files)

    return call_verb("curate", keys, run)


def check(**keys: Any) -> CheckResult:
    """Check a data set as training does before it starts.

    Parameters
    ----------
    **keys
        ``data.path``, ``experiment`` ...; see ``cytoloop check --help``.

    Raises
    ------
    CytoloopError
        With all problems of the data set.
    """
    from cytoloop.cli.commands.check import check_dataset

    def run(cfg: Any) -> CheckResult:
        known = check_dataset(cfg)
        facts = known.known_facts
        counts = {split: len(rows) for split, rows in known.dataset.items()}
        return CheckResult(
            facts.spatial_dims, facts.channels, facts.spacing_um, counts, dict(facts.shapes)
        )

    return call_verb("check", keys, run)


def train(arrays: Mapping[str, Sequence[Any]] | None = None, **keys: Any) -> TrainResult:
    """Train or fine-tune a model, or resume a training.

    The state of the random number generators is restored afterwards.

    Parameters
    ----------
    arrays : mapping of str to sequence, optional
        Images of a CytoDL experiment that takes arrays (``im2im/segmentation_array``): split
        (``train``, ``val``) to images, each a mapping of key to array (C, [Z,] Y, X).
    **keys
        ``experiment``, ``data.path``, ``output``, ``budget_minutes``, ``init_from`` ...; see
        ``cytoloop train --help``.

    Raises
    ------
    CytoloopError
        The data set or keys have problems.
    KeyboardInterrupt
        The training was stopped; the message says how to resume it.
    """
    # imported before the state of the process is noted: Lightning and MLflow set up their loggers
    import cytoloop.rounds.run_training  # noqa: F401
    from cytoloop.api.state import restored_torch_state
    from cytoloop.cli.commands.train import train_model
    from cytoloop.cli.commands.train_cytodl import train_experiment

    def run(cfg: Any) -> TrainResult:
        if arrays is not None:
            raise ConfigError(
                "arrays", "our recipes take files", "Write the images, and use cytoloop.curate."
            )
        return _train_result(cfg, train_model(cfg))

    def run_cytodl(cfg: Any) -> TrainResult:
        return _train_result(cfg, train_experiment(cfg, arrays))

    with restored_torch_state():
        return call_verb("train", keys, run, {"train_cytodl": run_cytodl})


def _train_result(cfg: Any, found: Any) -> TrainResult:
    folder = Path(cfg.paths.output_dir).absolute()
    return TrainResult(found.run_id, found.checkpoint.absolute(), found.scores, folder)


@overload
def predict(
    input: str | Path | None = None,
    checkpoint: str | Path | Sequence[str | Path] | None = None,
    **keys: Any,
) -> PredictResult: ...


@overload
def predict(
    input: NDArray[Any], checkpoint: str | Path | Sequence[str | Path], **keys: Any
) -> Prediction: ...


def predict(input: Any = None, checkpoint: Any = None, **keys: Any) -> PredictResult | Prediction:
    """Return the prediction for an array, or predict files.

    Parameters
    ----------
    input : array, str or Path
        Grey levels of the microscope, ([Z,] Y, X); or with a channel axis, see ``channel_axis``.
        A text or a path names files: a folder, glob, image or CSV.
    checkpoint : str, Path or list of them
        A file, ``runs:/ID``, ``models:/NAME@ALIAS`` ...; a list is an ensemble.
    **keys
        For an array: ``spacing_um`` (Z, Y, X), ``channel_axis``, ``resample``, ``planes``, ``tta``,
        ``overlap``, ``window``, ``batch_size``, ``accelerator``, ``precision``; and the keys of
        ``postprocess``: ``threshold``, ``smoothing``, ``seed_smoothing``, ``min_depth``,
        ``grow_um``, ``grow_z_um``, ``haze``, ``min_volume_um3``, ``max_volume_um3``,
        ``fill_holes``, ``border``, ``join_planes``.
        For files: ``output`` and the other keys of ``cytoloop predict --help``.

    Returns
    -------
    Prediction
        For an array: probability, mask, labels and a table of objects. Writes no files.
    PredictResult
        For files: the folder and its table.

    Raises
    ------
    CytoloopError
        The checkpoint does not exist, the images do not fit it, or a key is wrong. Of files that
        fail, all are named after the others were predicted.
    """
    from cytoloop.cli.commands.predict import predict_images
    from cytoloop.tracking.checkpoints import locate_checkpoint

    if input is None or isinstance(input, (str, Path)):
        given = {"input": input, "checkpoint": checkpoint, **keys}

        def run(cfg: Any) -> PredictResult:
            return PredictResult(predict_images(cfg).absolute())

        return call_verb("predict", {k: v for k, v in given.items() if v is not None}, run)

    from cytoloop.inference.predict_array import predict_array

    if checkpoint is None:
        raise missing_keys_error("predict", ["checkpoint"])
    uris = checkpoint if isinstance(checkpoint, (list, tuple)) else [checkpoint]
    with isolated_call():  # MLflow sets environment variables and loggers
        paths = [locate_checkpoint(str(uri)).path for uri in uris]
    return predict_array(input, paths, **keys)


def evaluate(**keys: Any) -> EvaluateResult:
    """Score predictions against truth.

    Parameters
    ----------
    **keys
        ``predictions``, ``truth``, ``output`` ...; see ``cytoloop evaluate --help``.

    Raises
    ------
    CytoloopError
        Files or keys have problems.
    """
    from cytoloop.cli.commands.evaluate import evaluate_predictions

    def run(cfg: Any) -> EvaluateResult:
        return EvaluateResult(Path(cfg.output).absolute(), evaluate_predictions(cfg).summary)

    return call_verb("evaluate", keys, run)


def compare(**keys: Any) -> CompareResult:
    """Test whether an evaluation is better than another.

    Parameters
    ----------
    **keys
        ``a``, ``b``, ``output``, ``score`` ...; see ``cytoloop compare --help``.

    Raises
    ------
    CytoloopError
        Evaluations or keys have problems.
    """
    from cytoloop.cli.commands.compare import STATUS, compare_evaluations

    def run(cfg: Any) -> CompareResult:
        found = compare_evaluations(cfg)
        return CompareResult(
            Path(cfg.output).absolute(),
            found[0].verdict,
            found[0].reason,
            STATUS[found[0].verdict],
            _score_table(found),
        )

    return call_verb("compare", keys, run)


def _score_table(comparisons: Sequence[Any]) -> Any:
    """Return the scores of comparisons as a data frame, see `CompareResult`."""
    import numpy as np
    import pandas as pd

    rows = []
    for one in comparisons:
        for name, score in one.scores.items():
            low, high = score["interval"] or (np.nan, np.nan)
            rows.append(
                {
                    "score": name,
                    "first": one.first.name,
                    "second": one.second.name,
                    "of_first": score["first"],
                    "of_second": score["second"],
                    "difference": score["difference"],
                    "low": low,
                    "high": high,
                    "p_value": np.nan if score["p_value"] is None else score["p_value"],
                    "images": score["images"],
                }
            )
    return pd.DataFrame(rows)
