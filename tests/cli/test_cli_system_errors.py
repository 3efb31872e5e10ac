"""A full disk and other errors of the system are answers for the user, not bugs."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cytoloop.__main__ import main
from cytoloop.cli.reports import find_user_error
from cytoloop.errors import ConfigError, OutputError


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number), "/data/out.csv")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EFBIG, "larger than this disk or your quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "no permission"),
        (errno.EMFILE, "too many open files"),
        (errno.EIO, "the disk reports an error"),
    ],
)
def test_errors_of_the_system_are_explained(number: int, text: str) -> None:
    wrapped = RuntimeError("unexpected pos 64 vs 0")  # as torch.save raises on a full disk
    wrapped.__context__ = os_error(number)
    for error in (os_error(number), wrapped):
        found = find_user_error(error)
        assert isinstance(found, OutputError) and text in str(found)
        assert found.where == "/data/out.csv" and found.repair


def test_other_errors_are_bugs_or_have_their_own_words() -> None:
    assert find_user_error(os_error(errno.ENOENT)) is None
    assert find_user_error(RuntimeError("no")) is None
    full = find_user_error(sqlite3.OperationalError("database or disk is full"))
    assert isinstance(full, OutputError) and "the disk is full" in str(full)
    assert find_user_error(sqlite3.OperationalError("no such table: runs")) is None
    assert isinstance(find_user_error(MemoryError("Unable to allocate 9 TiB")), OutputError)
    with pytest.raises(ValueError) as caught:
        int("1" * 5000)
    assert isinstance(find_user_error(caught.value), ConfigError)


def test_torch_on_a_full_disk_is_explained(
    tmp_path: Path, limited_files: Callable[[int], Any]
) -> None:
    import torch

    from cytoloop.training.checkpoint_io import AtomicCheckpointIO

    write = AtomicCheckpointIO().save_checkpoint
    write({"weights": torch.zeros(10)}, tmp_path / "last.ckpt")
    before = (tmp_path / "last.ckpt").read_bytes()
    large = {"weights": torch.zeros(100_000)}
    for save in (write, torch.save):  # to an opened file, and by torch's own writer
        with limited_files(100_000), pytest.raises((OSError, RuntimeError)) as caught:
            save(large, tmp_path / "last.ckpt" if save is write else tmp_path / "other.pth")
        assert isinstance(find_user_error(caught.value), OutputError)
    (tmp_path / "other.pth").unlink()
    assert (tmp_path / "last.ckpt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_evaluate_on_a_full_disk_keeps_tables_and_report(
    images_2d: Path,
    project: Path,
    capfd: pytest.CaptureFixture[str],
    limited_files: Callable[[int], Any],
) -> None:
    words = [f"predictions={images_2d}/seg", f"truth={images_2d}/seg", "output=eval"]
    with limited_files(40_000):
        assert main(["evaluate", *words, "log_to_mlflow=false"]) == 2
    error = capfd.readouterr().err
    assert (
        "The tables, and a report without figures, are complete" in error
        and "Traceback" not in error
    )
    names = {path.name for path in (project / "eval").iterdir() if path.is_file()}
    assert names == {"metrics.csv", "objects.csv", "summary.json", "report.html"}
    assert main(["evaluate", *words, "log_to_mlflow=false"]) == 0
    assert list((project / "eval/overlays").glob("*.png"))


@pytest.mark.parametrize("limit", [1_500, 5_000])
def test_curate_on_a_full_disk_keeps_the_data_set(
    images_2d: Path,
    project: Path,
    capfd: pytest.CaptureFixture[str],
    limited_files: Callable[[int], Any],
    limit: int,
) -> None:
    words = ["curate", f"raw={images_2d}/raw", f"seg1={images_2d}/seg", "output=ds"]
    assert main(words) == 0
    before = {path: path.read_bytes() for path in Path("ds").rglob("*") if path.is_file()}
    capfd.readouterr()
    with limited_files(limit):
        assert main([*words, "valid=[img_2]"]) == 2
    error = capfd.readouterr().err
    assert "Traceback" not in error and "bug" not in error
    assert {path: path.read_bytes() for path in Path("ds").rglob("*") if path.is_file()} == before


HUGE = ["1" * 5000, "0x" + "f" * 5000, "-" + "9" * 400]


@pytest.mark.parametrize("number", HUGE, ids=["digits", "hexadecimal", "negative"])
@pytest.mark.parametrize("key", ["data:\n  batch_size: ", "data:\n  patch_size: [64, "])
def test_huge_numbers_in_a_plan_are_refused(tmp_path: Path, key: str, number: str) -> None:
    from cytoloop.training.prepare.plan.file import read_plan

    (tmp_path / "plan.yaml").write_text(key + number + ("]" if "[" in key else "") + "\n")
    with pytest.raises(ConfigError) as error:
        read_plan(tmp_path / "plan.yaml")
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "url",
    [
        "https://ann:Tulip@host/a.tif",
        "https://host/a.tif?X-Amz-Signature=Tulip",
        "https://host/a.tif?sv=2&sig=Tulip",
        "s3://Tulip@bucket/a.tif",
    ],
)
@pytest.mark.parametrize("verb", ["predict", "curate", "evaluate"])
def test_secrets_in_a_command_are_refused_before_anything_is_written(
    project: Path, capfd: pytest.CaptureFixture[str], verb: str, url: str
) -> None:
    key = {"predict": "input", "curate": "raw", "evaluate": "truth"}[verb]
    assert main([verb, f"{key}={url}", "output=out"]) == 2
    found = capfd.readouterr()
    assert "~/.netrc" in found.err and "Tulip" not in found.err + found.out
    assert not list(project.iterdir())


def test_a_query_without_a_secret_is_accepted() -> None:
    from cytoloop.cli.overrides import refuse_secrets

    words = ["input=https://host/a.tif?versionId=12", "key=(?P<id>.*)@x", "output=a@b"]
    refuse_secrets("predict", words)


def test_a_token_of_a_manifest_is_not_repeated_in_predictions(tmp_path: Path) -> None:
    from cytoloop.inference.results.predictions_csv import PredictionsTable
    from cytoloop.manifest import Row

    urls = ["https://ann:Tulip@host/a.tif", "https://host/b.tif?token=Tulip", "s3://bucket/c.tif"]
    rows = [Row({"id": str(n), "raw": url}) for n, url in enumerate(urls)]
    PredictionsTable(tmp_path, rows, {})
    text = (tmp_path / "predictions.csv").read_text()
    assert "Tulip" not in text
    assert "https://host/a.tif" in text and "https://host/b.tif?..." in text and urls[2] in text
