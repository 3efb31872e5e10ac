"""Self-contained HTML pages, which can be opened from disk and sent by mail."""

from __future__ import annotations

import base64
from importlib.resources import files
from pathlib import Path
from typing import Any

from cytoloop.errors import OutputError
from cytoloop.io.atomic import replacing


def write_page(path: Path, package: str, template: str, **values: Any) -> Path:
    """Fill a Jinja template, write the page and return its path.

    Parameters
    ----------
    path : Path
    package, template : str
        Package and file name of the template. Values are escaped.
    **values
        Values of the template; a missing value raises `jinja2.UndefinedError`.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    source = files(package).joinpath(template).read_text(encoding="utf-8")
    text = environment.from_string(source).render(**values)
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            str(path),
            f"cannot be written: {error.strerror}",
            "All other files are complete. Free disk space or choose another folder.",
        ) from error
    return path


def data_uri(data: bytes, kind: str) -> str:
    """Return an image as a ``data:`` URI for a page.

    Parameters
    ----------
    data : bytes
        Content of the image file.
    kind : str
        Media type, for example ``image/png``.
    """
    return f"data:{kind};base64," + base64.b64encode(data).decode()
