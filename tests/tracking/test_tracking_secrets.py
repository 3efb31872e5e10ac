"""Passwords in a tracking URI are used and never shown or stored."""

from __future__ import annotations

import logging
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from cytoloop.__main__ import main
from cytoloop.errors import ConfigError
from cytoloop.redact import has_password, redact_text
from cytoloop.rounds.training_record import start_training_run
from cytoloop.terminal import FileFormatter
from cytoloop.tracking.store import connect

SECRET = "Tulip-4711"
WITH = f"postgresql://ann:{SECRET}@db.invalid:5432/runs"


@settings(max_examples=50)
@given(st.text(min_size=4, max_size=20))
def test_redaction_removes_every_password(password: str) -> None:
    uri = f"postgresql+psycopg://ann:{quote(password, safe='')}@db:5432/runs"
    assert has_password(uri)
    line = redact_text(f"store ({uri}), http://127.0.0.1:5000, and user@host: {uri}")
    own = "postgresql+psycopg://db:5432/runs"
    assert line == f"store ({own}), http://127.0.0.1:5000, and user@host: {own}"


@pytest.mark.parametrize(
    "uri",
    [
        WITH,
        f"postgresql://ann:{SECRET}/x@db/runs",
        f"postgresql://db/runs?user=ann&password={SECRET}",
        f"https://ann:{SECRET}@mlflow.invalid",
    ],
)
def test_a_password_in_a_config_is_refused_before_it_is_stored(
    project: Path, capfd: pytest.CaptureFixture[str], uri: str
) -> None:
    assert SECRET not in redact_text(f"at {uri} now")
    words = [f"logger.mlflow.tracking_uri='{uri}'", "data.path=ds", "output=m"]
    assert main(["train", *words]) == 2
    captured = capfd.readouterr()
    assert "holds a password" in captured.err and SECRET not in captured.err + captured.out
    for path in (one for one in project.rglob("*") if one.is_file()):
        assert SECRET.encode() not in path.read_bytes(), path
    config: dict[str, Any] = {"paths": {"output_dir": "m"}, "run_name": "one"}
    config["logger"] = {"mlflow": {"tracking_uri": uri}}
    with pytest.raises(ConfigError, match="holds a password") as caught:
        start_training_run(OmegaConf.create(config))
    assert SECRET not in str(caught.value) and not (project / "m").exists()


def test_a_user_name_without_a_password_is_accepted() -> None:
    for uri in ("postgresql://ann@db:5432/runs", "http://127.0.0.1:5000", "sqlite:///C:/x.db"):
        assert not has_password(uri)


def test_neither_log_file_nor_terminal_shows_the_password(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise RuntimeError(f"cannot reach {WITH}")

    try:
        broken()
    except RuntimeError:
        record = logging.LogRecord("x", 40, "", 0, "%s", (WITH,), sys.exc_info())
    text = FileFormatter("%(message)s").format(record)
    assert "RuntimeError: cannot reach postgresql://db.invalid" in text and SECRET not in text

    from cytoloop.tracking import registry

    def list_versions(name: str | None) -> None:
        raise RuntimeError(f"cannot reach {WITH}")

    monkeypatch.setattr(registry, "list_versions", list_versions)
    assert main(["models", "list"]) == 1
    text = capfd.readouterr().err
    assert "RuntimeError: cannot reach postgresql://db.invalid" in text and SECRET not in text
    logs = [path.read_text() for path in project.rglob("*.log")]
    assert logs and "Traceback" in logs[0] and SECRET not in "".join(logs)


def test_an_unavailable_database_is_reported_within_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"postgresql://ann:{SECRET}@127.0.0.1:{free.getsockname()[1]}/runs"
    start = time.monotonic()
    with pytest.raises(ConfigError, match="postgresql://127.0.0.1.*cannot be used") as caught:
        connect(uri)
    assert time.monotonic() - start < 20 and SECRET not in str(caught.value)
    assert "address" in caught.value.repair


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg2"])
def test_a_database_without_its_driver_names_the_package(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    for name in ("psycopg", "psycopg2"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"postgresql needs the package psycopg") as caught:
        connect(f"{scheme}://ann:{SECRET}@127.0.0.1:9/runs")
    assert "cytoloop[postgresql]" in caught.value.repair and SECRET not in str(caught.value)


def test_the_ui_gets_the_store_uri_in_its_environment(
    project: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, str] = {}

    def call(command: list[str], env: dict[str, str]) -> int:
        seen.update(words=" ".join(command), uri=env["MLFLOW_BACKEND_STORE_URI"])
        return 0

    monkeypatch.setattr(subprocess, "call", call)
    assert main(["ui"]) == 0
    assert seen["uri"] == store and not re.search("sqlite", seen["words"])
