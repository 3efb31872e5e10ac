"""Typed words become what the type of their key says, through Hydra's real grammar."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from cytoloop.cli.key_types import KeyType, key_type
from cytoloop.cli.overrides import quote, quote_overrides, text_of

VERBS = (
    *("curate", "annotate", "combine", "check", "train", "predict", "evaluate"),
    *("compare", "models", "history", "status", "cancel", "synthesize", "classic", "rank", "view"),
)
PRINTABLE = "".join(chr(code) for code in range(32, sys.maxunicode) if chr(code).isprintable())
NAMES = st.text(st.sampled_from(PRINTABLE[:95]) | st.sampled_from(PRINTABLE), min_size=1)


def typed(verb: str, key: str, value: str, *flags: str) -> Any:
    """Return the value that OmegaConf holds after a user typed ``key=value``."""
    word = quote_overrides(verb, [f"{key}={value}", *flags])[0]
    parsed = OverridesParser.create().parse_override(word)
    assert parsed.key_or_group == key.lstrip("+")
    if parsed.is_sweep_override():
        return [str(one).strip("'") for one in parsed.sweep_string_iterator()]
    return OmegaConf.create({"value": parsed.value()}).value


def is_plain(text: str) -> bool:
    """Return whether a text is neither in quotes nor ``null``, and holds no interpolation."""
    text = text.strip()
    in_quotes = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text.lower() not in ("", "null", "???") and not in_quotes and "${" not in text


@given(NAMES.filter(is_plain))
@example("".join(PRINTABLE[:95]))
@example("1e3")
@example("1_000")
@example("true")
@example("DAPI (405), nuclei")
@example("a='b")
@example("c=3 #4")
@example("Zelle_\u00fc\u4e2d\U0001f52c")
@example("\\")
@example(" spaces ")
def test_a_value_of_a_text_key_is_the_typed_text(name: str) -> None:
    assert typed("curate", "raw", name) == name


@given(NAMES.filter(is_plain))
@example("A1 (crop 1)")
@example("0.5.tif")
def test_a_name_for_a_split_is_the_typed_text(name: str) -> None:
    if not name.strip().startswith("[") and not _is_number(name):
        assert typed("curate", "test", name) == name


@given(st.lists(NAMES.filter(is_plain).map(str.strip), min_size=1, max_size=4))
@example(["A1 (crop 1)", "1", "true", "c=3 #4"])
def test_a_list_of_texts_holds_the_typed_texts(names: list[str]) -> None:
    as_typed = [name if _is_simple(name) else quote(name) for name in names]
    assert list(typed("curate", "test", f"[{', '.join(as_typed)}]")) == names


def _is_simple(name: str) -> bool:
    """Return whether a name needs no quotes in a list: no comma, quotes or bare parentheses."""
    return not set(name) & set(",'\"()[]\\")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("verb", "key", "value", "expected"),
    [
        ("predict", "channel", "DAPI (405), nuclei", "DAPI (405), nuclei"),
        ("predict", "channel", "[DAPI (405), GFP (488, new)]", ["DAPI (405)", "GFP (488, new)"]),
        ("predict", "channel", "['DAPI, new', GFP]", ["DAPI, new", "GFP"]),
        ("predict", "channel", "GFP(488)", "GFP(488)"),
        ("curate", "test", "[A1 (crop 1)]", ["A1 (crop 1)"]),
        ("curate", "test", "[plate [2]_x, c=3 #4]", ["plate [2]_x", "c=3 #4"]),
        ("curate", "test", "0.25", 0.25),
        ("curate", "valid", "A1 (crop 1)", "A1 (crop 1)"),
        ("evaluate", "classes", "[nucleus, Spindel (\u00fc)]", ["nucleus", "Spindel (\u00fc)"]),
        ("evaluate", "classes", "3", 3),
        ("train", "register", "M\u00fcller's nuclei (v2)", "M\u00fcller's nuclei (v2)"),
        ("train", "run_name", "2024", "2024"),
        ("train", "resume", "true", True),
        ("train", "plan", "a=b.yaml", "a=b.yaml"),
        ("models", "about.description", "Nuclei, 3D = #1 (ü)", "Nuclei, 3D = #1 (ü)"),
        ("models", "about.license", "CC-BY-4.0", "CC-BY-4.0"),
        ("train", "+extras.note", "what (I) did: 50 % a=b", "what (I) did: 50 % a=b"),
        ("train", "seed", "7", 7),
        ("train", "data.patch_size", "[16,64,64]", [16, 64, 64]),
        ("train", "init_from", "null", None),
        ("curate", "raw", "'in quotes, once'", "in quotes, once"),
        ("curate", "raw", "a${b", "a${b"),
        ("curate", "raw", "C:\\x\\${", "C:\\x\\${"),
    ],
)
def test_the_type_of_the_key_decides(verb: str, key: str, value: str, expected: Any) -> None:
    found = typed(verb, key, value)
    found = OmegaConf.to_container(found) if OmegaConf.is_config(found) else found
    assert found == expected and type(found) is type(expected)


def test_interpolations_are_kept() -> None:
    words = quote_overrides("train", ["output=${paths.runs_dir}/x", "--cfg"])
    with initialize_config_module("cytoloop.configs", version_base="1.3"):
        assert compose("train", words[:1]).output == "runs/x"
    assert words[1] == "--cfg"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a,b", ["a", "b"]), ("a (1), b c", ["a (1)", "b c"]), ("choice(a,b)", ["a", "b"])],
)
def test_a_sweep_over_texts_stays_a_sweep(value: str, expected: list[str]) -> None:
    assert typed("train", "data.path", value, "-m") == expected


@pytest.mark.parametrize("verb", VERBS)
def test_every_key_without_a_default_has_a_type(verb: str) -> None:
    """A key whose type the config does not show is named in `key_types`, or holds numbers."""
    with initialize_config_module("cytoloop.configs", version_base="1.3"):
        config = OmegaConf.to_container(compose(verb, []), resolve=False)
    numbers = {
        *("spacing_um", "time", "time_seg1", "time_seg2", "split.folds", "data.fold"),
        *("ignore_label", "split.gap", "data.resample", "object_diameter_um", "sweep"),
        *("workflow.steps.size.most_um", "planes", "data.planes", "join_planes"),
        *("data.patches_per_image", "data.steps_per_epoch", "data.num_workers"),
        *("data.cache_limit_gib", "spatial_dims", "in_channels", "budget_minutes", "early_stop"),
        *("model.image.spacing_um", "model.image.object_voxels", "checkpoint.weights_only"),
        *("trainer.min_epochs", "trainer.max_time", "extras"),
        *("postprocess.min_volume_um3", "postprocess.max_volume_um3"),
    }
    untyped = {
        key
        for key, value in _leaves(config)
        if value in (None, "???", "", [])
        and key_type(verb, key) is KeyType.VALUE
        and key not in numbers
        and not key.startswith("quality.")
    }
    assert untyped <= {"preparation.steps", "model.image.channel_names"}


def _leaves(node: Any, parent: str = "") -> list[tuple[str, Any]]:
    if not isinstance(node, dict):
        return [(parent, node)]
    return [
        leaf for key, value in node.items() for leaf in _leaves(value, f"{parent}.{key}".strip("."))
    ]


def test_an_unreadable_list_keeps_the_error_of_its_place() -> None:
    assert quote_overrides("train", ["data.patch_size=[16,64"]) == ["data.patch_size=[16,64"]


@given(NAMES)
@example("it's \\")
def test_the_text_of_an_override_is_the_quoted_text(name: str) -> None:
    assert text_of(f"output={quote(name)}") == name
    assert text_of("seed=7") == "7" and text_of("~data") == ""
