"""Composition of a config beside the one that runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def separate_hydra() -> Iterator[None]:
    """Let the block initialise Hydra anew; after it Hydra is as it was before."""
    from hydra.core.global_hydra import GlobalHydra

    former = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = former
