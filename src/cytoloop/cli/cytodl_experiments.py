"""CytoDL's experiments: which `experiment=` is one, how it is composed, and its resolvers.

In an experiment of CytoDL every group name means CytoDL's file: ``trainer=cpu`` is CytoDL's. This
module imports no CytoDL, which takes seconds; it only looks for its config folder.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cytoloop.cli.overrides import bare_key, is_override
from cytoloop.errors import ConfigError

INSTALL = 'Install CytoDL: pip install "cytoloop[cytodl]" and pip install --no-deps cyto-dl==0.6.2.'
CONFIG_MODULE, CONFIG_NAME = "cytoloop.cli.cytodl_config", "cytodl_train"
"""The primary config of CytoDL's experiments."""

_NOT_SET = "MUST_OVERRIDE"
"""CytoDL's text for a value that the user must give."""

_TRAIN_THERE = "Train it with `python -m cyto_dl.train` in an environment with these packages."
_REFUSED = {
    "classification/": (
        "CytoDL's classification of tracks returns no images, so nothing here can use it",
        "Train it with `python -m cyto_dl.train`.",
    ),
    "contrastive/": (
        "needs torchvision, which downloads the MNIST data set",
        _TRAIN_THERE,
    ),
    "private/": (
        "CytoDL's private experiments need escnn, pyshtools or point-cloud-utils, and data of "
        "their authors",
        _TRAIN_THERE,
    ),
}
"""Start of an experiment's name to the reason why it is refused, and what to do."""

_FOLDERS = ("im2im/", "classification/", "contrastive/", "private/")
"""Folders of CytoDL's experiments."""


def config_folder() -> Path | None:
    """Return the folder of CytoDL's configs, None if CytoDL is not installed."""
    spec = importlib.util.find_spec("cyto_dl")
    if spec is None or not spec.origin:
        return None
    folder = Path(spec.origin).parent.parent / "configs"
    return folder if folder.is_dir() else None


def find_experiment(words: Sequence[str], ours: Sequence[Path]) -> str | None:
    """Return the name of the CytoDL experiment that the overrides choose, None for another one.

    It is a file of CytoDL, or a file of the user that takes CytoDL's data or model.

    Parameters
    ----------
    words : sequence of str
        Overrides and flags.
    ours : sequence of Path
        Config folders that are searched before CytoDL's.

    Raises
    ------
    ConfigError
        CytoDL is not installed or has no such experiment, or the experiment does not run here.
    """
    names = [word.partition("=")[2] for word in words if bare_key(word) == "experiment"]
    name = names[-1].strip("'\"").removesuffix(".yaml") if names else ""
    if not name:
        return None
    folder = config_folder()
    files = [one / "experiment" / f"{name}.yaml" for one in ours]
    for file in (file for file in files if file.is_file()):
        return name if folder is not None and _takes_groups(file, folder, ours) else None
    if folder is None:
        if name.startswith(_FOLDERS):
            raise ConfigError(f"experiment={name}", "needs CytoDL, which is missing", INSTALL)
        return None
    if not (folder / "experiment" / f"{name}.yaml").is_file():
        if name.startswith(_FOLDERS):
            raise _unknown_experiment(name, folder / "experiment" / name.partition("/")[0])
        return None
    for start, (problem, repair) in _REFUSED.items():
        if name.startswith(start):
            raise ConfigError(f"experiment={name}", problem, repair)
    return name


def _unknown_experiment(name: str, folder: Path) -> ConfigError:
    """Return the error for a name that is not in one of CytoDL's folders of experiments."""
    known = sorted(f"{folder.name}/{file.stem}" for file in folder.glob("*.yaml"))
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else "Choose one of them."
    return ConfigError(
        f"experiment={name}",
        f"CytoDL has no such experiment, expected one of {', '.join(known)}",
        hint,
    )


def _takes_groups(file: Path, cytodl: Path, ours: Sequence[Path]) -> bool:
    """Return whether an experiment takes its data, its model or all from CytoDL's groups."""
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return False  # Hydra reports it
    defaults = content.get("defaults") if isinstance(content, Mapping) else None
    for entry in defaults if isinstance(defaults, list) else ():
        for key, option in entry.items() if isinstance(entry, Mapping) else ():
            group = str(key).removeprefix("override ").strip("/ ")
            path = Path(group, str(option).removesuffix(".yaml") + ".yaml")
            if (
                group in ("data", "model", "experiment")
                and (cytodl / path).is_file()
                and not any((folder / path).is_file() for folder in ours)
            ):
                return True
    return False


def add_output_folder(words: Sequence[str]) -> list[str]:
    """Return the overrides with one output folder: `output=` sets ``paths.output_dir``.

    >>> add_output_folder(["output=out"])
    ['output=out', 'paths.output_dir=${hydra:runtime.output_dir}']
    >>> add_output_folder(["paths.output_dir=out"])
    ['output=out', 'paths.output_dir=${hydra:runtime.output_dir}']
    """
    kept = []
    for word in words:
        key, _, value = word.partition("=")
        if key != "paths.output_dir":
            kept.append(word)
        elif not value.lstrip("'\"").startswith("$"):
            kept.append(f"output={value}")
    return [*kept, "paths.output_dir=${hydra:runtime.output_dir}"]


def search_path(cytodl: Path, overlay: Path) -> list[str]:
    """Return the search path of a CytoDL experiment.

    The user's files come first, then CytoDL's groups, then Hydra's own options here.
    """
    folders = [folder for folder in (overlay, cytodl) if folder.is_dir()]
    return [*(f"'file://{folder.as_posix()}'" for folder in folders), "pkg://cytoloop.configs"]


def unset_keys(cfg: Any) -> list[str]:
    """Return the dotted keys whose value is CytoDL's ``MUST_OVERRIDE``."""
    from omegaconf import OmegaConf

    return list(_find_unset(OmegaConf.to_container(cfg, resolve=False), ""))


def _find_unset(node: Any, key: str) -> Iterator[str]:
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _find_unset(value, f"{key}.{name}" if key else str(name))
    elif node == _NOT_SET:
        yield key


def register_resolvers() -> None:
    """Register the resolvers that CytoDL's configs use: ``kv_to_dict`` and ``eval``.

    CytoDL's ``eval`` runs any Python. Here it computes only what its configs need, so that the
    overrides of an earlier run (`rerun=`) cannot run code.
    """
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("kv_to_dict", _pairs_to_config, replace=True)
    OmegaConf.register_new_resolver("eval", evaluate, replace=True)


def _pairs_to_config(pairs: Any) -> Any:
    """Return a list of [key, value] pairs as a config."""
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(pairs, resolve=True)
    return OmegaConf.create(dict(plain))


_OPERATIONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def evaluate(text: str) -> Any:
    """Return the value of an expression of constants, arithmetic, comparisons and ``if``.

    Raises
    ------
    ConfigError
        The expression holds anything else, for example a call.

    >>> evaluate("'ZYX' if 3==3 else 'YX'"), evaluate("3+3")
    ('ZYX', 6)
    """
    try:
        return _value_of(ast.parse(str(text).strip(), mode="eval").body)
    except (SyntaxError, TypeError, ValueError, ArithmeticError) as error:
        raise ConfigError(
            f"${{eval:{str(text)[:80]}}}",
            f"is not constants, arithmetic, comparisons and if-else ({error})",
            "Write the value itself.",
        ) from error


def _value_of(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value_of(one) for one in node.elts]
    if isinstance(node, ast.IfExp):
        return _value_of(node.body if _value_of(node.test) else node.orelse)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value_of(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return _OPERATIONS[type(node.op)](_value_of(node.left), _value_of(node.right))
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _OPERATIONS:
        return _OPERATIONS[type(node.ops[0])](_value_of(node.left), _value_of(node.comparators[0]))
    raise ValueError(f"{type(node).__name__} is not allowed")


def is_help(words: Sequence[str]) -> bool:
    """Return whether the words ask for help, which needs no config of CytoDL."""
    return any(word in ("--help", "-h") for word in words if not is_override(word))
