"""Packages that the user trusts: classes of them are built although a file names them.

A checkpoint names the class of its network. Classes of the libraries in `NAMESPACES` are built as
they are; any other class could run any code, so the user has to trust its package. The names come
from the environment variable ``CYTOLOOP_TRUST`` or the key ``trust=``, never from a file.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cytoloop.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from cytoloop.intensity.preparation import Preparation

VARIABLE = "CYTOLOOP_TRUST"
"""Environment variable: names of packages, separated by commas. Worker processes inherit it."""
NAMESPACES = ("monai.networks.nets", "torch.nn", "cyto_dl.nn", "cytoloop.model.networks")
"""Modules whose networks are built from a file without trust."""
_TRANSFORMS = ("monai.transforms.intensity.array",)
_BUILT_KEYS = ("_target_", "_partial_", "_convert_", "_recursive_")


def trusted_packages() -> list[str]:
    """Return the names of the trusted packages.

    Raises
    ------
    ConfigError
        ``CYTOLOOP_TRUST`` holds something that is not the name of a user's package.
    """
    found = [name.strip() for name in os.environ.get(VARIABLE, "").split(",")]
    return _checked(VARIABLE, [name for name in found if name])


@contextmanager
def trusting(packages: Any) -> Iterator[None]:
    """Trust more packages within a block, also in processes that are started there.

    Parameters
    ----------
    packages : str, iterable of str or None
        Names of top-level packages; None for no more.

    Raises
    ------
    ConfigError
        Names that are not those of a user's package.
    """
    listed = packages if isinstance(packages, Iterable) else [packages]
    names = [packages] if isinstance(packages, str) else listed
    more = _checked("trust", [str(name) for name in names if name is not None])
    former = os.environ.get(VARIABLE)
    if more:
        os.environ[VARIABLE] = ",".join(dict.fromkeys([*trusted_packages(), *more]))
    try:
        yield
    finally:
        if former is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = former


def package_of(target: str) -> str:
    """Return the top-level package of a class path."""
    return target.partition(".")[0]


def is_library(target: str) -> bool:
    """Return whether a class path lies in one of `NAMESPACES`."""
    return any(target.startswith(f"{space}.") for space in NAMESPACES)


def is_trusted(target: str) -> bool:
    """Return whether a class path lies in a package that the user trusts."""
    return "." in target and package_of(target) in trusted_packages()


def untrusted_error(where: str, target: str, expected: str) -> ModelError:
    """Return the error for a class that a file names and that must not be built."""
    package = package_of(target)
    repair = "Other classes are not built from a file, because they could run any code."
    if package.isidentifier() and package not in sys.stdlib_module_names and "." in target:
        repair += f" If you trust the package {package[:60]}, add trust=[{package[:60]}]"
        repair += f" or set {VARIABLE}={package[:60]}."
    return ModelError(where, f"names the class {target[:120]!r}, expected {expected}", repair)


def library_class(target: str, base: type, namespaces: Iterable[str] = NAMESPACES) -> Any:
    """Return the class of a library that a path names; None if there is no such class.

    Parameters
    ----------
    target : str
    base : type
        The class must be a subclass of it.
    namespaces : iterable of str
        Modules that may hold it.
    """
    module, _, name = target.rpartition(".")
    if not any(module == space or module.startswith(f"{space}.") for space in namespaces):
        return None
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None
    return found if inspect.isclass(found) and issubclass(found, base) else None


def trusted_object(where: str, target: str) -> Callable[..., Any]:
    """Return the class or function of a trusted package.

    Raises
    ------
    ModelError
        The package cannot be imported here, or has no such class.
    """
    from hydra.utils import get_object  # takes a second to import

    try:
        found = get_object(target)
    except Exception as error:  # the user's module may raise anything when it is imported
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise ModelError(
            where,
            f"{target} cannot be imported: {reason}",
            f"Install the package {package_of(target)}, or add its folder to PYTHONPATH.",
        ) from error
    if not callable(found):
        raise ModelError(where, f"{target} is not a class or function", "Restore your package.")
    return found


def build_trusted(where: str, config: Mapping[str, Any], nested: Callable[[str], Any]) -> Any:
    """Return the object of a config whose class is in a trusted package.

    Arguments may be configs of other objects, as Hydra allows.

    Parameters
    ----------
    where : str
        The file or key, for messages.
    config : mapping
        ``_target_`` and arguments.
    nested : callable
        Returns the class of a path outside the trusted packages; raises if it must not be built.

    Raises
    ------
    ModelError
        A class must not be built, cannot be imported, or refuses its arguments.
    """
    target = str(config.get("_target_"))
    kind = trusted_object(where, target) if is_trusted(target) else nested(target)
    arguments = {
        str(name): _built(where, value, nested)
        for name, value in config.items()
        if name not in _BUILT_KEYS
    }
    if config.get("_partial_"):
        return functools.partial(kind, **arguments)
    try:
        return kind(**arguments)
    except Exception as error:  # the user's class may raise anything
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ModelError(
            where, f"{target} refuses its arguments: {reason}", "Use the version of its training."
        ) from error


def build_preparation(where: str, steps: Any) -> Preparation | None:
    """Return the preparation that a checkpoint describes; None if it has none.

    Filters are plain values. Classes of MONAI's intensity transforms need no trust, others are
    those of trusted packages.

    Raises
    ------
    ModelError
        A filter is unknown or has a wrong value; a class must not be built, or refuses its
        arguments.
    """
    if not steps:
        return None
    from cytoloop.intensity.preparation import (  # imports NumPy
        Preparation,
        is_function,
        step_faults,
    )

    if faults := step_faults(steps):
        lines = [f"preparation{key} {fault}" for key, fault in faults]
        raise ModelError(where, lines, "The model is not loaded. Restore the original file.")

    def transform(target: str) -> Any:
        found = library_class(target, object, ("monai.transforms",))
        if found is None or found.__module__ not in _TRANSFORMS:
            raise untrusted_error(where, target, "an intensity transform of MONAI")
        return found

    functions = [step for step in steps if is_function(step)]
    return Preparation(list(steps), [build_trusted(where, one, transform) for one in functions])


def _built(where: str, value: Any, nested: Callable[[str], Any]) -> Any:
    """Return a value with the objects that its configs describe."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            return build_trusted(where, value, nested)
        return {name: _built(where, item, nested) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_built(where, item, nested) for item in value]
    return value


def _checked(where: str, names: list[str]) -> list[str]:
    problems = [
        f"{name[:60]!r} is not the name of a package of yours"
        for name in names
        if not name.isidentifier() or name in sys.stdlib_module_names
    ]
    if problems:
        raise ConfigError(where, problems, "Give names of top-level packages: trust=[my_lab].")
    return names
