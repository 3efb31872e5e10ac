"""Settings: each wrong value has a message, and all of them are listed together."""

from __future__ import annotations

from pathlib import Path

import pytest

from cytoloop.curation import CurationSettings
from cytoloop.errors import ConfigError


@pytest.mark.parametrize(
    ("change", "problem", "repair"),
    [
        ({"parent_images": "all"}, "parent_images=all: expected keep or drop", ""),
        ({"base_image": "seg3"}, "base_image=seg3: expected seg1 or seg2 or null", ""),
        ({"merge_rule": "union"}, "merge_rule=union: expected clip or majority or null", ""),
        ({"export": "coco"}, "export=coco: expected cytodl or segmenter_ml or nnunet or null", ""),
        ({"folds": 1}, "split.folds=1: expected a number of folds from 2 up, or null", ""),
        ({"stratify": 1}, "split.stratify=1: expected true or false", ""),
        ({"seed": None}, "seed=null: expected a whole number", ""),
        ({"workers": True}, "workers=True: expected 0 (all cores), 1, 2 ...", ""),
        ({"time": -1}, "time=-1: expected a time point, 0, 1, 2 ... or all", ""),
        ({"time_seg1": "all"}, "time_seg1=all: expected a time point, 0, 1, 2 ...", ""),
        ({"spacing_um": 2}, "spacing_um=2: expected sizes in um, all above 0", "[z,y,x]"),
        ({"valid": True}, "valid=True: expected a fraction, or names of groups", ""),
        ({"key": ""}, "key=: expected stem, or a pattern with (?P<id>...)", ""),
        ({"exclude_rules": 3}, "exclude_rules=3: expected rules, or []", ""),
        ({"quality": {"focus": {"min": "x"}}}, "quality.focus.min=x: expected a number", "0.3"),
        ({"seg1": None}, "seg1 is missing: every raw image needs a segmentation", "seg1=FOLDER"),
        (
            {"seg2": "s3://bucket/seg"},
            "seg2=s3://bucket/seg: is a URL; expected a folder, pattern or file on this machine",
            "raw=FILE.csv",
        ),
    ],
)
def test_settings_messages(
    change: dict[str, object], problem: str, repair: str, tmp_path: Path
) -> None:
    given = {"raw": "raw", "seg1": "seg", "output": tmp_path, **change}
    with pytest.raises(ConfigError) as caught:
        CurationSettings(**given)  # type: ignore[arg-type]
    (found,) = caught.value.problems
    assert found.startswith(problem)
    assert repair in caught.value.repair


@pytest.mark.parametrize(
    "change", [{"time": "all"}, {"time": 0}, {"spacing_um": (1, 2)}, {"key": "x"}]
)
def test_settings_that_are_valid(change: dict[str, object], tmp_path: Path) -> None:
    CurationSettings(raw="raw", seg1="seg", output=tmp_path, **change)  # type: ignore[arg-type]


def test_settings_record_leaves_out_what_does_not_change_the_images(tmp_path: Path) -> None:
    settings = CurationSettings(
        raw=tmp_path / "raw", seg1=tmp_path / "seg", output=tmp_path / "d", valid="a", workers=4
    )
    record = settings.to_record()
    assert record["raw"] == "../raw" and record["valid"] == ["a"] and record["test"] == 0.2
    assert record["quality"]["focus"]["min"] == 0.2 and record["parent_images"] == "keep"
    left_out = {"output", "overwrite", "parent", "decisions", "report", "workers", "export"}
    assert not left_out & set(record)


def test_a_data_set_as_source_is_named_by_its_table(tmp_path: Path) -> None:
    (tmp_path / "dataset.csv").write_text("raw,seg1\n")
    with pytest.raises(ConfigError, match="seg1 is missing") as caught:
        CurationSettings(raw=tmp_path, output=tmp_path / "other")
    assert caught.value.repair == (
        f"This folder is a data set; its table is raw={(tmp_path / 'dataset.csv').as_posix()}."
    )
