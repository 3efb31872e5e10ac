"""Which launcher started a process, and which settings of the trainer fit to it."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.fabric.plugins.environments import (
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from omegaconf import DictConfig, OmegaConf

from cytoloop.cli.launched import is_launched, run_launched
from cytoloop.errors import ConfigError
from cytoloop.training.launch import check_launch, find_launcher, process_count, rank_of

TORCHRUN = {
    "RANK": "3",
    "LOCAL_RANK": "1",
    "GROUP_RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2",
    "TORCHELASTIC_RUN_ID": "none",
}
SLURM = {
    "SLURM_NTASKS": "8",
    "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_JOB_NAME": "train",
}


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOCAL_RANK", "NODE_RANK", *TORCHRUN, *SLURM):
        monkeypatch.delenv(name, raising=False)


def started_by(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def trainer(**values: Any) -> DictConfig:
    return OmegaConf.create({"accelerator": "cpu", **values})


def test_there_is_one_process_for_each_device() -> None:
    for devices, count in ((1, 1), ("auto", 1), (-1, 1), (2, 2), ("2", 2), ([0, 1], 2)):
        assert process_count(trainer(devices=devices, strategy="ddp")) == count
    assert process_count(trainer()) == 1


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork", "ddp_notebook"])
def test_strategies_that_copy_the_process_are_refused(strategy: str) -> None:
    with pytest.raises(ConfigError, match="2 problems") as caught:
        process_count(trainer(devices=1000, strategy=strategy))
    assert f"strategy is {strategy}, expected ddp" in str(caught.value)
    assert "devices is 1000, expected at most 64" in str(caught.value)


def test_a_process_that_was_started_alone_has_no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_launched() and find_launcher() is None
    started_by(monkeypatch, **SLURM | {"SLURM_NTASKS": "1"})
    assert is_launched() and find_launcher() is None
    assert run_launched(["data.path=ds"], lambda: 7, lambda error: 2) == 7


@pytest.mark.parametrize(
    ("variables", "kind", "rank"),
    [
        (TORCHRUN, TorchElasticEnvironment, 3),
        (SLURM, SLURMEnvironment, 5),
        ({"LOCAL_RANK": "1"}, LightningEnvironment, 1),
    ],
)
def test_the_rank_is_that_of_the_launcher(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], kind: type, rank: int
) -> None:
    started_by(monkeypatch, **variables)
    launcher = find_launcher()
    assert is_launched() and isinstance(launcher, kind) and rank_of(launcher) == rank
    # help is printed by every process
    assert run_launched(["--help"], lambda: 7, lambda error: 2) == 7


def test_variables_of_slurm_that_contradict_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started_by(monkeypatch, SLURM_NTASKS="2", SLURM_JOB_NAME="train")
    with pytest.raises(ConfigError, match="--ntasks-per-node=2"):
        find_launcher()
    errors: list[Any] = []
    assert run_launched([], lambda: 0, lambda error: errors.append(error) or 2) == 2
    assert "--ntasks-per-node=2" in str(errors[0])


def test_the_launcher_must_start_as_many_processes_as_the_trainer_expects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started_by(monkeypatch, **TORCHRUN)
    check_launch(trainer(devices=2, num_nodes=2))
    for wrong in ({"devices": 2}, {"devices": 4, "num_nodes": 2}, {}):
        with pytest.raises(ConfigError, match="the launcher started 4 processes"):
            check_launch(trainer(**wrong))
    started_by(monkeypatch, WORLD_SIZE="1")
    check_launch(trainer())
    with pytest.raises(ConfigError, match="the launcher started 1 processes"):
        check_launch(trainer(devices=2))


def test_several_machines_need_a_launcher() -> None:
    check_launch(trainer(num_nodes=1))
    with pytest.raises(ConfigError, match=r"num_nodes: is 2, .*\n.*torchrun or srun"):
        check_launch(trainer(num_nodes=2))


def test_lightning_starts_processes_only_for_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    two = trainer(devices=2)
    with pytest.raises(ConfigError, match="only for the command `cytoloop`"):
        check_launch(two)
    for program, spec in (
        ("/usr/bin/cytoloop", None),  # the console script
        ("/usr/lib/cytoloop/__main__.py", SimpleNamespace(name="cytoloop.__main__")),
    ):
        monkeypatch.setattr(sys, "argv", [program, "train"])
        monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=spec))  # type: ignore
        check_launch(two)
        monkeypatch.setattr(sys, "argv", ["notebook.py"])
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=None))  # type: ignore
    with pytest.raises(ConfigError, match="only for the command `cytoloop`"):
        check_launch(two)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/cytoloop", "train"])
    started_by(monkeypatch, LOCAL_RANK="0")
    with pytest.raises(ConfigError, match=r"LOCAL_RANK: .*\nUnset"):
        check_launch(two)
