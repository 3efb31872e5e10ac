"""Imports of optional packages; the error names the extra of CytoLoop that installs them."""

from __future__ import annotations

import importlib
from types import ModuleType

from cytoloop.errors import MissingPackageError

INSTALL_CYTODL = (
    "Install it: pip install 'cytoloop[cytodl]' && pip install --no-deps cyto-dl==0.6.2"
)
"""CytoDL pins a torch of 2023, so pip must install it without its dependencies."""


def import_extra(where: str, extra: str, *modules: str) -> list[ModuleType]:
    """Return modules of packages that an extra of CytoLoop installs.

    Parameters
    ----------
    where : str
        File, format or config key that needs the modules.
    extra : str
        Name of the extra in ``pyproject.toml``.
    *modules : str
        Full names of the modules.

    Raises
    ------
    MissingPackageError
        A module is not installed.
    """
    try:
        return [importlib.import_module(name) for name in modules]
    except ImportError as error:
        raise MissingPackageError(
            where,
            f"needs a package that is not installed ({error.name})",
            f"Install it: pip install 'cytoloop[{extra}]'",
        ) from error
