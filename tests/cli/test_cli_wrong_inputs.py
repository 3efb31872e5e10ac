"""Mistakes of users: a clear message, exit status 2, no traceback, no half-written output."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cytoloop.__main__ import main
from cytoloop.manifest import write_manifest


@pytest.fixture
def error_of(
    images_3d: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Return a function that runs a verb, expects exit status 2 and returns the message."""
    monkeypatch.chdir(images_3d)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(*words: str) -> str:
        capfd.readouterr()
        status = main(list(words))
        text = capfd.readouterr().err
        assert status == 2, text
        assert "Traceback" not in text
        return text

    return run


@pytest.fixture
def dataset(images_3d: Path) -> Path:
    rows = [
        {"id": f"img_{n}", "raw": f"raw/img_{n}.tif", "seg1": f"seg/img_{n}.tif"} for n in range(4)
    ]
    write_manifest(images_3d / "train.csv", rows[:3])
    write_manifest(images_3d / "valid.csv", rows[3:])
    return images_3d


CURATE = ["curate", "raw=raw", "seg1=seg", "output=ds"]


def test_a_verb_that_does_not_exist(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert "Did you mean `cytoloop train`?" in capfd.readouterr().err
    assert main(["zzz"]) == 2
    assert "One of curate, synthesize, classic, annotate, combine, check" in capfd.readouterr().err


def test_help_and_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0 and main(["--version"]) == 0 and main([]) == 2
    assert "cytoloop train experiment=auto" in capfd.readouterr().out


def test_help_into_a_pipe_that_is_closed_ends_quietly() -> None:
    read, write = os.pipe()
    os.close(read)  # as `| head` does
    words = [sys.executable, "-m", "cytoloop", "predict", "--help"]
    found = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize("verb", ["curate", "check", "train", "predict", "evaluate", "compare"])
def test_missing_values_are_named_as_they_are_typed(error_of: Callable, verb: str) -> None:
    text = error_of(verb)
    keys = {"check": "data.path", "train": "data.path", "predict": "checkpoint", "compare": "b"}
    key = keys.get(verb, "output")
    assert f"{key}=... is missing" in text and f"cytoloop {verb} --help" in text


def test_a_missing_folder(error_of: Callable) -> None:
    assert "nowhere: no such file or folder" in error_of("curate", "raw=nowhere", *CURATE[2:])
    assert "nowhere: no such data set" in error_of("train", "data.path=nowhere")
    assert "nowhere: no such data set" in error_of("check", "data.path=nowhere")


def test_unpaired_images_are_listed(error_of: Callable, images_3d: Path) -> None:
    (images_3d / "seg/img_0.tif").rename(images_3d / "seg/other.tif")
    text = error_of(*CURATE)
    assert "img_0" in text and "other" in text and not (images_3d / "ds").exists()


def test_a_shape_mismatch(error_of: Callable, images_3d: Path, tiff: Callable) -> None:
    tiff(images_3d / "seg/img_2.tif", np.ones((12, 40, 39), np.uint8))
    text = error_of(*CURATE)
    assert "img_2" in text and "shape (12, 40, 39) but raw is (12, 40, 40)" in text


def test_unreadable_files_and_empty_segmentations_at_once(
    error_of: Callable, images_3d: Path, tiff: Callable
) -> None:
    (images_3d / "raw/img_0.tif").write_bytes(b"")
    (images_3d / "raw/img_1.tif").write_bytes(b"II*\0 rubbish")
    tiff(images_3d / "seg/img_2.tif", np.zeros((12, 40, 40), np.uint8))
    text = error_of(*CURATE)
    assert "is empty (0 bytes)" in text and "cannot be read" in text and "all background" in text
    assert not (images_3d / "ds").exists()


def test_a_damaged_image_is_found_before_training(error_of: Callable, dataset: Path) -> None:
    (dataset / "raw/img_1.tif").write_bytes(b"II*\0 rubbish")
    (dataset / "seg/img_3.tif").unlink()
    for verb in ("check", "train"):
        text = error_of(verb, "data.path=.", "data.patch_size=[8,32,32]")
        assert "img_1" in text and "file not found: seg/img_3.tif" in text


def test_a_patch_larger_than_the_smallest_image(error_of: Callable, dataset: Path) -> None:
    text = error_of("train", "data.path=.", "data.patch_size=[16,64,64]")
    assert (
        "Z = 16 is larger than the smallest image (train: img_0: 12); largest that fits: 12" in text
    )


def test_a_patch_that_the_strides_do_not_divide(error_of: Callable, dataset: Path) -> None:
    text = error_of("check", "data.path=.", "data.patch_size=[8,30,32]")
    assert "Y = 30 is not divisible by 4" in text and "nearest: 28 or 32" in text


def test_impossible_data_settings(error_of: Callable, dataset: Path) -> None:
    base = ("train", "data.path=.", "data.patch_size=[8,32,32]", "output=m")
    assert "expected 0 to 1" in error_of(*base, "data.foreground_fraction=30")
    assert "data.num_workers: is -1" in error_of(*base, "data.num_workers=-1")
    assert "data.patches_per_image: is 0" in error_of(*base, "data.patches_per_image=0")
    assert "data.cache_limit_gib: is 0" in error_of(*base, "data.cache_limit_gib=0")
    assert "Noise.prob: is 2" in error_of(*base, "augmentation.noise.prob=2")
    assert "normalization.minimum" in error_of(*base, "normalization=range")
    # above the planned upper percentile; refused before a run is opened
    assert "not above lower=99.99" in error_of(*base, "normalization.lower=99.99")
    assert not Path("mlflow.db").exists()
    assert "normalization.maximum: is 3, not above minimum=9" in error_of(
        *base, "normalization=range", "normalization.minimum=9", "normalization.maximum=3"
    )


@pytest.mark.parametrize(
    "words, faults",
    [
        (["data.replay_fraction=0.3"], ["set both: data.replay_fraction=0.3 data.replay_path"]),
        (["data.replay_fraction=0.3", "data.replay_path=nowhere"], ["nowhere: no such data set"]),
        (["model=instance", "data.heads=[foreground]"], ["but data.heads is ['foreground']"]),
        (["+trainer.nonsense=1"], ["trainer: Trainer.__init__() got an unexpected keyword"]),
        (["+model.backbone.nonsense=1"], ["model: DynUNet.__init__() got an unexpected keyword"]),
        (["+model.optimizer.rate=1"], ["model.optimizer: AdamW.__init__() got an unexpected"]),
        (
            ["model.optimizer._target_=torch.optim.AdamWW", "trainer.precision=17"],
            [
                "2 problems",
                "model.optimizer._target_: 'torch.optim.AdamWW' is not found",
                "Precision 17 is",
            ],
        ),
        (["model.lr_scheduler.shape=linear"], ["shape is linear, expected cosine, poly, constant"]),
        (["callbacks.best.monitor=val/nope"], ["val/nope is not a score of this model", "val/iou"]),
        (["callbacks.best.monitor=val/pq"], ["val/pq is not a score of this model"]),
        (["callbacks.best.monitor=train/lost"], ["train/lost is not a score of this model"]),
        (
            ["+model.task_heads.seg.loss_weight=abc"],
            ["seg.loss_weight: is 'abc', expected a number, 0 to"],
        ),
        (
            ["+model.task_heads.seg.loss_weight=-1", "+model.task_heads.seg.loss.lambda_dice=x"],
            [
                "seg.loss_weight is -1, expected 0 to 1000",
                "seg.loss.lambda_dice is 'x', expected a number",
            ],
        ),
        (["callbacks.best.monitor=val/loss"], ["the smallest val/loss is the best"]),
        (["finetune=frozen_encoder", "callbacks.frozen.names=zzz"], ["matches 0 of the network's"]),
        (["postprocess.threshold=abc"], ["postprocess.threshold: is abc, expected a probability"]),
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_no_run_is_opened_for_a_mistake(
    error_of: Callable, dataset: Path, words: list[str], faults: list[str]
) -> None:
    text = error_of("train", "data.path=.", "data.patch_size=[8,32,32]", "output=m", *words)
    assert all(fault in text for fault in faults), text
    assert not (dataset / "m/run_id").exists()


def test_an_unknown_experiment_lists_the_known_ones(error_of: Callable) -> None:
    text = error_of("train", "experiment=nuclie", "data.path=.")
    assert (
        "experiment=nuclie: no such option, expected one of auto, cells, filaments, nuclei_2d"
        in text
    )
    assert "did you mean nuclei" in text


@pytest.mark.parametrize(
    "words, parts",
    [
        (["data.pth=x"], ["data.pth: unknown key; did you mean data.path", "needs a plus: +KEY"]),
        (["max_epoch=3"], ["max_epoch: unknown key; did you mean trainer.max_epochs"]),
        (["lr=0.1"], ["did you mean model.optimizer.lr"]),
        (["model/sizee=small"], ["model/sizee: unknown key; did you mean model/size"]),
        (["~data.foo"], ["data.foo: unknown key"]),
        (["data={pth: x}"], ["data.pth: unknown key; did you mean data.path"]),
        (["data.pth=x", "sed=1", "model=nope"], ["3 problems", "data.path", "seed", "instance"]),
        (["dataset/"], ["dataset/: has no value, expected key=value"]),
        (["data.patch_size=[8,32"], ["data.patch_size=[8,32: cannot be read; check brackets"]),
        (["--multirun", "loger=a,b"], ["loger: unknown key; did you mean logger"]),
    ],
    ids=lambda words: " ".join(words),
)
def test_unknown_keys_and_options_name_the_nearest(
    error_of: Callable, words: list[str], parts: list[str]
) -> None:
    text = error_of("train", *words)
    assert all(part in text for part in parts), text
    assert "cytoloop train --help" in text


def test_an_unknown_flag(error_of: Callable) -> None:
    text = error_of("train", "--data.path=x", "--multrun", "--fast")
    assert "3 problems" in text and "write data.path=x without dashes" in text
    assert "--multrun; did you mean --multirun?" in text
    assert "--fast; keys are written as key=value" in text


@pytest.mark.parametrize(
    "uri, reason",
    [
        ("runs:/" + "0" * 32, "no such run"),
        ("models:/nuclei/3", "not in the registry"),
        ("no=such.ckpt", "no such checkpoint"),
        ("raw/img_0.tif", "is not a readable checkpoint"),
    ],
)
def test_an_unknown_checkpoint(error_of: Callable, dataset: Path, uri: str, reason: str) -> None:
    assert reason in error_of("predict", f"checkpoint={uri}", "input=raw", "output=p")
    assert not (dataset / "p").exists()
    if reason != "is not a readable checkpoint":
        assert reason in error_of(
            "train", "data.path=.", "data.patch_size=[8,32,32]", f"init_from={uri}"
        )


def test_predict_names_wrong_keys_models_and_images_at_once(error_of: Callable) -> None:
    words = ["checkpoint='[pretrained:nuclei_9d,gone.ckpt]'", "input=nowhere", "output=p"]
    text = error_of("predict", *words, "overlap=7", "save=[everything]")
    for part in ("5 problems", "nuclei_9d", "gone.ckpt", "nowhere", "overlap", "everything"):
        assert part in text


def test_a_store_that_is_not_there(
    error_of: Callable, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    text = error_of("train", "data.path=.", "data.patch_size=[8,32,32]")
    assert "MLflow store http://127.0.0.1:9: cannot be used" in text


def test_a_negative_budget(error_of: Callable, dataset: Path) -> None:
    text = error_of("train", "data.path=.", "budget_minutes=-3", "data.batch_size=0")
    assert "budget_minutes is -3, expected 0.02 to 100000; nearest: 0.02" in text
    assert "data.batch_size is 0, expected 1 to 256" in text


def test_contradicting_dimensions(error_of: Callable, dataset: Path) -> None:
    text = error_of("train", "data.path=.", "data.patch_size=[8,32,32]", "in_channels=3")
    assert "in_channels: is 3 but the images have 1" in text


def test_nothing_to_resume(error_of: Callable) -> None:
    assert "lists no stopped training to resume" in error_of("train", "resume=true")


def test_nothing_to_rerun(error_of: Callable, dataset: Path) -> None:
    assert "no overrides.yaml in nowhere/.hydra" in error_of("train", "rerun=nowhere", "output=m")
    assert "no such run" in error_of("train", f"rerun=runs:/{'0' * 32}", "output=m")
    folder = dataset / "evil" / ".hydra"
    folder.mkdir(parents=True)
    (folder / "overrides.yaml").write_text("- model.backbone._target_=os.system\n- seed=${x}\n")
    text = error_of("train", "rerun=evil", "data.path=.", "output=m")
    assert "2 problems" in text and "names a class or function to run" in text
    assert not (dataset / "m").exists()


def test_nothing_to_cancel_watch_or_show(error_of: Callable, images_3d: Path) -> None:
    assert "no such training on this machine" in error_of("cancel", "run=abcdef")
    assert "no training runs in this folder" in error_of("cancel", "run=.")
    assert "no such training on this machine" in error_of("status", "run=abcdef", "watch=true")
    assert "no such run" in error_of("history", f"checkpoint=runs:/{'0' * 32}")
    assert "expected .html or .png" in error_of("history", "checkpoint=x", "output=h.txt")
    assert not (images_3d / "runs").exists()


def test_the_demo_does_not_empty_a_folder_of_yours(
    images_3d: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--output", str(images_3d)]) == 2
    assert "not the folder of an earlier demo" in capfd.readouterr().err
    assert (images_3d / "raw/img_0.tif").is_file()


def test_an_output_that_cannot_be_a_folder(error_of: Callable, dataset: Path) -> None:
    (dataset / "afile").touch()
    assert "afile: is a file, expected a folder" in error_of(
        "predict", "checkpoint=x", "input=raw", "output=afile"
    )
    assert "afile" in error_of("train", "data.path=.", "data.patch_size=[8,32,32]", "output=afile")
    assert "afile: is a file" in error_of("demo", "--output", "afile")


@pytest.mark.parametrize("value", ["null", "3", "true"])
def test_a_group_that_gets_no_name_is_refused_with_all_other_faults(
    error_of: Callable, value: str
) -> None:
    text = error_of("train", f"normalization={value}", f"model={value}", "data.path=.", "nokey=1")
    assert f"normalization={value}: no such option, expected one of minmax" in text
    assert f"model={value}: no such option, expected one of" in text
    assert "nokey: unknown key" in text


def test_a_second_workflow_is_not_merged_into_the_first(error_of: Callable) -> None:
    text = error_of("classic", "workflow=[nuclei,spots]", "input=raw", "output=out")
    assert "2 options, expected one" in text and "output= of its own: workflow=nuclei" in text
    assert "expected one" in error_of("synthesize", "synthesis=[nuclei_2d,nuclei_3d]", "output=out")


@pytest.mark.parametrize("empty", ["", " ", "''"])
def test_keys_without_a_value_are_refused_all_at_once(error_of: Callable, empty: str) -> None:
    text = error_of("curate", f"raw={empty}", "seg1=seg", f"output={empty}")
    assert "raw=: is empty" in text and "output=: is empty" in text and "not set" in text
    assert "data.path=: is empty" in error_of("train", f"data.path={empty}")
    assert "input=: is empty" in error_of("predict", "checkpoint=a", f"input={empty}", "output=p")


def test_values_of_predict_are_checked_before_a_model_is_loaded(error_of: Callable) -> None:
    words = ["predict", "checkpoint=none.ckpt", "input=raw", "output=p"]
    bad = ["postprocess.min_depth=1.5", "postprocess.threshold=abc", "batch_size=0", "save=logits"]
    text = error_of(*words, *bad)
    for part in (
        "5 problems",
        "min_depth=1.5",
        "threshold=abc",
        "batch_size=0",
        "save=['logits']",
        "none.ckpt",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["train", "data.path=.", "overwrite=no", "lock=off"], "2 problems"),
        (["predict", "checkpoint=x", "input=raw", "output=p", "overwrite=no"], "overwrite=no: exp"),
        (["history", "checkpoint=x", "overwrite=no"], "overwrite=no: expected true or false"),
        (["train", "data.path=.", "trust=5"], "trust: '5' is not the name of a package"),
        (["train", "data.path=.", "trust=a-b"], "trust: 'a-b' is not the name of a package"),
    ],
)
def test_wrong_switches_and_packages(
    error_of: Callable, dataset: Path, words: list[str], reason: str
) -> None:
    assert reason in error_of(*words)
