"""Write matplotlib figures as PNG files."""

from __future__ import annotations

from pathlib import Path

from cytoloop.io.atomic import replacing


def write_png(path: str | Path, figure: object) -> None:
    """Save a matplotlib figure as a PNG, atomically, and close it."""
    import matplotlib.pyplot as plt

    try:
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=110, bbox_inches="tight")  # type: ignore[attr-defined]
    finally:
        plt.close(figure)  # type: ignore[arg-type]
