"""The commands that documentation, help texts and configs show.

Those of the notebooks run in `tests/integration/test_notebooks.py`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from cytoloop.__main__ import ALIASES, VERBS, usage

ROOT = Path(__file__).parents[2]
_STARTED_BY = r"(?:\$ |!|srun |uv run (?:--\S+(?: \S+)? )*|torchrun .*?-m |# )?"
_COMMAND = re.compile(rf"^{_STARTED_BY}(cytoloop (?:{'|'.join([*VERBS, *ALIASES])})\b.*)")
_INLINE = re.compile(r"`(cytoloop [^`]+)`")
_FENCE = re.compile(r"^ *```(.*?)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Shown:
    """A command as it is shown, and where."""

    text: str
    place: str
    in_text: bool = False

    @property
    def verb(self) -> str:
        """The verb."""
        return self.text.split()[1]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out: a line of a block without ``...``; text may shorten."""
        return "..." not in self.text and not self.in_text

    def words(self) -> list[str]:
        """Return the words after the verb, as a shell gives them, without ``...``."""
        words = shlex.split(self.text, comments=True)[2:]
        return [word for word in words if "..." not in word]


def shown_commands() -> list[Shown]:
    """Return every command once, with the first place that shows it."""
    first: dict[str, Shown] = {}
    for place, line, in_text in _lines():
        if "[key=value" in line or re.search(r"cytoloop \S+ ?(key=|\[)", line):
            continue
        text = re.sub(r" {3,}\(.*$", "", line).strip()
        first.setdefault(text, Shown(text, place, in_text))
    return list(first.values())


def blocks(text: str) -> list[tuple[str, str]]:
    """Return language and text of each fenced block of a page."""
    return [(info.split(" ")[0], block) for info, block in _FENCE.findall(text)]


def yaml_examples() -> dict[str, str]:
    """Return the config files that pages show, by their path, the title of the block."""
    found = {}
    for path in _pages():
        for info, block in _FENCE.findall(path.read_text(encoding="utf-8")):
            if named := re.search(r'title="(experiments/[\w/]+\.yaml)"', info):
                found[named[1]] = block
    return found


def _pages() -> list[Path]:
    pages = [*(ROOT / "docs").rglob("*.md"), ROOT / "experiments/README.md"]
    return [*sorted(pages), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def _lines() -> Iterator[tuple[str, str, bool]]:
    """Yield place and text of each command, and whether it stands within a sentence."""
    for path in _pages():
        yield from _in_markdown(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
    configs = [path for folder in ("configs", "experiments") for path in (ROOT / folder).rglob("*")]
    for path in sorted(path for path in configs if path.suffix == ".yaml"):
        text = path.read_text(encoding="utf-8")
        head = [line for line in text.splitlines() if line.startswith("# ")]
        if "help" in path.parts:
            help_text = yaml.safe_load(text)["template"]  # remarks follow after two spaces
            head += re.sub(r"(?<=\S) {2,}(?=[a-z]).*", "", help_text).splitlines()
        yield from _in_code(path.relative_to(ROOT).as_posix(), "\n".join(head))
    yield from _in_code("cytoloop --help", usage())


def _in_markdown(place: str, text: str) -> Iterator[tuple[str, str, bool]]:
    for _, block in _FENCE.findall(text):
        yield from _in_code(place, block)
    for inline in _INLINE.findall(_FENCE.sub("", text)):
        if found := _COMMAND.match(" ".join(inline.split())):
            yield place, found[1], True


def _in_code(place: str, block: str) -> Iterator[tuple[str, str, bool]]:
    whole = re.sub(r"\\\n\s*", "", block)
    for line in whole.splitlines():
        for part in re.split(r";\s+(?:then )?(?=cytoloop)|&& ", line):
            if found := _COMMAND.match(part.strip()):
                yield place, found[1], False
