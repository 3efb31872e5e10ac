"""The reference pages that are made from the configs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts" / "site"
sys.path.insert(0, str(SCRIPTS))

import config_pages  # noqa: E402
import config_tables  # noqa: E402

GIVEN_BY_CYTODL = ("train", "test", "tags", "extras", "checkpoint.")
"""Keys of `train.yaml` that only `cyto_dl.train` reads; a line above them says so."""


@pytest.mark.parametrize("verb", config_pages.verb_names())
def test_every_key_of_a_verb_is_explained(verb: str) -> None:
    sections = config_tables.read_sections(config_pages.CONFIGS / f"{verb}.yaml")
    keys = [key for section in sections for key in section.keys]
    silent = [key.name for key in keys if not key.meaning]
    assert keys
    assert [name for name in silent if not name.startswith(GIVEN_BY_CYTODL)] == []


def test_every_group_and_option_has_its_section() -> None:
    for group in config_pages.group_names():
        page = config_pages.group_page(group)
        for path in (config_pages.CONFIGS / group).glob("*.yaml"):
            assert f"\n## {path.stem} " in page, (group, path.stem)


def test_a_table_holds_defaults_meanings_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "part.yaml"
    path.write_text(
        "# What: it is.\n# cytoloop train part=x\n_partial_: true\nsize: [1, 2] # of a | b\n"
        "# the optional part\nhead: # one\n  _target_: lib.Head\n  loss:\n"
        "    power: 2.0 # exponent\nrules: { min: 0.2, max: null } # a limit\n"
    )
    first, second = config_tables.read_sections(path)
    assert [(key.name, key.default, key.meaning) for key in first.keys] == [
        ("size", "[1, 2]", "of a | b")
    ]
    assert second.comment == "the optional part"
    assert [(key.name, key.default, key.meaning) for key in second.keys] == [
        ("head", "lib.Head", "one"),
        ("head.loss.power", "2.0", "exponent"),
        ("rules", "{ min: 0.2, max: null }", "a limit"),
    ]
    text = config_tables.to_markdown([first, second])
    assert "| `size` | `[1, 2]` | of a \\| b |" in text
    assert "The optional part:" in text


def test_every_environment_variable_is_listed() -> None:
    """Variables of ours that the code reads."""
    page = (SCRIPTS.parents[1] / "docs/reference/environment.md").read_text(encoding="utf-8")
    read = {
        name
        for path in (SCRIPTS.parents[1] / "src").rglob("*.py")
        for name in re.findall(r"\"(CYTOLOOP_[A-Z_]+)\"", path.read_text(encoding="utf-8"))
    }
    assert len(read) >= 4
    assert {name for name in read if f"`{name}`" not in page} == set()
