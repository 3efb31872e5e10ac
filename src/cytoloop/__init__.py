"""CytoLoop closes the loop curate -> train -> predict -> evaluate -> curate."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from cytoloop.version import __version__

if TYPE_CHECKING:
    from cytoloop.api import check, compare, curate, evaluate, predict, train

# MLflow reads this when it is imported; a value that the user has set stays
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

__all__ = ["__version__", "check", "compare", "curate", "evaluate", "predict", "train"]


def __getattr__(name: str) -> Any:
    """Import `cytoloop.api` when one of its functions is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'cytoloop' has no attribute {name!r}")
    from cytoloop import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
