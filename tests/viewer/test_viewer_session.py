"""What the panels do, without a window: everything is on disk at once and can be undone."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_blobs, make_images

from cytoloop.curation import CurationSettings, curate, read_decisions
from cytoloop.curation.decisions.combine_files import combine_logs
from cytoloop.curation.decisions.latest import Decision
from cytoloop.errors import ConfigError, ImageError, ManifestError
from cytoloop.io.labels import read_labels
from cytoloop.io.read import read_image
from cytoloop.manifest import read_manifest
from cytoloop.truth.edits import delete_objects, merge_objects
from cytoloop.truth.targets import read_target
from cytoloop.viewer.session.commands import (
    combine_words,
    command_text,
    curate_words,
    next_round_words,
    predict_words,
    recipes,
    reprocess_words,
    train_words,
)
from cytoloop.viewer.session.corrections import Correction
from cytoloop.viewer.session.dataset import Dataset, open_dataset
from cytoloop.viewer.session.decide import choose_base, decide, keep_or_reject
from cytoloop.viewer.session.history import History
from cytoloop.viewer.session.images import ImageCache, image_state, load_image
from cytoloop.viewer.session.limits import ADVANCED
from cytoloop.viewer.session.pairs import describe, preview_pairs, thumbnail
from cytoloop.viewer.session.process import VerbProcess
from cytoloop.viewer.session.promotion import promote_words, register_words
from cytoloop.viewer.session.regions import (
    Shape,
    add_region,
    clear_regions,
    finish,
    outline,
    planes_of_brush,
    planes_of_shapes,
    region_mask,
)
from cytoloop.viewer.session.trainings import read_curves, view_training


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Five stacks of 12 x 40 x 40 with two segmentations."""
    images = make_images(tmp_path / "images", 5)
    make_images(tmp_path / "other", 5)
    curate(
        CurationSettings(
            raw=images / "raw",
            seg1=images / "seg",
            seg2=tmp_path / "other" / "seg",
            output=tmp_path / "dataset",
        )
    )
    return open_dataset(tmp_path / "dataset")


def on_disk(dataset: Dataset, row_id: str) -> Decision:
    return read_decisions(dataset.log).get(row_id, Decision())


def test_the_queue_is_ranked_filtered_and_counted(dataset: Dataset) -> None:
    assert [entry.rank for entry in dataset.entries] == [1, 2, 3, 4, 5]
    keep_or_reject(dataset, "img_2", "reject", "blurred", "Ann")
    assert [entry.id for entry in dataset.filtered("rejected")] == ["img_2"]
    assert len(dataset.filtered("undecided")) == 4
    assert [entry.id for entry in dataset.filtered("all", "IMG_3")] == ["img_3"]
    splits = [len(dataset.filtered(name)) for name in ("train", "valid", "test")]
    assert sum(splits) == 5 and min(splits) > 0
    assert dataset.counts() == {"keep": 0, "reject": 1, "undecided": 4}
    decision = on_disk(dataset, "img_2")
    assert (decision.decision, decision.reason, decision.curator) == ("reject", "blurred", "Ann")
    with pytest.raises(ManifestError, match=r"holds no dataset\.csv"):
        open_dataset(dataset.folder.parent)


def test_each_action_is_on_disk_and_undo_and_redo_restore_it_exactly(dataset: Dataset) -> None:
    rng, history, states = random.Random(7), History(), []
    for number in range(30):
        row_id = f"img_{rng.randrange(2)}"
        now = dataset.decision(row_id)
        states.append(dict(dataset.decisions))
        new = rng.choice(
            [
                replace(now, decision="reject", reason=f"r{number}", curator="Ann"),
                replace(now, decision="undecided", reason="", curator=""),
                replace(now, base_image=rng.choice(["", "seg1", "seg2"])),
                replace(now, exclude=(*now.exclude, str(dataset.folder / f"drawn/{number}.tif"))),
                replace(now, exclude=()),
                replace(now, labels=rng.choice(["", str(dataset.folder / "corrected/a.tif")])),
            ]
        )
        history.add(decide(dataset, row_id, new, "change"))
        assert on_disk(dataset, row_id) == new
    last = dict(dataset.decisions)
    for before in reversed(states):
        assert history.undo() is not None
        for row_id in ("img_0", "img_1"):
            assert on_disk(dataset, row_id) == before.get(row_id, Decision())
    assert history.undo() is None
    while history.redo():
        pass
    assert {row_id: on_disk(dataset, row_id) for row_id in last} == last


def test_a_region_in_a_range_is_learned_and_taken_back(dataset: Dataset) -> None:
    image = load_image(dataset.entry("img_1"))
    box = np.array([[3, 5, 5], [3, 5, 20], [3, 20, 20], [3, 20, 5]], float)
    planes = planes_of_shapes([Shape("rectangle", box)], image.shape, plane=0)
    mask = region_mask(planes, image.shape, "slices from - to", 2, 6)
    assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == [2, 3, 4, 5, 6]
    nothing = np.zeros(image.shape, bool)
    action = add_region(dataset, "img_1", "exclude", mask, image.spacing_um, nothing)
    state = image_state(image, dataset.entry("img_1").row, dataset.decision("img_1"), dataset)
    assert np.array_equal(state.excluded, mask)
    with pytest.raises(ConfigError, match="already excluded"):
        add_region(dataset, "img_1", "merge", mask[3], image.spacing_um, state.excluded)
    curate(CurationSettings(output=dataset.folder))
    row = {row.id: row for row in read_manifest(dataset.folder / "dataset.csv")}["img_1"]
    assert np.array_equal(read_target(row)[1], ~mask)
    action.undo()
    assert on_disk(dataset, "img_1").exclude == ()
    with pytest.raises(ConfigError, match="no exclude region"):
        clear_regions(dataset, "img_1", "exclude")


def test_the_preview_of_base_and_merging_is_what_curate_writes(
    dataset: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "other" / "seg" / "img_0.tif"
    from conftest import write_tiff

    labels = read_labels(path)
    labels[labels == 2] = 0
    write_tiff(path, labels)
    image = load_image(dataset.entry("img_0"))
    choose_base(dataset, "img_0", "seg2")
    painted = np.zeros(image.shape, np.uint8)
    painted[2, 5:30, 5:15], painted[9, 5:30, 20:30] = 1, 1
    mask = region_mask(planes_of_brush(painted), image.shape, "slices from - to", 0, 11)
    assert mask[5].any() and not mask[11].any()
    nothing = np.zeros(image.shape, bool)
    add_region(dataset, "img_0", "merge", mask, image.spacing_um, nothing)
    state = image_state(image, dataset.entry("img_0").row, dataset.decision("img_0"), dataset)
    curate(CurationSettings(output=dataset.folder))
    row = {row.id: row for row in read_manifest(dataset.folder / "dataset.csv")}["img_0"]
    target, valid = read_target(row)
    assert np.array_equal(state.target, target) and valid.all() and not state.excluded.any()
    assert not np.array_equal(target, labels)


def test_czi_is_sorted_merged_excluded_and_corrected(tmp_path: Path) -> None:
    """Raw and two segmentations in CZI, as 3D stacks: the panels' whole way of an image."""
    czi = pytest.importorskip("pylibCZIrw.czi")
    truth = {}
    for number in range(5):
        raw, labels = make_blobs((6, 40, 40), 5, number)
        truth[f"a{number}"] = labels
        other = np.where(labels == 2, 0, labels)
        for kind, pixels in (("raw", raw), ("seg1", labels), ("seg2", other)):
            (tmp_path / kind).mkdir(exist_ok=True)
            with czi.create_czi(str(tmp_path / kind / f"a{number}.czi")) as file:
                for z, plane in enumerate(pixels):
                    file.write(plane[..., None], plane={"Z": z})
    folders = {kind: tmp_path / kind for kind in ("raw", "seg1", "seg2")}
    pairs = preview_pairs({kind: str(folder) for kind, folder in folders.items()})
    assert [row.problem for row in pairs] == [""] * 5
    curate(CurationSettings(**folders, output=tmp_path / "ds"))
    dataset = open_dataset(tmp_path / "ds")
    first, second, third = (entry.id for entry in dataset.filtered("train"))
    image = load_image(dataset.entry(first))
    assert np.array_equal(image.segmentations["seg1"], truth[first])
    choose_base(dataset, first, "seg2")
    merged, excluded = np.zeros((2, *image.shape), bool)
    merged[:, 5:30, 5:15], excluded[2, 20:30, 20:30] = True, True
    nothing = np.zeros(image.shape, bool)
    add_region(dataset, first, "merge", merged, image.spacing_um, nothing)
    add_region(dataset, first, "exclude", excluded, image.spacing_um, nothing)
    keep_or_reject(dataset, second, "reject", "blurred")
    state = image_state(image, dataset.entry(first).row, dataset.decision(first), dataset)
    other_image = load_image(dataset.entry(third))
    correction = Correction(dataset, third, truth[third], other_image.spacing_um)
    correction.do(delete_objects(correction.labels, [3]))
    curate(CurationSettings(output=dataset.folder))
    rows = {row.id: row for row in read_manifest(dataset.folder / "dataset.csv")}
    assert [rows[one]["status"] for one in (first, second, third)] == ["keep", "reject", "keep"]
    assert rows[first]["raw"].endswith(".czi")
    target, valid = read_target(rows[first])
    assert np.array_equal(target, state.target) and np.array_equal(~valid, excluded)
    assert np.array_equal(read_target(rows[third])[0], correction.labels)


def test_corrections_are_saved_at_once_and_leave_the_original(dataset: Dataset) -> None:
    entry = dataset.entry("img_3")
    image = load_image(entry)
    original = image.segmentations["seg1"].copy()
    state = image_state(image, entry.row, dataset.decision("img_3"), dataset)
    correction = Correction(dataset, "img_3", state.target, image.spacing_um)
    history = History()
    history.add(correction.do(merge_objects(correction.labels, [1, 2])))
    history.add(correction.do(delete_objects(correction.labels, [3])))
    reopened = open_dataset(dataset.folder)  # as after kill -9
    path = Path(reopened.decision("img_3").labels)
    assert path == correction.path
    assert np.array_equal(read_labels(path), correction.labels)
    assert read_image(path).spacing_um == pytest.approx(image.spacing_um)
    assert sorted(set(np.unique(original)) - set(np.unique(read_labels(path)))) == [2, 3]
    curate(CurationSettings(output=dataset.folder))
    row = {row.id: row for row in read_manifest(dataset.folder / "dataset.csv")}["img_3"]
    assert np.array_equal(read_target(row)[0], correction.labels)
    assert open_dataset(dataset.folder).round == 1  # the next round writes another file
    history.undo()
    assert 3 in read_labels(path)
    history.undo()
    assert on_disk(dataset, "img_3").labels == ""
    assert np.array_equal(correction.labels, original)
    history.redo()
    assert np.array_equal(read_labels(path), np.where(original == 2, 1, original))
    correction.discard().undo()
    assert on_disk(dataset, "img_3").labels == str(path)
    assert np.array_equal(read_labels(entry.row.file("seg1") or ""), original)


def test_what_is_not_finished_is_excluded(dataset: Dataset) -> None:
    entry = dataset.entry("img_4")
    image = load_image(entry)

    def excluded() -> np.ndarray:
        return image_state(image, entry.row, dataset.decision("img_4"), dataset).excluded

    one, two = np.zeros((2, *image.shape), bool)
    one[4], two[7, :20] = True, True
    finish(dataset, "img_4", one, image.shape, image.spacing_um)
    assert np.array_equal(~excluded(), one)
    second = finish(dataset, "img_4", two, image.shape, image.spacing_um)
    assert np.array_equal(~excluded(), one | two)
    assert len(on_disk(dataset, "img_4").exclude) == 1
    second.undo()
    assert np.array_equal(~excluded(), one)
    finish(dataset, "img_4", None, image.shape, image.spacing_um)
    assert not excluded().any()


def test_shapes_become_outlines() -> None:
    box = np.array([[0, 0], [0, 20], [10, 20], [10, 0]], float)
    ellipse = outline(Shape("ellipse", box))
    y, x = (ellipse - (5, 10)).T
    assert (y / 5) ** 2 + (x / 10) ** 2 == pytest.approx(1)
    with pytest.raises(ConfigError, match="a line has no area"):
        outline(Shape("line", box[:2]))
    for planes in (
        lambda: planes_of_shapes([], (9, 9), 0),
        lambda: planes_of_brush(np.zeros((9, 9))),
    ):
        with pytest.raises(ConfigError, match="nothing is"):
            planes()
    with pytest.raises(ConfigError, match="covers no pixel"):
        far = Shape("rectangle", box + 100)
        region_mask(planes_of_shapes([far], (9, 9), 0), (9, 9), "all slices", 0, 0)
    with pytest.raises(ConfigError, match="slices 0 to 8"):
        region_mask({0: np.ones((9, 9), bool)}, (9, 9, 9), "slices from - to", 3, 12)


def test_images_are_read_ahead_and_a_repaired_file_is_read_again(dataset: Dataset) -> None:
    reads = []

    def load(row_id: str):
        reads.append(row_id)
        return load_image(dataset.entry(row_id))

    cache = ImageCache(load)
    first = cache.request("img_0").result(30)
    cache.prefetch("img_1")
    assert cache.request("img_1").result(30).id == "img_1"
    assert cache.request("img_0").result(30) is first
    assert reads == ["img_0", "img_1"]
    path = dataset.entry("img_2").row.file("seg1")
    assert path is not None
    content = path.read_bytes()
    path.write_bytes(b"no image")
    with pytest.raises(ImageError):
        cache.request("img_2").result(30)
    path.write_bytes(content)
    assert cache.request("img_2").result(30).id == "img_2"
    cache.close()


def test_commands_are_those_that_a_user_types(tmp_path: Path) -> None:
    values = {"raw": "my images", "seg1": "labels", "seg2": "", "output": "dataset"}
    words = curate_words(values)
    assert command_text("curate", words) == (
        "cytoloop curate 'raw=my images' seg1=labels output=dataset"
    )
    assert recipes()[0] == "auto" and {"nuclei_2d", "nuclei_3d"} < set(recipes())
    assert next_round_words(tmp_path, "p.csv")[-1] == "predictions=p.csv"
    table = {"raw": "rows.csv", "output": "dataset"}
    assert curate_words(table) == ["raw=rows.csv", "output=dataset"]
    with pytest.raises(ConfigError, match=r"Images is empty\n.*Data set is empty\n.*Segmentations"):
        curate_words({})
    with pytest.raises(ConfigError, match=r"Model is empty\n.*Results is empty"):
        predict_words({"input": "x"})
    with pytest.raises(ConfigError) as caught:
        train_words({"data.path": "s3://d", "data.patch_size": "70", "budget_minutes": "soon"})
    assert caught.value.problems == [
        "Model folder is empty",
        "Patch size: 70, expected a multiple of 4; nearest: 68 or 72",
        "Minutes: 'soon' is not a number",
    ]
    assert train_words({"data.path": "s3://d", "output": "m", "layers": "3"}) == [
        *("experiment=auto", "data.path=s3://d", "output=m", "layers=3", "background=true")
    ]
    assert reprocess_words(Path("p.csv"), {"threshold": 0.25}) == [
        *("reprocess=p.csv", "postprocess=value", "postprocess.threshold=0.25")
    ]


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("data.patch_size", "20", "expected 32 to 256; nearest: 32"),
        ("data.batch_size", "2.5", "a whole number; nearest: 2 or 3"),
        ("layers", "many", "'many' is not a number"),
        ("model.optimizer.lr", "0.0005", ""),
    ],
)
def test_numbers_are_answered_with_the_nearest_valid_ones(
    key: str, text: str, message: str
) -> None:
    assert message in "".join(ADVANCED[key].problems(text))
    assert bool(message) == bool(ADVANCED[key].problems(text))


def test_a_verb_runs_as_a_process_and_its_error_is_kept(tmp_path: Path) -> None:
    process = VerbProcess("curate", ["raw=nowhere", "seg1=nowhere", "output=out"], tmp_path)
    assert process.wait(60) == 2
    assert "nowhere" in process.message()
    assert "Traceback" not in process.output()
    assert process.command == "cytoloop curate raw=nowhere seg1=nowhere output=out"


def test_curves_and_state_are_read_from_the_files_of_a_training(tmp_path: Path) -> None:
    events = [
        {"event": "step", "epoch": 0, "step": 10, "loss": 0.9, "dice": 0.1, "spent": 0.1},
        {
            "event": "validation",
            "epoch": 0,
            "step": 12,
            "scores": {"val/dice": 0.4, "val/loss": 0.8},
        },
        {"event": "step", "epoch": 1, "step": 20, "loss": 0.5, "dice": 0.6, "spent": 0.5},
    ]
    path = tmp_path / "progress.jsonl"
    path.write_text("".join(json.dumps(e) + "\n" for e in events) + '{"event": "st')
    curves = read_curves(path)
    assert curves.training["loss"] == [(10, 0.9), (20, 0.5)]
    assert curves.validation == {"loss": [(12, 0.8)], "dice": [(12, 0.4)]}
    view = view_training(tmp_path)
    assert (view.state, view.fraction) == ("ended", 0.5)
    assert "loss 0.500, validation loss 0.800" in view.text
    (tmp_path / "background.log").write_text("a line\nConfigError: cpu: in use by a training\n")
    assert "in use by a training" in view_training(tmp_path).text
    assert read_curves(tmp_path / "missing").training == {}


def test_pairs_are_shown_with_problems_first(tmp_path: Path) -> None:
    images = make_images(tmp_path, 3)
    (images / "seg" / "img_1.tif").rename(images / "seg" / "other.tif")
    (images / "raw" / "img_2.tif").write_bytes(b"no image")
    rows = preview_pairs({"raw": str(images / "raw"), "seg1": str(images / "seg")})
    assert [row.id for row in rows if not row.problem] == ["img_0"]
    assert [row.id for row in rows[:-1]] == ["img_1", "img_2", "other"]
    assert "leave it out" in rows[0].problem and "raw:" in rows[1].problem
    assert (rows[-1].shape, rows[-1].spacing_um) == ((12, 40, 40), (0.6, 0.3, 0.3))
    assert describe(rows) == "1 images can be used; 3D; 3 rows have problems, listed first."
    picture = thumbnail(rows[-1].raw, 0)
    assert picture.dtype == np.uint8 and picture.shape == (40, 40) and picture.max() == 255
    only = preview_pairs({"raw": str(images / "raw"), "seg1": ""})
    assert [bool(row.problem) for row in only] == [False, False, True]


def test_conflicts_are_in_the_queue_until_the_decision_changes(
    dataset: Dataset, tmp_path: Path
) -> None:
    other = tmp_path / "ben"
    shutil.copytree(dataset.folder, other)
    keep_or_reject(dataset, "img_2", "reject", "blurred", "Ann")
    keep_or_reject(open_dataset(other), "img_2", "keep", "", "Ben")
    combine_logs(dataset.folder, [other])
    reopened = open_dataset(dataset.folder)
    assert [entry.id for entry in reopened.filtered("conflict")] == ["img_2"]
    assert reopened.conflict("img_2") == "decision: reject (blurred) here, keep by Ben"
    keep_or_reject(reopened, "img_2", "keep", "", "Ann")
    assert reopened.filtered("conflict") == []
    assert combine_words({"data.path": "d", "logs": "ben", "prefer": ""}) == [
        *("data.path=d", "logs=ben")
    ]


def test_a_trained_model_is_promoted_by_scores_on_its_test_images(
    dataset: Dataset, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    values = {"model": str(model), "name": "nuclei"}
    assert promote_words(values) == ["promote", "checkpoint=nuclei"]
    model.mkdir()
    (model / "config.yaml").write_text(f"data:\n  path: {dataset.folder}\n")
    assert promote_words(values)[2] == f"truth={dataset.folder / 'test.csv'}"
    assert register_words(values) == ["register", f"checkpoint={model}", "name=nuclei"]
