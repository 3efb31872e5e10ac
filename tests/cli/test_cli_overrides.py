"""Quoting of overrides for Hydra's grammar."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from cytoloop.cli.overrides import quote, quote_overrides


@given(st.text(st.characters(codec="ascii", exclude_characters="\n\r\x00$"), min_size=1))
def test_hydra_reads_quoted_text_unchanged(text: str) -> None:
    parsed = OverridesParser.create().parse_override(f"raw={quote(text)}")
    assert parsed.value() == text


@pytest.mark.parametrize("value", [r"(?P<id>Emb\d+_t\d+)", "epoch=3.ckpt", "a b, c", "C:\\x\\"])
def test_values_with_special_characters_are_quoted(value: str) -> None:
    (word,) = quote_overrides("curate", [f"key={value}"])
    assert OverridesParser.create().parse_override(word).value() == value


def test_null_booleans_and_interpolations_are_not_quoted() -> None:
    words = ["init_from=null", "resume=true", "output=${paths.runs_dir}/x", "seed=1", "--cfg"]
    assert quote_overrides("train", words) == [
        *words[:2],
        "output='${paths.runs_dir}/x'",
        *words[3:],
    ]


def test_a_sweep_over_paths_stays_a_sweep() -> None:
    assert quote_overrides("train", ["-m", "data.path=a,b"]) == ["-m", "data.path=a,b"]


def test_a_checkpoint_uri_is_quoted() -> None:
    assert quote_overrides("predict", ["checkpoint=runs:/ab"]) == ["checkpoint='runs:/ab'"]
