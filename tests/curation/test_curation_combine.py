"""Decisions of several curators of one data set: taken over once, conflicts listed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import make_images

from cytoloop.curation import CurationSettings, append_decision, curate, read_decisions
from cytoloop.curation.decisions.combine_files import combine_logs
from cytoloop.curation.decisions.drawn import UNFINISHED, write_drawn
from cytoloop.curation.decisions.log import read_log
from cytoloop.errors import ConfigError, ManifestError
from cytoloop.io.labels import read_labels
from cytoloop.manifest import read_manifest, read_table
from cytoloop.truth.regions import read_region

SHAPE = (12, 40, 40)


@pytest.fixture
def copies(tmp_path: Path) -> tuple[Path, Path]:
    """A data set with one decision of Eve, and a copy of it for Ben."""
    images = make_images(tmp_path / "images", 4)
    mine = tmp_path / "mine"
    curate(CurationSettings(raw=images / "raw", seg1=images / "seg", output=mine))
    append_decision(mine / "decisions.csv", {"id": "img_0", "decision": "keep", "curator": "Eve"})
    shutil.copytree(mine, tmp_path / "ben")
    return mine, tmp_path / "ben"


def say(folder: Path, row_id: str, **cells: str) -> None:
    append_decision(folder / "decisions.csv", {"id": row_id, **cells})


def box(planes: slice) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[planes, 5:20, 5:20] = True
    return mask


def test_what_one_curator_changed_is_taken_over_with_its_files(copies: tuple[Path, Path]) -> None:
    mine, ben = copies
    say(mine, "img_1", decision="reject", reason="blurred", curator="Ann")
    say(ben, "img_2", decision="keep", curator="Ben")
    one = write_drawn(mine, "img_3", "exclude", box(slice(0, 2)), None)
    other = write_drawn(ben, "img_3", "exclude", box(slice(5, 9)), None)
    say(mine, "img_3", exclude=one)
    say(ben, "img_3", exclude=other)
    found = combine_logs(mine, [ben])
    assert found.conflicts == []
    decisions = read_decisions(mine / "decisions.csv")
    assert (decisions["img_1"].decision, decisions["img_2"].curator) == ("reject", "Ben")
    copied = mine / "drawn" / Path(other).name
    assert decisions["img_3"].exclude == (one, str(copied))
    assert np.array_equal(read_region(copied, SHAPE), box(slice(5, 9)))
    before = (mine / "decisions.csv").read_bytes()
    assert combine_logs(mine, [ben]).lines == []  # once is enough
    assert (mine / "decisions.csv").read_bytes() == before
    say(ben, "img_3", exclude="sources")  # Ben takes his region back
    combine_logs(mine, [ben])
    assert read_decisions(mine / "decisions.csv")["img_3"].exclude == (one,)
    curate(CurationSettings(output=mine))
    row = {row.id: row for row in read_manifest(mine / "dataset.csv")}["img_1"]
    assert (row["status"], row["curator"]) == ("reject", "Ann")


def test_conflicts_are_listed_until_the_curators_agree(copies: tuple[Path, Path]) -> None:
    mine, ben = copies
    say(mine, "img_0", decision="reject", reason="dim", curator="Ann", time="2026-01-02")
    say(ben, "img_0", decision="undecided", base_image="seg1", curator="Ben", time="2026-01-01")
    for _ in range(2):
        found = combine_logs(mine, [ben])
        assert [(one.id, one.column, one.mine, one.theirs) for one in found.conflicts] == [
            ("img_0", "decision", "reject (dim)", "undecided")
        ]
        decision = read_decisions(mine / "decisions.csv")["img_0"]
        assert (decision.decision, decision.base_image) == ("reject", "seg1")
    (line,) = read_table(mine / "conflicts.csv")[2]
    assert (line["my_curator"], line["their_curator"], line["used"]) == ("Ann", "Ben", "mine")
    combine_logs(mine, [ben], prefer="latest")
    assert read_decisions(mine / "decisions.csv")["img_0"].decision == "reject"
    assert read_table(mine / "conflicts.csv")[2]
    assert combine_logs(mine, [ben]).conflicts == []  # settled, and remembered
    say(ben, "img_0", decision="keep", reason="seen again", curator="Ben")
    found = combine_logs(mine, [ben], prefer="theirs")
    assert len(found.conflicts) == 1 and found.conflicts[0].used == "theirs"
    assert read_decisions(mine / "decisions.csv")["img_0"].reason == "seen again"


def test_corrected_labels_of_both_stay_and_finished_parts_add_up(
    copies: tuple[Path, Path],
) -> None:
    mine, ben = copies
    for number, folder in enumerate(copies, start=1):
        path = folder / "corrected" / "img_1_round0.ome.tif"
        labels = read_labels(folder.parent / "images" / "seg" / "img_1.tif")
        labels[labels == number] = 0
        from cytoloop.io.writers.tiff import write_image

        write_image(path, labels, "ZYX", None)
        say(folder, "img_1", labels=str(path))
        todo = np.ones(SHAPE, bool)
        todo[number] = False
        say(folder, "img_2", exclude=write_drawn(folder, "img_2", UNFINISHED, todo, None))
    found = combine_logs(mine, [ben / "decisions.csv"], prefer="theirs")
    assert [one.column for one in found.conflicts] == ["labels"]
    decisions = read_decisions(mine / "decisions.csv")
    used = Path(decisions["img_1"].labels)
    assert used.is_relative_to(mine) and used.name != "img_1_round0.ome.tif"
    assert not (read_labels(used) == 2).any()
    assert not (read_labels(mine / "corrected" / "img_1_round0.ome.tif") == 1).any()
    (region,) = decisions["img_2"].exclude
    todo = read_region(region, SHAPE)
    assert np.flatnonzero(~todo.any(axis=(1, 2))).tolist() == [1, 2]


def test_combining_reports_what_is_wrong_and_writes_nothing(copies: tuple[Path, Path]) -> None:
    mine, ben = copies
    say(ben, "img_1", exclude="drawn/lost.ome.tif")
    say(ben, "img_2", labels="corrected/lost.ome.tif")
    before = read_log(mine / "decisions.csv")
    with pytest.raises(ManifestError, match=r"(?s)img_1: file not found.*img_2: file not found"):
        combine_logs(mine, [ben])
    with pytest.raises(ManifestError, match="is the log of this data set"):
        combine_logs(mine, [mine])
    with pytest.raises(ManifestError, match="no such decisions log"):
        combine_logs(mine, [mine.parent / "nobody"])
    with pytest.raises(ManifestError, match=r"holds no dataset\.csv"):
        combine_logs(mine.parent, [ben])
    with pytest.raises(ConfigError, match="prefer=hers"):
        combine_logs(mine, [ben], prefer="hers")
    assert read_log(mine / "decisions.csv") == before


def test_the_command_shows_conflicts_in_a_table(
    copies: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from cytoloop.__main__ import main

    mine, ben = copies
    say(mine, "img_0", decision="reject", curator="Ann")
    say(ben, "img_0", decision="undecided", curator="Ben")
    assert main(["combine", f"data.path={mine}", f"logs={ben}"]) == 0
    assert "Conflicts" in capsys.readouterr().out
    assert main(["combine", f"data.path={mine}", f"logs=[{ben},{ben.parent / 'x'}]"]) == 2
    assert "no such decisions log" in capsys.readouterr().err
    before = read_log(mine / "decisions.csv")
    words = ["data.path=nowhere", f"logs=[{ben},gone.csv,lost.csv]", "prefer=hers"]
    assert main(["combine", *words]) == 2
    text = capsys.readouterr().err
    for part in ("4 problems", "nowhere", "gone.csv", "lost.csv", "prefer=hers", "data.path=DIR"):
        assert part in text
    assert read_log(mine / "decisions.csv") == before
