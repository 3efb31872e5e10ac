"""Errors in the words of a command: unknown flags, keys and options, and invalid overrides.

Hydra stops at the first wrong override. These functions report all of them at once, with the
nearest existing names.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cytoloop.cli.overrides import bare_key, is_override
from cytoloop.errors import ConfigError

_FLAGS = (
    *("--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--resolve", "--package", "-p"),
    *("--run", "-r", "--multirun", "-m", "--shell-completion", "-sc", "--config-path", "-cp"),
    *("--config-name", "-cn", "--config-dir", "-cd", "--experimental-rerun", "--info", "-i"),
)
"""Hydra's flags."""

_SEVERAL_VALUES = re.compile(r"Ambiguous value for argument '(?P<override>.*)'$", re.MULTILINE)
_UNKNOWN_KEY = re.compile(r"Could not (?:override|delete)(?: from config\.)? '(?P<key>[^']+)'")
_NO_OPTION = "Config group override must be a string or a list"
"""First words of Hydra's ValueError for ``GROUP=null`` and ``GROUP=3``."""
_FULL_KEY = re.compile(r"full_key: (?P<key>\S+)")


@dataclass(frozen=True)
class _Fault:
    """A wrong override; `kind` is what is wrong with it.

    It is ``key``, ``option`` (of a group), ``syntax``, or ``several`` (values instead of one).
    `inner` is the key that does not exist within the value of an override: ``{pth: x}``.
    """

    override: str
    kind: str
    options: Sequence[str] = ()
    inner: str = ""


def check_flags(verb: str, words: Iterable[str]) -> None:
    """Refuse flags that Hydra does not have, for example keys that are written with dashes.

    Raises
    ------
    ConfigError
        For all unknown flags.
    """
    problems = []
    for word in words:
        flag = word.partition("=")[0]
        if not flag.startswith("-") or any(
            known == flag or (flag.startswith("--") and known.startswith(flag)) for known in _FLAGS
        ):
            continue
        name = word.lstrip("-")
        near = difflib.get_close_matches(flag, _FLAGS, n=1)
        hint = f"write {name} without dashes" if "=" in word else "keys are written as key=value"
        problems.append(f"unknown flag {word}; " + (f"did you mean {near[0]}?" if near else hint))
    if problems:
        raise ConfigError(f"cytoloop {verb}", problems, f"See `cytoloop {verb} --help`.")


def missing_keys_error(verb: str, keys: Iterable[str]) -> ConfigError:
    """Return the error for keys that must be given and are not."""
    return ConfigError(
        f"cytoloop {verb}",
        [f"{key}=... is missing" for key in sorted(keys)],
        f"Add it to the command; `cytoloop {verb} --help` has examples.",
    )


def explain_composition_error(
    verb: str,
    words: Sequence[str],
    error: Exception,
    config: tuple[str, str] | None = None,
) -> ConfigError:
    """Return an error of Hydra's composition as an error that names all wrong overrides.

    Parameters
    ----------
    verb : str
    words : sequence of str
        Overrides and flags as Hydra received them.
    error : Exception
        The first error.
    config : tuple of str, optional
        Package and name of the primary config; default: that of the verb.
    """
    config = config or ("cytoloop.configs", verb)
    overrides = [word for word in words if is_override(word)]
    faults: list[_Fault] = []
    others: list[str] = []
    next_error: Exception | None = error
    while next_error is not None:
        fault = _find_fault(next_error, overrides, config)
        if fault is None:
            others = [one_line(next_error)] if not faults else []
            break
        faults.append(fault)
        if fault.override not in overrides:
            break
        overrides.remove(fault.override)
        # in a sweep an override has several values, which only Hydra's sweeper can compose
        next_error = (
            None if {"-m", "--multirun"} & set(words) else _try_to_compose(config, overrides)
        )
    names = _existing_names(config, overrides) if any(f.kind == "key" for f in faults) else []
    problems = [_describe(fault, names) for fault in faults] + others
    repair = f"See `cytoloop {verb} --help`; `cytoloop {verb} --cfg job` prints all keys."
    if any(fault.kind == "key" for fault in faults):
        repair += " A new key needs a plus: +KEY=VALUE."
    if any(word.startswith("rerun=") and word != "rerun=null" for word in words):
        repair += (
            " An override of the earlier run may not exist in this version: then type the other"
            " overrides without rerun=."
        )
    return ConfigError(f"cytoloop {verb}", problems, repair)


def one_line(error: BaseException) -> str:
    """Return a message of Hydra or OmegaConf in one line, without its internals."""
    noise = ("full_key:", "object_type=", "Set the env", "See https://hydra.cc")
    text = ""
    for line in (line.strip() for line in str(error).splitlines()):
        if line.startswith("Config search path"):
            break
        line = re.sub(r"^In '[^']*': ", "", line)
        if line and not line.startswith(noise):
            glue = "" if not text else " " if text.endswith((":", ".")) else ", "
            text += glue + line
    return text.replace("':,", "':") or type(error).__name__


def is_composition_error(error: Exception) -> bool:
    """Return whether an error says that Hydra cannot compose a config."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    is_hydras = isinstance(error, (HydraException, OmegaConfBaseException))
    return is_hydras or (isinstance(error, ValueError) and str(error).startswith(_NO_OPTION))


def _find_fault(
    error: Exception, overrides: Sequence[str], config: tuple[str, str]
) -> _Fault | None:
    """Return the override that an error is about, None if the error is about something else."""
    from hydra.errors import MissingConfigException, OverrideParseException

    if isinstance(error, OverrideParseException):
        return _Fault(error.override, "syntax")
    if match := _SEVERAL_VALUES.search(str(error)):
        return _Fault(match["override"], "several")
    if str(error).startswith(_NO_OPTION):
        return _find_no_option(overrides, config)
    if isinstance(error, MissingConfigException):
        key, kind, options = str(error.missing_cfg_file).rpartition("/")[0], "option", error.options
    elif match := _UNKNOWN_KEY.search(str(error)):
        key, kind, options = match["key"], "key", ()
    else:
        return None
    found = [one for one in overrides if key in (bare_key(one), bare_key(one).partition("@")[0])]
    if not found:
        return None
    full = _FULL_KEY.search(str(error.__cause__)) if kind == "key" else None
    inner = full["key"] if full and full["key"].startswith(f"{key}.") else ""
    return _Fault(found[0], kind, tuple(options or ()), inner)


def _find_no_option(overrides: Sequence[str], config: tuple[str, str]) -> _Fault | None:
    """Return the override that gives a group no name of an option: ``workflow=null``."""
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import OverrideType

    with initialize_config_module(config[0], version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        groups = set(_groups(loader, ""))
        for one in OverridesParser.create().parse_overrides(list(overrides)):
            is_name = one.is_delete() or isinstance(one.value(), (str, list))
            if one.type is OverrideType.CHANGE and one.key_or_group in groups and not is_name:
                options = loader.get_group_options(one.key_or_group)
                return _Fault(str(one.input_line), "option", tuple(options))
    return None


def _describe(fault: _Fault, names: Sequence[str]) -> str:
    """Return a wrong override as one line: what was found and what was expected."""
    key, _, value = fault.override.partition("=")
    if fault.kind == "syntax":
        if "=" not in fault.override:
            return f"{fault.override}: has no value, expected key=value"
        return (
            f"{fault.override}: cannot be read; check brackets and quotes. A list is "
            f"{key}=[a,b]. A text with special characters needs two pairs of quotes, for the "
            f"shell and for Hydra: \"{key}='...'\""
        )
    if fault.kind == "several":
        return (
            f"{fault.override}: several values, expected one. A list needs brackets: "
            f"'{key}=[{value}]'. One text needs two pairs of quotes, for the shell and for Hydra: "
            f"\"{key}='{value}'\". One run for each value needs --multirun"
        )
    if fault.kind == "option":
        near = difflib.get_close_matches(value, fault.options, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{key}={value}: no such option, expected one of {', '.join(fault.options)}{hint}"
    missing = fault.inner or bare_key(fault.override)
    near = nearest_names(missing, names)
    return f"{missing}: unknown key" + (f"; did you mean {' or '.join(near)}?" if near else "")


def nearest_names(key: str, names: Sequence[str], most: int = 3) -> list[str]:
    """Return the existing names that are most similar to an unknown key.

    >>> nearest_names("data.pth", ["data.path", "seed"])
    ['data.path']
    >>> nearest_names("lr", ["seed", "model.optimizer.lr"])
    ['model.optimizer.lr']
    >>> nearest_names("budget", ["seed", "budget_minutes"])
    ['budget_minutes']
    """
    ends = {name: _last_part(name) for name in names}
    same_end = [name for name in names if ends[name] == _last_part(key)]
    similar_name = difflib.get_close_matches(key, names, n=most, cutoff=0.75)
    close_ends = difflib.get_close_matches(_last_part(key), set(ends.values()), n=most, cutoff=0.8)
    similar_end = [name for end in close_ends for name in names if ends[name] == end]
    longer = [name for name in names if ends[name].startswith(f"{_last_part(key)}_")]
    found = same_end or similar_name or similar_end or longer
    return difflib.get_close_matches(key, found, n=most, cutoff=0)


def _last_part(name: str) -> str:
    return re.split(r"[./]", name)[-1]


def _try_to_compose(config: tuple[str, str], overrides: Sequence[str]) -> Exception | None:
    """Return the error of composing a primary config with overrides, None if there is none."""
    try:
        _compose(config, overrides)
    except Exception as error:
        if is_composition_error(error):
            return error
        raise
    return None


def _compose(config: tuple[str, str], overrides: Sequence[str]) -> tuple[Any, list[str]]:
    """Return a composed config (package and name of its primary) and the names of all groups."""
    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    module, name = config
    with initialize_config_module(module, version_base="1.3"):
        composed = compose(name, list(overrides))
        return composed, list(_groups(GlobalHydra.instance().config_loader(), ""))


def _groups(loader: Any, parent: str) -> Iterator[str]:
    for name in loader.list_groups(parent):
        group = f"{parent}/{name}" if parent else name
        yield group
        yield from _groups(loader, group)


def _existing_names(config: tuple[str, str], overrides: Sequence[str]) -> list[str]:
    """Return the keys of a primary config and the groups that its defaults list selects from."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    search_path = [one for one in overrides if one.startswith("hydra.searchpath=")]
    for given in (overrides, search_path):
        try:
            composed, groups = _compose(config, given)
        except (HydraException, OmegaConfBaseException):
            continue
        return list(dict.fromkeys([*_keys(composed, ""), *groups]))
    return []


def _keys(config: Any, parent: str) -> Iterator[str]:
    """Yield the dotted keys of a config, nodes included, without resolving values."""
    from omegaconf import DictConfig, OmegaConf

    for name in config:
        key = f"{parent}.{name}" if parent else str(name)
        yield key
        if OmegaConf.is_missing(config, name) or OmegaConf.is_interpolation(config, name):
            continue
        if isinstance(config[name], DictConfig):
            yield from _keys(config[name], key)
