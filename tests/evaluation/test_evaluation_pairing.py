"""Pairs of predictions and truths whose names differ."""

from __future__ import annotations

import logging
import re
import shlex
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cytoloop.curation.crops.cut import rows_to_annotate
from cytoloop.curation.pairing.source_files import list_sources
from cytoloop.errors import ConfigError, ManifestError
from cytoloop.evaluation import EvaluationSettings, evaluate
from cytoloop.evaluation.inputs.pairing import pair_rows
from cytoloop.inference.inputs.list_inputs import list_inputs
from cytoloop.manifest import read_dataset, read_manifest


def write(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    labels = np.zeros((8, 8), np.uint16)
    labels[2:5, 2:5] = 1
    for name in names:
        tifffile.imwrite(folder / name, labels)
    return folder


ENDINGS = (
    "_cp_masks",
    "_mask",
    "_masks",
    "_label",
    "_seg",
    "_pred",
    "-pred",
    ".seg",
    "_Simple Seg",
)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("stems", [("f0", "f1"), ("Emb1_nuclei", "Emb2_nuclei"), ("a.b", "c.d")])
def test_a_usual_ending_is_proposed_as_key(
    ending: str, stems: tuple[str, ...], tmp_path: Path
) -> None:
    truth = write(tmp_path / "truth", *(f"{stem}.tif" for stem in stems))
    pred = write(tmp_path / "pred", *(f"{stem}{ending}.tif" for stem in stems))
    with pytest.raises(ManifestError, match="no prediction has a truth") as refused:
        pair_rows(pred, truth)
    command = re.search(r"^(.*) would pair all 2 images", refused.value.repair)
    assert command is not None, refused.value.repair
    (word,) = shlex.split(command[1])  # what a shell makes of the pasted text
    key = word.removeprefix("key=")
    found = pair_rows(pred, truth, key=key)
    files = [
        (Path(one["labels_or_mask"]).name, Path(other["seg1"]).name) for one, other in found.pairs
    ]
    assert files == [(f"{stem}{ending}.tif", f"{stem}.tif") for stem in stems]


def test_the_endings_of_cellpose_are_evaluated_with_a_key(real_data: Path) -> None:
    case = real_data / "cases" / "01_endings"
    settings = EvaluationSettings(key=r"(?P<id>.+?)(_cp_masks)?\.", resamples=0)
    found = evaluate(str(case / "pred" / "*_masks.tif"), case / "truth", settings)
    assert [row["id"] for row in found.rows] == ["f0", "f1", "f2"]
    assert [row["dice"] for row in found.rows] == [1, 1, 1]


def test_names_are_compared_in_one_unicode_form(tmp_path: Path) -> None:
    names = [unicodedata.normalize(form, "Zellen \u00fc.tif") for form in ("NFC", "NFD")]
    assert names[0] != names[1]
    truth = write(tmp_path / "truth", names[0], "b.tif")
    pred = write(tmp_path / "pred", names[1], "b.tif")
    assert len(pair_rows(pred, truth).pairs) == 2
    table = tmp_path / "preds.csv"
    table.write_text(f"id,labels\n{names[1][:-4]},pred/{names[1]}\nb,pred/b.tif\n", "utf-8")
    found = pair_rows(table, truth)
    assert len(found.pairs) == 2 and not found.without_truth


@pytest.mark.parametrize("as_folder", [True, False])
def test_one_file_on_each_side_is_a_pair(
    as_folder: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    truth, pred = write(tmp_path / "t", "seg.tif"), write(tmp_path / "p", "stack_cp_masks.tif")
    sources = (pred, truth) if as_folder else (pred / "stack_cp_masks.tif", truth / "seg.tif")
    with caplog.at_level(logging.WARNING):
        ((one, other),) = pair_rows(*sources).pairs
    assert one.id == other.id == "seg" and "stack_cp_masks" in caplog.text


def test_two_tables_with_different_ids_are_no_pair(tmp_path: Path) -> None:
    write(tmp_path, "a.tif")
    (tmp_path / "p.csv").write_text("id,labels\none,a.tif\n")
    (tmp_path / "t.csv").write_text("id,raw,seg1\ntwo,a.tif,a.tif\n")
    with pytest.raises(ManifestError, match="no prediction has a truth"):
        pair_rows(tmp_path / "p.csv", tmp_path / "t.csv")


def test_files_without_the_key_are_named(tmp_path: Path) -> None:
    truth = write(tmp_path / "truth", "a1.tif", "notes.tif")
    with pytest.raises(ManifestError, match=r"not found in notes\.tif"):
        pair_rows(truth, truth, key=r"(?P<id>[a-z]\d)")


@pytest.mark.parametrize("key", ["", "(?P<id>", "(?P<name>a)"])
def test_a_wrong_key_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="key="):
        EvaluationSettings(key=key)


def test_predictions_that_all_failed_give_their_reasons(tmp_path: Path) -> None:
    truth = write(tmp_path / "truth", "a.tif")
    table = tmp_path / "predictions.csv"
    table.write_text("id,labels,status,reason\na,,failed,is empty\n")
    with pytest.raises(ManifestError, match="a: is empty") as refused:
        pair_rows(table, truth)
    assert refused.value.repair == "Predict these images again."


def test_a_folder_that_cytoloop_wrote_stands_for_its_table(tmp_path: Path) -> None:
    write(tmp_path / "preds/labels", "a.tif", "b.tif")
    write(tmp_path / "preds", "steps.png")  # a picture of the workflow, no result
    write(tmp_path / "data/seg", "a.tif", "b.tif")
    rows = "id,labels,status\na,labels/a.tif,done\nb,labels/b.tif,done\n"
    (tmp_path / "preds/predictions.csv").write_text(rows)
    (tmp_path / "data/dataset.csv").write_text(
        "id,raw,seg1\na,x.tif,seg/a.tif\nb,y.tif,seg/b.tif\n"
    )
    paired = pair_rows(tmp_path / "preds", tmp_path / "data")
    assert [(one.id, two.id) for one, two in paired.pairs] == [("a", "a"), ("b", "b")]
    assert paired.pairs[0][0].file("labels") == tmp_path / "preds/labels/a.tif"
    assert len(read_manifest(tmp_path / "data").rows) == 2


def test_images_beside_a_table_are_what_is_predicted(tmp_path: Path) -> None:
    write(tmp_path / "raw", "a.tif", "b.tif")
    (tmp_path / "dataset.csv").write_text("id,raw\nfirst,raw/a.tif\n")
    assert [row.id for row in list_inputs(tmp_path)] == ["first"]
    write(tmp_path, "new.tif")
    assert [row.id for row in list_inputs(tmp_path)] == ["new"]


def test_a_table_of_another_program_beside_label_images_is_not_read(tmp_path: Path) -> None:
    (write(tmp_path / "found", "a.tif") / "predictions.csv").write_text("image,score\na.tif,0.9\n")
    (write(tmp_path / "true", "a.tif") / "dataset.csv").write_text("well,dose\nA1,3\n")
    paired = pair_rows(tmp_path / "found", tmp_path / "true")
    assert [(one.id, two.id) for one, two in paired.pairs] == [("a", "a")]


def test_a_folder_of_predictions_is_cut_for_correction_but_no_data_set(tmp_path: Path) -> None:
    write(tmp_path / "labels", "a.tif")
    table = "id,raw,labels,status\na,labels/a.tif,labels/a.tif,done\nb,b.tif,,failed\n"
    (tmp_path / "predictions.csv").write_text(table)
    assert [row.id for row in rows_to_annotate(tmp_path)] == ["a"]
    listed = list_sources({"seg1": str(tmp_path), "raw": str(write(tmp_path / "x", "a.tif"))})
    assert listed["seg1"] == [tmp_path / "labels/a.tif"]
    with pytest.raises(ManifestError, match=r"holds predictions .predictions.csv.(.|\n)*curate"):
        read_dataset(tmp_path)
