"""The shipped models by URI: ``pretrained:nuclei_3d``."""

from __future__ import annotations

import difflib
from pathlib import Path

from cytoloop.errors import ModelError

SCHEME = "pretrained:"
SUFFIX = ".safetensors"
"""Of the weights; beside them lie settings (``.json``) and a model card (``.md``)."""
_FOLDER = Path(__file__).parent


def shipped_models() -> list[str]:
    """Return the names of the shipped models."""
    return sorted(path.stem for path in _FOLDER.glob(f"*{SUFFIX}"))


def is_shipped(uri: str) -> bool:
    """Return whether a URI names a shipped model."""
    return uri.strip().startswith(SCHEME)


def is_shipped_file(path: Path) -> bool:
    """Return whether a file holds the weights of a shipped model."""
    return path.resolve().parent == _FOLDER.resolve() and path.suffix == SUFFIX


def find_shipped(uri: str) -> Path:
    """Return the file of a shipped model's weights.

    Parameters
    ----------
    uri : str
        ``pretrained:NAME``.

    Raises
    ------
    ModelError
        There is no shipped model of this name.
    """
    name = uri.strip().removeprefix(SCHEME).strip("/")
    known = shipped_models()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {SCHEME}{near[0]}?" if near else f"Give {SCHEME}NAME."
        raise ModelError(uri, f"no such model ships, expected one of {', '.join(known)}", hint)
    return _FOLDER / f"{name}{SUFFIX}"


def model_card(uri: str) -> str:
    """Return the model card of a shipped model, Markdown."""
    return find_shipped(uri).with_suffix(".md").read_text(encoding="utf-8")
