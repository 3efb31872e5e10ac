"""Notebooks as Markdown pages: their text and code, without outputs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml


def notebook_page(path: Path) -> str:
    """Return a notebook as Markdown."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(re.sub(r"\]\(\.\./docs/", "](../", source))
        elif cell["cell_type"] == "code" and source.strip():
            parts.append(f"```python\n{source}\n```")
    note = f"A notebook of the repository: `notebooks/{path.name}`. A test runs it."
    title, _, rest = "\n\n".join(parts).partition("\n")
    head = yaml.safe_dump({"title": title.lstrip("# ")}).strip()
    return f"---\n{head}\n---\n\n{title}\n\n{note}\n{rest}\n"
