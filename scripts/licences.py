"""Write docs/reference/licences.md: licences of the packages that CytoLoop and its extras need.

`make licences` runs it in the clone's environment. Packages that the clone does not
install are listed with the licence on their project's page.
"""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "reference" / "licences.md"
HEAD = """# Licences

CytoLoop is BSD-3-Clause. `make licences` writes this table from the metadata of the installed
packages: those that the wheel needs, and those of each extra. GPL packages are only in extras; four
packages of the wheel are LGPL.

| package | needed by | licence |
|---|---|---|
"""
# Licences from the projects' pages: of packages without metadata, or outside the clone.
STATED = {
    "bioimageio.core": "MIT",
    "bioio-nd2": "BSD-3-Clause",
    "bioio-lif": "GPL-3.0",
    "gcsfs": "BSD-3-Clause",
}


def licence_of(name: str) -> str:
    """Return the licence that a package's metadata states, from its most exact field."""
    try:
        metadata = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return STATED.get(name, "not installed here")
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    classifiers = [
        value.rpartition(" :: ")[2]
        for value in metadata.get_all("Classifier") or []
        if value.startswith("License ::") and not value.endswith("OSI Approved")
    ]
    text = [line for value in metadata.get_all("License") or [] for line in value.splitlines()]
    stated = ", ".join(classifiers) or (text[0].strip()[:60] if text else "")
    return stated or STATED.get(name, "not stated")


def main() -> None:
    """Write the table."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"the wheel": project["dependencies"], **project["optional-dependencies"]}
    rows = []
    for group, requirements in groups.items():
        for requirement in requirements:
            name = re.match(r"[\w.-]+", requirement)[0]  # type: ignore[index]
            needed_by = group if group == "the wheel" else f"extra `{group}`"
            rows.append(f"| {name} | {needed_by} | {licence_of(name)} |")
    rows.append("| cyto-dl | CytoDL's own experiments | Allen Institute Software License |")
    TARGET.write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
