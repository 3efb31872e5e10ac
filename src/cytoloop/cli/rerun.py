"""Overrides of an earlier training: `rerun=` (a new run with them), `resume=` (the same run).

A run in a shared store is untrusted. Only its typed overrides are read, as data, and checked: no
class outside the networks, losses and optimizers of MONAI and torch and the packages in
``CYTOLOOP_TRUST``, no resolver, no path to write to. They are then composed with the configs of
this machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cytoloop.cli.overrides import bare_key, is_override, quote, text_of
from cytoloop.errors import ConfigError, ModelError
from cytoloop.model.trust import is_trusted
from cytoloop.rounds.config_differences import LOCATION_KEYS, is_location_key
from cytoloop.terminal import stderr_console
from cytoloop.tracking.artifacts import find_artifact
from cytoloop.tracking.output_folder import FINISHED_FILE, OVERRIDES_FILE, can_resume
from cytoloop.tracking.resume import find_run_to_resume

_MAY_CHANGE_ON_RESUME = (
    *("resume", "output", "trainer.max_epochs", "trainer.max_steps", "budget_minutes"),
    *("data.num_workers", "lock", "rerun"),
)
_PATH_KEYS = ("data.path", "init_from")  # only read, as data

_ALLOWED_CLASS = re.compile(
    r"(model|callbacks)[\w.]*\._target_=['\"]?"
    r"(monai\.(networks\.nets|losses|inferers)|torch\.(nn|optim(\.lr_scheduler)?)"
    r"|cytoloop\.model\.[a-z_]+)\.[A-Z]\w*['\"]?"
)
_KEY = re.compile(r"[~+]{0,2}[A-Za-z_][\w./@-]*")
_MAX_OVERRIDES, _MAX_CHARS = 300, 4000


def expand_overrides(words: list[str]) -> list[str]:
    """Return the words of `cytoloop train` with the overrides of the run to repeat or resume.

    Raises
    ------
    ModelError
        There is no such run.
    ConfigError
        The earlier run has overrides that are not safe to use, or the new overrides would change
        a resumed run. Or the tracking URI holds a password.
    """
    typed = _by_key(words)
    flags = [word for word in words if not is_override(word)]
    for key in typed:
        if key.endswith("tracking_uri"):  # before Hydra writes it into the output folder
            from cytoloop.tracking.store import check_no_password

            check_no_password(_value_of(typed, key))
    overrides = typed
    if source := _value_of(typed, "rerun"):
        overrides = _by_key(select_overrides(read_overrides(source), source)) | typed
        words = [*overrides.values(), *flags]
    which = _value_of(overrides, "resume") or _folder_of_requeued_job(overrides)
    return [*_resume_overrides(overrides, which), *flags] if which else words


def read_overrides(source: str) -> list[str]:
    """Return the overrides that a training was started with.

    Parameters
    ----------
    source : str
        ``runs:/ID``, or the output folder of a training.

    Raises
    ------
    ModelError
        There is no such run or folder, or it has no readable overrides.
    """
    import yaml

    path = find_artifact(source, OVERRIDES_FILE)
    try:
        if path.stat().st_size > _MAX_OVERRIDES * _MAX_CHARS:
            raise ValueError("the file is too large")
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
            raise ValueError("expected a list of texts")
    except OSError as error:
        raise ModelError(
            source,
            f"no {path.name} in {path.parent}",
            "Give runs:/ID, or the output folder of a training.",
        ) from error
    except (ValueError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(str(path), f"is damaged: {reason}", "Give another run.") from error
    return found


def select_overrides(overrides: list[str], source: str) -> list[str]:
    """Return the overrides of an untrusted run that say what was trained, not where.

    Parameters
    ----------
    overrides : list of str
    source : str
        Where they come from, for messages.

    Raises
    ------
    ConfigError
        For all overrides that are not safe to use.
    """
    problems, selected = [], []
    if len(overrides) > _MAX_OVERRIDES:
        problems = [f"has {len(overrides)} overrides, expected {_MAX_OVERRIDES} at most"]
    for override in overrides[:_MAX_OVERRIDES]:
        key = bare_key(override)
        if is_location_key(key):
            if key not in LOCATION_KEYS:
                stderr_console.print(
                    f"left out {override} of {source}; type it yourself if you want it",
                    markup=False,
                )
            continue
        if reason := _reason_to_refuse(override):
            problems.append(f"{override[:120]!r} {reason}")
        selected.append(override)
    if problems:
        raise ConfigError(source, problems, "Type the overrides that you trust yourself.")
    return selected


def _reason_to_refuse(override: str) -> str:
    """Return why an override of an untrusted run is not safe to use, "" if it is safe."""
    key, _, value = override.partition("=")
    if len(override) > _MAX_CHARS or not is_override(override) or not _KEY.fullmatch(key):
        return "is not an override"
    if "$" in override:
        return "contains a resolver, which would run on this machine"
    names_class = re.search(r"_(target|args|recursive|convert|partial)_", override)
    if names_class and not (_ALLOWED_CLASS.fullmatch(override) or _names_trusted_class(override)):
        return "names a class or function to run"
    is_path = ".." in value or value.strip("'\"").startswith(("/", "file"))
    if is_path and bare_key(override) not in _PATH_KEYS:
        return "contains a path"
    return ""


def _names_trusted_class(override: str) -> bool:
    """Return whether an override names a class of a package that the user trusts."""
    key, _, value = override.partition("=")
    value = value.strip("'\"")
    return (
        key.endswith("._target_")
        and re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", value) is not None
        and is_trusted(value)
    )


def _by_key(words: Iterable[str]) -> dict[str, str]:
    """Return the overrides by key with prefix; the last one of a key wins."""
    return {word.partition("=")[0]: word for word in words if is_override(word)}


def _value_of(overrides: dict[str, str], key: str) -> str:
    """Return the value of an override, "" if it is missing, false or null."""
    value = text_of(overrides.get(key, ""))
    return "" if value.lower() in ("false", "null") else value


def _folder_of_requeued_job(overrides: dict[str, str]) -> str:
    """Return the output folder to resume if SLURM has restarted this job, else ""."""
    folder = _value_of(overrides, "output")
    if os.environ.get("SLURM_RESTART_COUNT", "0") == "0" or not folder:
        return ""
    if not can_resume(Path(folder)) or Path(folder, FINISHED_FILE).is_file():
        return ""
    stderr_console.print(f"SLURM has restarted this job: resuming {folder}", markup=False)
    return folder


def _resume_overrides(overrides: dict[str, str], which: str) -> list[str]:
    """Return the overrides of the run to resume, with those that may change.

    Raises
    ------
    ModelError
        There is no such run.
    ConfigError
        An override differs from the run and may not change.
    """
    from omegaconf import OmegaConf

    runs_dir = text_of(overrides.get("paths.runs_dir", "=runs"))
    folder = find_run_to_resume(which, runs_dir)
    loaded = OmegaConf.load(folder / ".hydra" / OVERRIDES_FILE)
    stored: Any = OmegaConf.to_container(loaded, resolve=False)  # an override may hold ${...}
    former = _by_key(str(word) for word in stored)
    if problems := [
        f"{override} now, but {former.get(key, 'not given')} when the run was started"
        for key, override in sorted(overrides.items())
        if key not in _MAY_CHANGE_ON_RESUME
        and (key not in former or text_of(former[key]) != text_of(override))
    ]:
        raise ConfigError(
            f"resume={which}",
            problems,
            "Leave these out, or start a new run with init_from=FOLDER.",
        )
    place = {key: f"{key}={quote(str(folder))}" for key in ("resume", "output")}
    return list((former | overrides | place).values())
