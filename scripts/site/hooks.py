"""Hooks of MkDocs: pages made from the configs, and pages from outside `docs/`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import config_pages
from mkdocs.structure.files import File, Files
from notebook_pages import notebook_page

from cytoloop.glossary import terms
from cytoloop.pretrained.shipped import SCHEME, model_card, shipped_models

ROOT = Path(__file__).parents[2]
REPOSITORY_PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""Pages of the repository that the site shows, and their names there."""


def on_config(config: Any) -> Any:
    """Fill the navigation's sections `Commands` and `Config groups` and `Notebooks`."""
    commands = [{verb: f"reference/commands/{verb}.md"} for verb in config_pages.verb_names()]
    groups = [
        {name: f"reference/groups/{config_pages.group_file(name)}"}
        for name in config_pages.group_names()
    ]
    notebooks = [f"notebooks/{path.stem}.md" for path in _notebooks()]
    cards = [{name: f"reference/pretrained/{name}.md"} for name in shipped_models()]
    made: dict[str, list[Any]] = {"COMMANDS": commands, "GROUPS": groups, "NOTEBOOKS": notebooks}
    made["SHIPPED"] = cards
    config["nav"] = _filled(config["nav"], made)
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made."""
    pages = {"reference/commands.md": config_pages.index_page()}
    pages["glossary.md"] = glossary_page()
    for verb in config_pages.verb_names():
        pages[f"reference/commands/{verb}.md"] = config_pages.verb_page(verb)
    for group in config_pages.group_names():
        name = config_pages.group_file(group)
        pages[f"reference/groups/{name}"] = config_pages.group_page(group)
    for name in shipped_models():
        pages[f"reference/pretrained/{name}.md"] = model_card(f"{SCHEME}{name}")
    for path in _notebooks():
        pages[f"notebooks/{path.stem}.md"] = notebook_page(path)
    for source, target in REPOSITORY_PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        pages[target] = _links_of_the_site(text)
    for uri, content in pages.items():
        files.append(File.generated(config, uri, content=content))
    return files


def glossary_page() -> str:
    """Return the glossary as a page, with an anchor for each term."""
    head = "# Glossary\n\nTerms of microscopy segmentation, and where each one is in CytoLoop.\n"
    parts = [head]
    for term in terms():
        anchor = re.sub(r"\W+", "-", term.name.lower()).strip("-")
        also = f" *Also: {', '.join(term.also)}.*" if term.also else ""
        parts.append(f"### {term.name} {{#{anchor}}}\n\n{term.text}{also}\n\n{term.where}\n")
    return "\n".join(parts)


def _notebooks() -> list[Path]:
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def _filled(nav: Any, made: dict[str, list[Any]]) -> Any:
    """Return the navigation with the names in `made` replaced by what they stand for."""
    if isinstance(nav, list):
        return [_filled(item, made) for item in nav]
    if isinstance(nav, dict):
        return {title: _filled(item, made) for title, item in nav.items()}
    return made.get(nav, nav)


def _links_of_the_site(text: str) -> str:
    """Return a repository page with links into `docs/` and to the other pages as in the site."""
    text = re.sub(r"\]\(docs/", "](", text)
    for source, target in REPOSITORY_PAGES.items():
        text = text.replace(f"]({source}", f"]({target}")
    return text
