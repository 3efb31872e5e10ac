"""Predict many images: one row each in ``predictions.csv``, whatever becomes of it."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from cytoloop.errors import ConfigError, ImageError, ManifestError, OutputError
from cytoloop.images import Image, Spacing, read_image, write_image
from cytoloop.inference.instances import label_instances
from cytoloop.inference.predictor import Predictor
from cytoloop.manifest import Row, format_spacing, read_manifest, write_manifest
from cytoloop.terminal import events

log = logging.getLogger(__name__)

OUTPUTS = ("probability", "mask", "labels")
TABLE = "predictions.csv"
_WRITE_EVERY_S = 5.0
_RANGES = {
    "threshold": (0.0, 1.0),
    "min_volume_um3": (0.0, math.inf),
    "seed_smoothing": (0.0, 100.0),
    "min_depth": (0.0, 1.0),
}
_CRUMB = 0.05  # share of the mean training object below which a piece is no object
COLUMNS = (
    *("id", "raw", *OUTPUTS, "group", "split", "channel", "scene", "time", "spacing_um"),
    *("objects", "seconds", "status", "reason", "model", "run_id", "model_sha256", "settings"),
)


def claim_output(folder: str | Path, model_sha256: str, overwrite: bool) -> None:
    """Refuse a folder that holds another model's predictions.

    Raises
    ------
    OutputError
        It does, and `overwrite` is false.
    """
    table = Path(folder) / TABLE
    if overwrite or not table.is_file():
        return
    found = {row["model_sha256"] for row in read_manifest(table, ("id",))}
    if found - {model_sha256}:
        raise OutputError(
            str(folder),
            "holds the predictions of another model",
            "Take another output=, or replace them with overwrite=true.",
        )


def check_settings(save: Sequence[str], postprocess: Mapping[str, Any], batch_size: Any) -> None:
    """Refuse settings that cannot work, before a model is loaded.

    Raises
    ------
    ConfigError
        All of them at once.
    """
    problems = []
    if unknown := sorted(set(save) - set(OUTPUTS)):
        problems.append(f"save={unknown}: expected some of {', '.join(OUTPUTS)}")
    if not (isinstance(batch_size, int) and batch_size >= 1):
        problems.append(f"batch_size={batch_size}: expected a whole number above 0")
    for name, (low, high) in _RANGES.items():
        value = postprocess.get(name)
        if name == "min_volume_um3" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            problems.append(f"postprocess.{name}={value}: expected a number")
        elif not low <= value < high:
            problems.append(f"postprocess.{name}={value}: expected {low:g} or more, below {high:g}")
    if problems:
        raise ConfigError("cytoloop predict", problems, "See `cytoloop predict --help`.")


def predict_rows(
    rows: Sequence[Row],
    predictor: Predictor,
    output: str | Path,
    model: Mapping[str, str | None],
    save: Sequence[str],
    postprocess: Mapping[str, Any],
    channel: Any = None,
    spacing_um: Sequence[float] | None = None,
) -> list[dict[str, Any]]:
    """Predict each row, write its images, and keep ``predictions.csv`` up to date.

    The table holds every row from the start: ``pending``, then ``done``, or ``failed`` with the
    reason; one that fails does not stop the others. A stop leaves the rest pending.

    Parameters
    ----------
    rows : sequence of Row
        With unique ids.
    predictor : Predictor
    output : str or Path
    model : mapping
        ``model`` (URI), ``run_id`` and ``model_sha256``, as they go into the table.
    save : sequence of str
        Some of probability, mask, labels.
    postprocess : mapping
        ``threshold`` and the arguments of `label_instances`.
    channel : str, int or list, optional
        Of the input; a row's own channel wins.
    spacing_um : sequence of float, optional
        (Z, Y, X) where neither row nor file states it.

    Returns
    -------
    list of dict
        The rows of the table.
    """
    output = Path(output)
    settings = hashlib.sha256(json.dumps(dict(postprocess), sort_keys=True).encode()).hexdigest()
    table: list[dict[str, Any]] = []
    for row in rows:
        cells = {k: row[k] for k in ("group", "split", "channel", "scene", "time")}
        cells |= {"id": row.id, "raw": row.named("raw"), "status": "pending"}
        table.append({**cells, **model, "settings": settings[:16]})
    _write(output, table)  # from here on the folder is this model's
    written = time.monotonic()
    try:
        for facts, row in zip(table, _progress(rows), strict=True):
            started = time.perf_counter()
            try:
                facts |= _predict_row(
                    row, predictor, output, save, postprocess, channel, spacing_um
                )
                facts["status"] = "done"
            except (ImageError, ManifestError) as error:  # others would fail every image
                log.warning("%s", error)
                facts |= {"status": "failed", "reason": "; ".join(error.problems)}
            facts["seconds"] = f"{time.perf_counter() - started:.2f}"
            if time.monotonic() - written > _WRITE_EVERY_S:
                _write(output, table)
                written = time.monotonic()
    finally:
        _write(output, table)
    return table


def _write(output: Path, table: Sequence[Mapping[str, Any]]) -> None:
    """Write the table.

    Raises
    ------
    OutputError
        The folder cannot be made or written to.
    """
    try:
        write_manifest(output / TABLE, table, COLUMNS)
    except OSError as error:
        raise OutputError(
            str(output), f"cannot be written to: {error.strerror}", "Take another output=."
        ) from error


def _predict_row(
    row: Row,
    predictor: Predictor,
    output: Path,
    save: Sequence[str],
    postprocess: Mapping[str, Any],
    channel: Any,
    spacing_um: Sequence[float] | None,
) -> dict[str, Any]:
    """Predict one image and write what is asked for; return its cells of the table."""
    path = row.file("raw")
    wanted = row["channel"] or channel
    image = read_image(path or "", wanted, row["scene"] or None, row.time)
    if wanted is None:
        image = _channels_by_name(row.id, image, predictor.image.get("channel_names") or [])
    predictor.check(str(path), image)
    known = row.spacing_um or image.spacing_um or _spacing(spacing_um)
    _warn_spacing(row.id, known, predictor)
    probability = predictor.probability(image.data)
    rule = dict(postprocess)
    mask = probability > float(rule.pop("threshold"))
    rule["min_voxels"] = _smallest(rule.pop("min_volume_um3", None), known, predictor, mask.ndim)
    labels = label_instances(mask, known or predictor.spacing_um, **rule)
    # probability 0..1 is stored as 0..255: every viewer opens it, and 1/255 is fine enough
    results = {
        "probability": np.round(probability * 255).astype(np.uint8),
        "mask": mask.astype(np.uint8),
        "labels": labels,
    }
    cells: dict[str, Any] = {"objects": int(labels.max(initial=0))}
    cells["spacing_um"] = format_spacing(known)
    for kind in save:
        name = f"{kind}/{row['name']}.ome.tif"
        try:
            write_image(output / name, results[kind], "ZYX"[-mask.ndim :], known, [kind])
        except OSError as error:
            raise OutputError(
                str(output / name), f"cannot be written: {error.strerror}", "Free or change it."
            ) from error
        cells[kind] = name
    return cells


def _smallest(
    volume_um3: float | None, known: Spacing | None, predictor: Predictor, dims: int
) -> float:
    """Return the number of voxels below which a piece is no object in an image.

    Without a volume it is a share of the mean training object; that counts in um3 where both
    voxel sizes are known, else in voxels.
    """
    voxel = math.prod(known[-dims:]) if known else 1.0
    if volume_um3 is not None:
        return float(volume_um3) / voxel
    trained = predictor.spacing_um
    ratio = math.prod(trained[-dims:]) / voxel if known and trained else 1.0
    return _CRUMB * float(predictor.image.get("object_voxels") or 0) * ratio


def _spacing(given: Sequence[float] | None) -> Spacing | None:
    """Return the voxel size of the command line as (Z, Y, X)."""
    if not given:
        return None
    if len(given) != 3 or min(given) <= 0:
        raise ConfigError("spacing_um", f"{list(given)}", "Expected [z, y, x] in um, above 0.")
    return (float(given[0]), float(given[1]), float(given[2]))


def _channels_by_name(name: str, image: Image, names: Sequence[str]) -> Image:
    """Return the channels that were trained on in their order, where the image has them by name."""
    if not set(names) <= set(image.channels) or len(set(names)) < len(names) or not names:
        generic = any(n.startswith(("Channel:", "sample ")) for n in (*names, *image.channels))
        if len(names) > 1 and not generic:
            found, trained = ", ".join(image.channels), ", ".join(names)
            log.warning("%s: channels are %s, the model was trained on %s", name, found, trained)
        return image
    index = [image.channels.index(name) for name in names]
    return Image(image.data[index], image.spacing_um, tuple(names))


def _warn_spacing(name: str, known: Spacing | None, predictor: Predictor) -> None:
    trained = predictor.spacing_um
    if known is None or trained is None:
        return
    if any(max(a / b, b / a) > 2 for a, b in zip(known, trained, strict=True)):
        log.warning(
            "%s: voxel %s um, but the model was trained on %s um: expect poor results",
            name,
            format_spacing(known),
            format_spacing(trained),
        )


def _progress(rows: Sequence[Row]) -> Iterator[Row]:
    return iter(
        track(rows, "predicting", console=events, transient=True, disable=not events.is_terminal)
    )


def failures(table: Sequence[Mapping[str, Any]]) -> ImageError | None:
    """Return an error that names every image that failed, None where none did."""
    failed = [f"{row['id']}: {row['reason']}" for row in table if row["status"] == "failed"]
    if not failed:
        return None
    done = len(table) - len(failed)
    return ImageError(
        "predict", failed, f"The other {done} are done; mend these and predict them again."
    )
