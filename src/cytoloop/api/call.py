"""Call of a verb in the running Python process: compose the config, run the verb, clean up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from cytoloop.api.overrides import to_overrides
from cytoloop.api.state import log_file, restored_state
from cytoloop.cli.app import StoppedError, check_config
from cytoloop.cli.compose import Primary, composition_errors, expand_words, find_primary
from cytoloop.cli.output_lock import lock_output
from cytoloop.cli.reports import find_user_error

Result = TypeVar("Result")

_ONE_CALL = threading.RLock()


@contextmanager
def isolated_call() -> Iterator[None]:
    """Let one thread at a time run the block, and restore the state of the process afterwards.

    Hydra, logging, warnings and environment variables have one state per process.
    """
    with _ONE_CALL, restored_state():
        yield


def call_verb(
    verb: str,
    keys: Mapping[str, Any],
    function: Callable[[Any], Result],
    variants: Mapping[str, Callable[[Any], Result]] | None = None,
) -> Result:
    """Compose the config of a verb, call a function with it, and return the function's result.

    Parameters
    ----------
    verb : str
        Name of a primary config.
    keys : mapping of str to value
        See `cytoloop.api.overrides.to_overrides`.
    function : callable
        Takes the composed config.
    variants : mapping of str to callable, optional
        Functions for other primary configs of the verb, by their module in
        `cytoloop.cli.commands`.

    Raises
    ------
    CytoloopError
        An error that the user can repair, with the text of the command line.
    KeyboardInterrupt
        The user stopped the verb; the message says how to continue.
    """
    with isolated_call():
        words = to_overrides(verb, keys)
        with composition_errors(verb, words):
            words = expand_words(verb, words)
            primary = find_primary(verb, words)
        function = (variants or {}).get(primary.command, function)
        with composition_errors(verb, words, primary):
            outcome = _compose_and_call(verb, words, primary, function)
        if not isinstance(outcome, Exception):
            return outcome
        if isinstance(outcome, StoppedError):
            raise KeyboardInterrupt(str(outcome)) from outcome
        raise find_user_error(outcome) or outcome


def _compose_and_call(
    verb: str, words: list[str], primary: Primary, function: Callable[[Any], Result]
) -> Result | Exception:
    """Return the result or the exception of the function.

    Errors of the composition are raised. Hydra creates the output folder and writes ``.hydra/``.
    """
    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.utils import run_job
    from hydra.experimental.callback import Callback
    from hydra.types import HydraContext

    outcomes: list[Result | Exception] = []

    def job(cfg: Any) -> None:
        try:
            with log_file(HydraConfig.get().job_logging):
                check_config(verb, cfg)
                with lock_output(verb, cfg):
                    outcomes.append(function(cfg))
        except Exception as error:
            outcomes.append(error)

    with initialize_config_module(primary.module, verb, version_base="1.3"):
        config = compose(primary.config, words, return_hydra_config=True)
        no_callbacks: Any = Callback()
        context = HydraContext(GlobalHydra.instance().config_loader(), no_callbacks)
        run_job(job, config, "hydra.run.dir", None, context, configure_logging=False)
    return outcomes[0]
