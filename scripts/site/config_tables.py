"""Tables of the keys of a YAML config: name, default and meaning, from the file itself.

The meaning of a key is the comment behind its value. Comment lines between keys start a new table
and stand above it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

SKIPPED = ("defaults", "hydra", "_partial_", "_convert_", "_recursive_", "enable_version_counter")
"""Keys of Hydra, and technical ones."""
CLASS = "_target_"


@dataclass(frozen=True)
class Key:
    """A key of a config, with dots: its default as YAML text, and its meaning."""

    name: str
    default: str
    meaning: str


@dataclass
class Section:
    """Keys that stand together, and the comment above them."""

    comment: str = ""
    keys: list[Key] = field(default_factory=list)


def read_head(path: Path) -> list[str]:
    """Return the comment lines that open a config: what it is, the command, what it costs."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.removeprefix("# "))
    return lines


def read_sections(path: Path) -> list[Section]:
    """Return the keys of a config, in sections, in the order of the file."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    root = yaml.compose(text)
    sections = [Section()]
    if not isinstance(root, yaml.MappingNode):
        return sections
    last_line = 0
    head = read_head(path)
    for line, end, key in _walk(root, lines):
        between = (text.strip() for text in lines[last_line:line])
        comments = [text[2:] for text in between if text.startswith("# ")]
        if comment := " ".join(text for text in comments if text not in head and text[0] != "@"):
            sections.append(Section(comment))
        last_line = end + 1
        sections[-1].keys.append(key)
    return [section for section in sections if section.keys]


def _walk(
    node: yaml.MappingNode, lines: list[str], prefix: str = ""
) -> Iterator[tuple[int, int, Key]]:
    """Yield first line, last line and row of each key, in the order of the file.

    A block with a class is a row with the class as its default.
    """
    for name_node, value in node.value:
        if name_node.value in SKIPPED or name_node.value == CLASS:
            continue
        name = f"{prefix}{name_node.value}"
        first = name_node.start_mark.line
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            named = [item.value for key, item in value.value if key.value == CLASS]
            meaning = _comment(lines[first].partition(":")[2])
            if named or meaning:
                yield first, first + bool(named), Key(name, "".join(named), meaning)
            yield from _walk(value, lines, f"{name}.")
            continue
        start, end = value.start_mark, value.end_mark
        if start.line == end.line:
            default, meaning = lines[first][start.column : end.column], lines[first][end.column :]
            yield first, end.line, Key(name, default, _comment(meaning))
        else:
            yield first, end.line - 1, Key(name, "(a list)", _comment(lines[first]))


def _comment(text: str) -> str:
    """Return the comment in the rest of a line, without the sign."""
    found = re.search(r"(?:^|\s)#\s*(.*)", text)
    return found[1].strip() if found else ""


def meanings(paths: list[Path]) -> dict[str, str]:
    """Return the meaning of each key, and of each last part of a key, that a file explains."""
    known: dict[str, str] = {}
    keys = [key for path in paths for section in read_sections(path) for key in section.keys]
    for key in keys:
        if key.meaning:
            known.setdefault(key.name, key.meaning)
    for key in keys:
        if key.meaning and "." in key.name:
            known.setdefault(key.name.rpartition(".")[2], key.meaning)
    return known


def to_markdown(sections: list[Section], known: Mapping[str, str] | None = None) -> str:
    """Return the sections as Markdown tables.

    Parameters
    ----------
    sections : list of Section
    known : mapping of str to str, optional
        Meanings of keys that have none here, by name or by the last part of the name.
    """
    known = known or {}
    parts = []
    for section in sections:
        if text := section.comment:
            parts.append(f"{text[0].upper()}{text[1:].rstrip('.')}:\n")
        rows = [
            f"| {_code(key.name)} | {_code(key.default)} | {_escape(_meaning(key, known))} |"
            for key in section.keys
        ]
        parts.append("\n".join(["| key | default | meaning |", "|---|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def _meaning(key: Key, known: Mapping[str, str]) -> str:
    last = key.name.rpartition(".")[2]
    return key.meaning or known.get(key.name) or (known.get(last, "") if last != key.name else "")


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|") if text else ""


def _escape(text: str) -> str:
    """Return the text for a cell; words that hold special characters become code."""
    words = [
        f"`{word}`" if re.search(r"[*_<>{}\\$\[\]]", word) and "`" not in word else word
        for word in text.split(" ")
    ]
    return " ".join(words).replace("|", "\\|")
