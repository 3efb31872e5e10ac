"""Pages that people open from disk and mail: one HTML file with everything inside."""

from __future__ import annotations

import base64
from importlib.resources import files
from pathlib import Path
from typing import Any

from cytoloop.errors import OutputError
from cytoloop.io.atomic import replacing


def write_page(path: Path, package: str, template: str, **values: Any) -> Path:
    """Fill a template and write the page; return its path.

    Parameters
    ----------
    path : Path
    package, template : str
        A Jinja template that ships with a package. What is filled in is escaped.
    **values
        Of the template; one that it names and that is not given is a bug of ours.

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
            str(path), f"cannot be written: {error.strerror}", "All other files are complete."
        ) from error
    return path


def data_uri(data: bytes, kind: str) -> str:
    """Return a picture as a ``data:`` URI that a page can hold.

    Parameters
    ----------
    data : bytes
        Of the file.
    kind : str
        Media type, for example ``image/png``.
    """
    return f"data:{kind};base64," + base64.b64encode(data).decode()
