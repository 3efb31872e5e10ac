"""Work shared out to a Dask cluster: a task for each image, many for one that is large.

An image that does not fit into memory is cut into blocks, and each worker predicts some of them
into the same Zarr. A worker that is lost costs what it was doing: Dask gives it to another one.
Each worker keeps the model.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.errors import ConfigError, ImageError, ManifestError
from cytoloop.inference.image_task import (
    LESS_MEMORY,
    ImageTask,
    cells_or_failure,
    mover,
    predict_job,
)
from cytoloop.inference.model_source import ModelSource
from cytoloop.inference.postprocess.settings import TrainingFacts
from cytoloop.inference.predict_image import finish_row, open_input, report_write_errors
from cytoloop.inference.settings import Settings
from cytoloop.inference.volume_storage import CHUNK, IN_MEMORY_VOXELS, VolumeStorage
from cytoloop.inference.windows.probability_maps import DTYPES, batch_of, network_of, write_box
from cytoloop.inference.windows.sliding_window import sliding_window_inference
from cytoloop.instances.blocks import Blocks, Box
from cytoloop.intensity.normalization import Levels
from cytoloop.io.read import read_header

log = logging.getLogger(__name__)

_BLOCK = (64, 512, 512)
"""Voxels of a worker's part of a large image: whole chunks, so that no two write the same one."""


def run_on_cluster(
    jobs: Sequence[ImageTask],
    model: ModelSource,
    settings: Settings,
    output: Path,
    advance: Callable[[int, float], None],
    workers: int,
    scheduler: str | None,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the cells of each job as they come, from the workers of a cluster.

    Parameters
    ----------
    jobs, model, settings, output, advance
        As for `run_here`; paths must mean the same on every worker.
    workers : int
        Of a cluster on this machine, where no scheduler is given.
    scheduler : str, optional
        Address of a running cluster: ``tcp://host:8786``.

    Raises
    ------
    ConfigError
        No scheduler answers there.
    """
    from distributed import as_completed

    with _client(workers, scheduler) as client:
        large = [job for job in jobs if _is_large(job, settings)]
        small = [job for job in jobs if job not in large]
        tasks = {
            client.submit(
                # two files of the same content have the same key
                predict_job,
                job,
                model,
                settings,
                output,
                pure=False,
                key=f"predict-{job.key}-{job.number}",
            ): job
            for job in small
        }
        for future in as_completed(list(tasks)):
            job = tasks[future]
            yield job.number, cells_or_failure(partial(_result, future, job.row.id))
        for job in large:
            moved = mover(advance, job.number)
            yield job.number, _predict_blocks(client, job, model, settings, output, moved)


def _predict_blocks(
    client: Any,
    job: ImageTask,
    model: ModelSource,
    settings: Settings,
    output: Path,
    advance: Callable[[float], None],
) -> dict[str, Any]:
    """Predict a large image by the blocks of all workers."""

    def work() -> dict[str, Any]:
        from distributed import as_completed

        predictor = model.load()
        pixels = open_input(job.row, settings, predictor)
        with report_write_errors(output):
            scratch = VolumeStorage(output / ".partial" / job.row["name"], job.key)
            maps = {}
            for name in predictor.maps:
                maps[name] = scratch.new(name, pixels.shape, DTYPES[settings.dtype])
                scratch.note(name, scratch.done(name))  # it is there from now on
            asked = client.submit(_levels, job, model, settings, pure=False)
            levels = _result(asked, job.row.id)
            if levels is not None:
                windows = predictor.windows(pixels.shape)
                boxes = list(Blocks(windows.shape, _block_of(windows.shape, windows.before)))
                tasks = {
                    client.submit(
                        _predict_box, job, model, settings, output, levels, box, pure=False
                    ): number
                    for number, box in enumerate(boxes)
                    if not scratch.done(f"box {number}")
                }
                for future in as_completed(list(tasks)):
                    _result(future, job.row.id)
                    scratch.note(f"box {tasks[future]}", 1)
                    advance(sum(scratch.done(f"box {n}") for n in range(len(boxes))) / len(boxes))
            trained = TrainingFacts.from_checkpoint(predictor.image)
            return finish_row(job.row, maps, pixels.grid, trained, settings, output, scratch)

    return cells_or_failure(work)


def _levels(job: ImageTask, model: ModelSource, settings: Settings) -> list[Levels] | None:
    predictor = model.load()
    return predictor.levels(job.row.id, open_input(job.row, settings, predictor))


def _predict_box(
    job: ImageTask,
    model: ModelSource,
    settings: Settings,
    output: Path,
    levels: list[Levels],
    box: Box,
) -> None:
    """Predict a block of a large image into its Zarr."""
    predictor = model.load()
    pixels = open_input(job.row, settings, predictor)
    folder = output / ".partial" / job.row["name"]
    windows = predictor.windows(pixels.shape)
    count = len(predictor.maps)
    found = np.zeros((count, *(s.stop - s.start for s in box)), np.float32)
    for where, maps in sliding_window_inference(
        pixels,
        windows,
        partial(predictor.prepare, levels=levels),
        partial(network_of, predictor, levels, settings.skip_empty),
        box,
        count,
        batch_of(settings.batch_size, predictor, windows),
    ):
        found[:, where[0].start - box[0].start : where[0].stop - box[0].start] = maps
    for name, one in zip(predictor.maps, found, strict=True):
        write_box(VolumeStorage.attach(folder, name), windows, box, one)  # whole chunks, at once


def _is_large(job: ImageTask, settings: Settings) -> bool:
    """Tell whether an image is cut into blocks, from its header alone."""
    try:
        header = read_header(job.row.file("raw") or "", job.row["scene"] or None)
    except (ImageError, ManifestError):
        return False  # its turn comes, and its row will tell why it failed
    return math.prod(header.spatial) > IN_MEMORY_VOXELS and not settings.resample


def _block_of(shape: Sequence[int], before: Sequence[int]) -> tuple[int, ...]:
    """Return the size of blocks: whole chunks; an axis that is mirrored (a short one) whole."""
    sizes = zip(_BLOCK[-len(shape) :], CHUNK[-len(shape) :], shape, before, strict=True)
    return tuple(side if mirrored else size - size % chunk for size, chunk, side, mirrored in sizes)


def _result(future: Any, name: str) -> Any:
    """Return what a worker returned.

    Raises
    ------
    ImageError
        Worker after worker died of this task.
    """
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        raise ImageError(
            name,
            "every worker that tried it was killed, probably for want of memory",
            LESS_MEMORY,
        ) from error


@contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator[Any]:
    """Connect to a cluster; without an address one of this machine, which ends with the block."""
    from distributed import Client, LocalCluster

    if scheduler:
        try:
            client = Client(scheduler, timeout="10s")
        except (OSError, ValueError) as error:
            raise ConfigError(
                "scheduler",
                f"no Dask scheduler answers at {scheduler}",
                "Start one: dask scheduler.",
            ) from error
        with client:
            if not client.scheduler_info()["workers"]:
                log.warning(
                    "no worker at %s yet: waiting. Start one: dask worker %s", *2 * [scheduler]
                )
            yield client
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = str(max((cores or 1) // workers, 1))
    environment: Mapping[str, str] = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            host="127.0.0.1",
            env=dict(environment),
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client
