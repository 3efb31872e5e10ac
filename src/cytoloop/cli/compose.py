"""What Hydra composes for a verb: primary config, words, and folders with further configs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from cytoloop.cli import cytodl_experiments
from cytoloop.cli.config_errors import (
    check_flags,
    explain_composition_error,
    is_composition_error,
)
from cytoloop.cli.output_lock import check_training_folder
from cytoloop.cli.overrides import (
    add_action,
    is_override,
    quote_overrides,
    refuse_empty,
    refuse_merged_options,
    refuse_secrets,
)
from cytoloop.cli.recipe import choose_auto_recipe
from cytoloop.cli.sweeps import refuse_sweeper
from cytoloop.cli.system_errors import system_error
from cytoloop.errors import OutputError


@dataclass(frozen=True)
class Primary:
    """The primary config of a verb: its package, its name, and the module that runs it."""

    module: str
    config: str
    command: str


@contextmanager
def composition_errors(
    verb: str, words: Sequence[str], primary: Primary | None = None
) -> Iterator[None]:
    """Raise errors of Hydra in the block as errors that the user can repair.

    Raises
    ------
    ConfigError
        For all overrides that are wrong.
    OutputError
        The output folder cannot be created; Hydra creates it before the verb runs.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except Exception as error:  # Hydra's error of an unknown option is an OSError, too
        if is_composition_error(error):
            config = (primary.module, primary.config) if primary else None
            raise explain_composition_error(verb, words, error, config) from error
        if isinstance(error, OSError):
            raise system_error(error) or OutputError(
                str(error.filename), str(error.strerror), "Choose another output=."
            ) from error
        raise


def expand_words(verb: str, argv: list[str]) -> list[str]:
    """Return the words for Hydra: text quoted, `resume=` and `rerun=` expanded, search path added.

    Raises
    ------
    CytoloopError
        A flag is unknown, a URL holds a secret, a key has no value, or the run that `resume=` or
        `rerun=` names cannot be used.
    """
    check_flags(verb, argv)
    refuse_secrets(verb, argv)
    refuse_empty(verb, argv)
    refuse_merged_options(verb, argv)
    if verb == "train":
        refuse_sweeper(argv)
    words = quote_overrides(verb, add_action(verb, argv))
    if verb == "train":
        from cytoloop.cli.rerun import expand_overrides

        words = expand_overrides(words)
        check_training_folder(words)
    if verb in ("train", "check"):
        words = choose_auto_recipe(words)
    if _is_cytodl(verb, words):
        words = cytodl_experiments.add_output_folder(words)
    if not any(word.startswith("hydra.searchpath=") for word in words):
        paths = _search_path(verb, words)
        words += [f"hydra.searchpath=[{','.join(paths)}]"] if paths else []
    # Hydra's parser expects all overrides in one row, so flags follow
    return sorted(words, key=lambda word: not is_override(word))


def find_primary(verb: str, words: Sequence[str]) -> Primary:
    """Return the primary config of a verb with these words, and what runs it."""
    if _is_cytodl(verb, words):
        cytodl_experiments.register_resolvers()
        module, name = cytodl_experiments.CONFIG_MODULE, cytodl_experiments.CONFIG_NAME
        return Primary(module, name, "train_cytodl")
    return Primary("cytoloop.configs", verb, verb)


def _is_cytodl(verb: str, words: Sequence[str]) -> bool:
    """Return whether the words train an experiment of CytoDL."""
    if verb != "train" or cytodl_experiments.is_help(words):
        return False
    ours = [Path(str(file)) for file in (files("cytoloop.configs"), overlay_folder())]
    return cytodl_experiments.find_experiment(words, ours) is not None


def overlay_folder() -> Path:
    """Return the folder of the site's own configs, which may not exist."""
    return Path(os.environ.get("CYTOLOOP_EXPERIMENTS", "experiments")).absolute()


def _search_path(verb: str, words: Sequence[str]) -> list[str]:
    """Return the folders of further config groups: the site's overlay, then CytoDL's groups.

    Hydra uses the first match and looks into our own package first. So an overlay can add
    options, and CytoDL's configs can be selected but replace no config of CytoLoop. An experiment
    of CytoDL takes CytoDL's groups only.
    """
    overlay = overlay_folder()
    cytodl = None
    if verb == "train" and not cytodl_experiments.is_help(words):
        cytodl = cytodl_experiments.config_folder()
    if cytodl is not None and _is_cytodl(verb, words):
        return cytodl_experiments.search_path(cytodl, overlay)
    return [f"'file://{one.as_posix()}'" for one in (overlay, cytodl) if one and one.is_dir()]
