"""One engine for the verbs that go over many images: local processes, or a Dask cluster."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import make_images
from distributed import LocalCluster

from cytoloop.__main__ import main
from cytoloop.errors import ConfigError
from cytoloop.workers.engine import Engine


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a cluster whose workers run in other folders."""
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address=None,
        host="127.0.0.1",
        local_directory=str(tmp_path_factory.mktemp("workers")),
        silence_logs=40,
        env={"OMP_NUM_THREADS": "1"},
    ) as cluster:
        yield cluster.scheduler_address


def read_rows(path: Path, *without: str) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in without} for row in csv.DictReader(file)]


def test_a_cluster_gives_the_results_of_this_process(scheduler: str) -> None:
    jobs = list(range(100))
    expected = [(number, str(number)) for number in jobs]
    assert sorted(Engine("dask", scheduler=scheduler).run(str, jobs)) == expected
    assert sorted(Engine().run(str, jobs)) == expected
    with pytest.raises(ValueError, match="invalid literal"):
        list(Engine("dask", scheduler=scheduler).run(int, ["1", "x", "3"]))


def test_verbs_write_the_same_tables_on_a_cluster(
    project: Path, store: str, scheduler: str, capfd: pytest.CaptureFixture[str]
) -> None:
    images = make_images(project / "images", 12, (40, 40))
    cluster = ["engine=dask", f"scheduler={scheduler}"]
    words = [f"raw={images.name}/raw", f"seg1={images.name}/seg", "test=0.3"]
    assert main(["curate", *words, "output=a"]) == 0
    assert main(["curate", *words, "output=b", *cluster, "paths.check_cache=null"]) == 0
    assert read_rows(project / "a/dataset.csv") == read_rows(project / "b/dataset.csv")
    assert (project / "a/dataset.json").read_text() == (project / "b/dataset.json").read_text()

    found = ["predictions=images/seg", "truth=a/test.csv", "log_to_mlflow=false", "overlays=0"]
    assert main(["evaluate", *found, "output=c"]) == 0
    assert main(["evaluate", *found, "output=d", *cluster]) == 0
    assert read_rows(project / "c/metrics.csv") == read_rows(project / "d/metrics.csv")

    capfd.readouterr()
    assert main(["check", "experiment=nuclei_2d", "data.path=a", *cluster]) == 0
    assert "no problems; 2D" in capfd.readouterr().err


def test_wrong_keys_are_refused_by_every_verb(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="expected local, dask"):
        Engine("slurm")
    calls = (
        ["curate", "raw=x", "seg1=x", "output=o"],
        ["check", "data.path=x"],
        ["evaluate", "predictions=x", "truth=x", "output=o"],
        ["predict", "checkpoint=x", "input=x", "output=o"],
    )
    for words in calls:
        assert main([*words, "scheduler=tcp://127.0.0.1:9", "workers=0"]) == 2
        assert "scheduler=tcp://127.0.0.1:9: needs engine=dask" in capfd.readouterr().err
    assert main([*calls[1], "engine=dask", "scheduler=tcp://127.0.0.1:9", "workers=-1"]) == 2
    assert "workers=-1: expected 0 (all cores), 1, 2" in capfd.readouterr().err
