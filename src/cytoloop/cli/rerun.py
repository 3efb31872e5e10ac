"""Trainings that repeat another one: `rerun=` (the same words), `resume=` (the same run).

A run in a shared store is untrusted. Of it only the typed words are taken, as data: no class
outside the networks, losses and optimizers of MONAI and torch, no resolver, no place to write to.
The words are then composed with the configs of this machine.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from cytoloop.cli.overrides import is_override, quote
from cytoloop.errors import ConfigError, ModelError
from cytoloop.terminal import stderr_console
from cytoloop.tracking.artifacts import (
    LOCATION_KEYS,
    OVERRIDES_FILE,
    find_artifact,
    is_location_key,
)
from cytoloop.tracking.resume import FINISHED_FILE, can_resume, find_run_to_resume

_MAY_CHANGE = (
    *("resume", "output", "trainer.max_epochs", "trainer.max_steps", "budget_minutes"),
    *("data.num_workers", "lock", "rerun"),
)

_CLASS = re.compile(
    r"(model|callbacks)[\w.]*\._target_=['\"]?"
    r"(monai\.(networks\.nets|losses|inferers)|torch\.(nn|optim(\.lr_scheduler)?)"
    r"|cytoloop\.model\.[a-z_]+)\.[A-Z]\w*['\"]?"
)
_KEY = re.compile(r"[~+]{0,2}[A-Za-z_][\w./@-]*")
_MOST_WORDS, _LONGEST_WORD = 300, 4000


def expand_overrides(words: list[str]) -> list[str]:
    """Return the words of a training with those of the run that it repeats or goes on with.

    Raises
    ------
    ModelError
        No such run.
    ConfigError
        Words that a run must not bring along, or that would make a resumed run another one.
    """
    given = _by_key(words)
    for key in given:
        if key.endswith("tracking_uri"):  # before Hydra writes it into the output folder
            from cytoloop.tracking.store import check_no_password

            check_no_password(_asked(given, key))
    if source := _asked(given, "rerun"):
        former = _by_key(select_overrides(read_overrides(source), source))
        flags = [word for word in words if not is_override(word)]
        given = former | given
        words = [*given.values(), *flags]
    which = _asked(given, "resume") or _requeued(given)
    return _resumed(words, given, which) if which else words


def read_overrides(source: str) -> list[str]:
    """Return the words that a training was started with.

    Parameters
    ----------
    source : str
        ``runs:/ID``, or the folder of a training.

    Raises
    ------
    ModelError
        There is no such run or folder, or its words are not kept.
    """
    import yaml

    path = find_artifact(source, OVERRIDES_FILE)
    try:
        if path.stat().st_size > _MOST_WORDS * _LONGEST_WORD:
            raise ValueError("too large")
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
            raise ValueError("expected a list of words")
    except OSError as error:
        repair = "Name a training's folder, or runs:/ID."
        raise ModelError(source, f"no {path.name} in {path.parent}", repair) from error
    except (ValueError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(str(path), f"is damaged: {reason}", "Start from another run.") from error
    return found


def select_overrides(words: list[str], source: str) -> list[str]:
    """Return the words that say what was trained; those that say where are left out.

    Raises
    ------
    ConfigError
        All words that could make this machine do something else than train.
    """
    problems, kept = [], []
    if len(words) > _MOST_WORDS:
        problems = [f"{len(words)} words, expected {_MOST_WORDS} at most"]
    for word in words[:_MOST_WORDS]:
        key, _, value = word.partition("=")
        bare = key.lstrip("~+")
        if is_location_key(bare):
            if bare not in LOCATION_KEYS:
                stderr_console.print(
                    f"{word} of {source} is left out: type it if you want it", markup=False
                )
            continue
        if why := _suspicious(word, key, bare, value):
            problems.append(f"{word[:120]!r} {why}")
        kept.append(word)
    if problems:
        raise ConfigError(
            source, problems, "Type the words of that training that you trust yourself."
        )
    return kept


def _suspicious(word: str, key: str, bare: str, value: str) -> str:
    """Return what speaks against a word of a run, "" where nothing does."""
    if len(word) > _LONGEST_WORD or not is_override(word) or not _KEY.fullmatch(key):
        return "is no override"
    if "$" in word:
        return "would be resolved on this machine"
    if re.search(r"_(target|args|recursive|convert|partial)_", word) and not _CLASS.fullmatch(word):
        return "names a class to run, which a run must not"
    if bare not in ("data.path", "init_from") and (
        ".." in value or value.startswith(("/", "file"))
    ):
        return "names a place of this machine"
    return ""


def _by_key(words: list[str]) -> dict[str, str]:
    return {word.partition("=")[0]: word for word in words if is_override(word)}


def _asked(given: dict[str, str], key: str) -> str:
    value = given.get(key, "").partition("=")[2].strip("'\"")
    return "" if value.lower() in ("false", "null") else value


def _requeued(given: dict[str, str]) -> str:
    """Return the folder to go on in where SLURM has started this job anew, else ""."""
    folder = _asked(given, "output")
    if os.environ.get("SLURM_RESTART_COUNT", "0") == "0" or not folder:
        return ""
    if not can_resume(Path(folder)) or Path(folder, FINISHED_FILE).is_file():
        return ""
    stderr_console.print(f"SLURM has started this job again: going on in {folder}", markup=False)
    return folder


def _resumed(words: list[str], given: dict[str, str], which: str) -> list[str]:
    """Return the words of the run that goes on, with what may change."""
    from omegaconf import OmegaConf

    runs_dir = given.get("paths.runs_dir", "=runs").partition("=")[2]
    folder = find_run_to_resume(which, runs_dir)
    stored: Any = OmegaConf.load(folder / ".hydra" / OVERRIDES_FILE)
    former = _by_key([str(word) for word in stored])
    if problems := [
        f"{word} now, {former.get(key, 'the default')} when the run was started"
        for key, word in sorted(given.items())
        if key not in _MAY_CHANGE and former.get(key) != word
    ]:
        raise ConfigError(
            "resume", problems, "Leave these out, or start a new run with init_from=FOLDER."
        )
    place = {key: f"{key}={quote(str(folder))}" for key in ("resume", "output")}
    flags = [word for word in words if not is_override(word)]
    return [*(former | given | place).values(), *flags]
