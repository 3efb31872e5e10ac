"""`cytoloop predict` as a user types it, with a model of random weights and real files."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

import cytoloop
from cytoloop.__main__ import main
from cytoloop.errors import CytoloopError
from cytoloop.inference import volume_storage
from cytoloop.io.read import read_header, read_image
from cytoloop.io.writers.tiff import write_image
from cytoloop.io.writers.zarr import write_zarr


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with (path / "predictions.csv").open() as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def noise(shape: tuple[int, ...], seed: int = 0, dtype: type = np.uint16) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.random([max(n // 4, 1) for n in shape])
    for axis, n in enumerate(shape):
        coarse = coarse.repeat(-(-n // coarse.shape[axis]), axis).take(range(n), axis)
    levels = coarse * 180 + rng.random(shape) * 40 + 10
    return levels.astype(dtype)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, data: np.ndarray, spacing: tuple = (1.0, 0.5, 0.5)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, data, "ZYX"[-data.ndim :], spacing)
    return path


def predict(*words: object) -> int:
    return main(["predict", "accelerator=cpu", *map(str, words)])


def test_results_are_on_the_grid_of_the_image(make_model: Callable, place: Path) -> None:
    raw = write(place / "in/a.ome.tif", noise((12, 70, 50)))
    assert predict(f"checkpoint={make_model()}", "input=in", "output=p") == 0
    row = rows_of(place / "p")["a"]
    assert row["status"] == "done" and row["objects"] == str(
        len(table(place / "p" / row["objects_table"]))
    )
    for kind in ("probability", "mask", "labels"):
        header = read_header(place / "p" / row[kind])
        assert header.shape == read_header(raw).shape
        assert header.spacing_um == pytest.approx((1.0, 0.5, 0.5))
        assert header.channels == (kind,)
    probability, mask, labels = (
        read_image(place / "p" / row[k]).data[0] for k in ("probability", "mask", "labels")
    )
    assert probability.dtype == np.uint8 and probability.std() > 0
    np.testing.assert_array_equal(mask, probability > float(row["threshold"]) * 255)
    assert mask[labels > 0].mean() > 0.9  # filled holes are not in the mask
    assert not (place / "p/.partial").exists() and not list((place / "p").rglob(".*"))


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_inference_leaves_results_inference_id_and_metadata_json(
    make_model: Callable, place: Path
) -> None:
    """The seed: "`results/<inference-id>/`: segmented TIFF stack, metadata JSON"."""
    model = shutil.copytree(make_model().parent, place / "model").relative_to(place) / "best.ckpt"
    write(place / "in/a.ome.tif", noise((8, 40, 40)))
    assert predict(f"checkpoint={model}", "input=in", "postprocess.threshold=0.4") == 0
    (folder,) = (place / "runs/predict").glob("*/predictions.csv")
    row = rows_of(folder.parent)["a"]
    assert row["metadata"] == "metadata/a.json"
    found = json.loads((folder.parent / row["metadata"]).read_text())
    assert found["voxel_size_um"] == {"z": 1.0, "y": 0.5, "x": 0.5}
    assert found["model"]["uri"] == str(model) and found["input"]["file"].endswith("in/a.ome.tif")
    assert f"sha256:{found['input']['sha256']}" == row["input_sha256"]
    assert f"sha256:{found['model']['sha256']}" == row["model_sha256"]
    kinds = ("probability", "mask", "labels", "objects_table")
    assert found["results"] == {kind: row[kind] for kind in kinds}
    assert found["settings"]["postprocess"]["threshold"] == 0.4
    assert found["objects"] == int(row["objects"]) and found["cytoloop"] and found["date"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(9, 40, 50), (5, 20, 24), (45, 37)])
def test_types_and_sizes(make_model: Callable, place: Path, dtype: type, shape: tuple) -> None:
    write(place / "in/a.ome.tif", noise(shape, dtype=dtype))
    assert predict(f"checkpoint={make_model(len(shape))}", "input=in", "output=p") == 0
    assert read_image(place / "p/labels/a.ome.tif").data.shape[1:] == shape


def test_a_nan_voxel_is_background(make_model: Callable, place: Path) -> None:
    data = noise((40, 50), dtype=np.float32)
    data[3, 4] = np.nan
    write(place / "in/a.ome.tif", data)
    assert predict(f"checkpoint={make_model(2)}", "input=in", "output=p") == 0
    assert read_image(place / "p/probability/a.ome.tif").data.dtype == np.uint8


def test_infinities_are_background(make_model: Callable, place: Path) -> None:
    data = noise((40, 50), dtype=np.float32)
    for name, value in (("a", np.nan), ("b", np.inf), ("c", -np.inf)):
        data[:4, :5] = value  # a hundredth of the voxels: more than the percentiles leave out
        write(place / f"in/{name}.ome.tif", data)
    assert predict(f"checkpoint={make_model(2)}", "input=in", "output=p") == 0
    one, *others = (read_image(place / f"p/probability/{n}.ome.tif").data for n in "abc")
    assert one.std() > 0
    for row in rows_of(place / "p").values():
        assert row["warnings"].startswith("20 of 2000 values are NaN, infinite or huge")
    for other in others:
        np.testing.assert_array_equal(other, one)


def test_faulty_files_fail_alone_with_a_reason(
    make_model: Callable, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(place / "in/good.ome.tif", noise((10, 40, 40)))
    write(place / "in/plane.ome.tif", noise((40, 40)))
    (place / "in/empty.tif").touch()
    whole = write(place / "cut.ome.tif", noise((10, 40, 40))).read_bytes()
    (place / "in/cut.ome.tif").write_bytes(whole[: len(whole) // 3])
    write(place / "in/nothing.ome.tif", np.full((10, 40, 40), np.nan, np.float32))
    write_image(place / "in/two.ome.tif", noise((2, 10, 40, 40)), "CZYX", (1, 0.5, 0.5))
    assert predict(f"checkpoint={make_model()}", "input=in", "output=p") == 2
    text = capfd.readouterr().err
    assert "The other 1 are done" in text and "Traceback" not in text
    rows = rows_of(place / "p")
    assert {n for n, r in rows.items() if r["status"] == "done"} == {"good"}
    assert "is one plane" in rows["plane"]["reason"]
    assert "0 bytes" in rows["empty"]["reason"]
    assert "cannot be read" in rows["cut"]["reason"]
    assert "all NaN" in rows["nothing"]["reason"]
    assert "has 2 channels" in rows["two"]["reason"]
    assert len(list((place / "p/labels").iterdir())) == 1


def test_results_are_kept_only_if_nothing_has_changed(
    make_model: Callable, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        write(place / f"in/{name}.ome.tif", noise((40, 40), ord(name)))
    model = make_model(2)
    words = ("input=in", "output=p")

    def times() -> dict[str, int]:
        return {n: (place / f"p/labels/{n}.ome.tif").stat().st_mtime_ns for n in "ab"}

    assert predict(f"checkpoint={model}", *words) == 0
    first = times()
    assert predict(f"checkpoint={model}", *words, "batch_size=2") == 0
    assert times() == first and "2 image(s) are done" in capfd.readouterr().err
    write(place / "in/a.ome.tif", noise((40, 40), 99))  # another image
    assert predict(f"checkpoint={model}", *words) == 0
    second = times()
    assert second["a"] > first["a"] and second["b"] == first["b"]
    (place / "p/mask/b.ome.tif").unlink()  # a lost result
    assert predict(f"checkpoint={model}", *words) == 0
    assert times()["b"] > second["b"] and times()["a"] == second["a"]
    third = times()
    assert predict(f"checkpoint={model}", *words, "tta=flips") == 0  # other settings
    assert all(times()[n] > third[n] for n in "ab")
    fourth = times()
    assert predict(f"checkpoint={make_model(2, seed=5)}", *words) == 0  # another model
    assert all(times()[n] > fourth[n] for n in "ab")
    assert "predictions of another model" in capfd.readouterr().err


def test_overwrite_predicts_every_image_anew_and_replaces_the_results(
    make_model: Callable, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        write(place / f"in/{name}.ome.tif", noise((40, 40), ord(name)))
    words = (f"checkpoint={make_model(2)}", "output=p")
    assert predict(*words, "input=in") == 0
    (place / "p/labels/mine.tif").touch()
    (place / "p/.partial/b").mkdir(parents=True)
    before = (place / "p/labels/a.ome.tif").stat().st_mtime_ns
    assert predict(*words, "input=in/a.ome.tif", "overwrite=true", "save=[mask,labels]") == 0
    assert "are done" not in capfd.readouterr().err
    assert list(rows_of(place / "p")) == ["a"]
    assert (place / "p/labels/a.ome.tif").stat().st_mtime_ns > before
    # files of the other image are gone, files that predict did not write are not
    left = {str(p.relative_to(place / "p")) for p in (place / "p").rglob("*") if p.is_file()}
    assert left == {
        "labels/a.ome.tif", "labels/mine.tif", "mask/a.ome.tif", "metadata/a.json", "model.json",
        "predictions.csv",
    }  # fmt: skip
    assert not (place / "p/.partial").exists()
    assert predict(*words, "input=in/a.ome.tif", "save=[mask,labels]") == 0
    assert "1 image(s) are done" in capfd.readouterr().err


def test_overwrite_keeps_the_maps_that_are_reprocessed(make_model: Callable, place: Path) -> None:
    write(place / "in/a.ome.tif", noise((40, 40)))
    assert predict(f"checkpoint={make_model(2)}", "input=in", "output=p") == 0
    words = ("reprocess=p/predictions.csv", "overwrite=true", "save=[labels]")
    assert predict(*words) == 0
    assert (place / "p/labels/a.ome.tif").exists() and not (place / "p/mask/a.ome.tif").exists()
    assert predict(*words) == 0  # the map is still there


def test_overwrite_removes_nothing_outside_the_result_folders(
    make_model: Callable, place: Path
) -> None:
    write(place / "in/a.ome.tif", noise((40, 40)))
    (place / "p").mkdir()
    for name in ("mine.tif", "p/mine.tif"):
        (place / name).touch()
    cells = "id,raw,labels,mask,probability\n"
    for number, cell in enumerate(("labels/../mine.tif", "../mine.tif", str(place / "mine.tif"))):
        cells += f"{number},x.tif,{cell},mine.tif,labels/..\n"
    (place / "p/predictions.csv").write_text(cells, "utf-8")
    words = (f"checkpoint={make_model(2)}", "input=in", "output=p", "overwrite=true")
    assert predict(*words) == 0
    assert (place / "mine.tif").exists() and (place / "p/mine.tif").exists()


def test_stored_maps_are_reprocessed_without_the_network(make_model: Callable, place: Path) -> None:
    write(place / "in/a.ome.tif", noise((12, 50, 60)))
    model = make_model(tuned={"threshold": 0.52, "seed_smoothing": 0.5, "min_depth": 0.05})
    assert predict(f"checkpoint={model}", "input=in", "output=p") == 0
    row = rows_of(place / "p")["a"]
    assert row["threshold"] == "0.52"
    model.unlink()
    assert predict("reprocess=p/predictions.csv", "output=q") == 0
    again = rows_of(place / "q")["a"]
    assert again["threshold"] == "0.52" and again["model_sha256"] == row["model_sha256"]
    for kind in ("mask", "labels"):
        one, other = (
            read_image(place / folder / found[kind]).data
            for folder, found in (("p", row), ("q", again))
        )
        np.testing.assert_array_equal(one, other)
    assert table(place / "q" / again["objects_table"]) == table(place / "p" / row["objects_table"])
    assert (
        predict("reprocess=q/predictions.csv", "postprocess=value", "postprocess.threshold=0.6")
        == 0
    )
    assert rows_of(place / "q")["a"]["threshold"] == "0.6"  # in place
    assert predict("reprocess=q/predictions.csv", "postprocess=otsu", "output=r") == 0


def test_postprocess_none_writes_only_the_map(make_model: Callable, place: Path) -> None:
    write(place / "in/a.ome.tif", noise((40, 50)))
    words = ("input=in", "output=p", "postprocess=none", "probability_dtype=float16")
    assert predict(f"checkpoint={make_model(2)}", *words) == 0
    assert sorted(p.name for p in (place / "p").iterdir()) == [
        "metadata", "model.json", "predictions.csv", "probability",
    ]  # fmt: skip
    found = read_image(place / "p/probability/a.ome.tif").data
    assert found.dtype == np.float32 and 0 < found.mean() < 1


def test_other_voxel_sizes(
    make_model: Callable, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(place / "in/a.ome.tif", noise((12, 40, 60)), (2.0, 0.2, 0.2))
    model = make_model()
    assert predict(f"checkpoint={model}", "input=in", "output=p") == 0
    assert "expect poor results" in capfd.readouterr().err
    assert predict(f"checkpoint={model}", "input=in", "output=q", "resample=true") == 0
    assert "poor" not in capfd.readouterr().err
    found = read_image(place / "q/labels/a.ome.tif")
    assert found.data.shape == (1, 12, 40, 60)
    assert found.spacing_um == pytest.approx((2.0, 0.2, 0.2))
    write(place / "un/a.ome.tif", noise((12, 40, 60)), None)
    assert predict(f"checkpoint={model}", "input=un", "output=r", "resample=true") == 2
    assert "its voxel size is unknown" in capfd.readouterr().err
    words = ("input=un", "output=r", "resample=true", "spacing_um=[1,0.4,0.4]")
    assert predict(f"checkpoint={model}", *words) == 0


def test_large_images_are_streamed_through_zarr_to_the_same_result(
    make_model: Callable, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = noise((20, 90, 110))
    write_zarr(place / "in/a.ome.zarr", data, "ZYX", (1.0, 0.5, 0.5))
    tuned = {"threshold": 0.51, "seed_smoothing": 1.0, "min_depth": 0.1, "haze": 0.3}
    model = make_model(tuned=tuned)
    assert predict(f"checkpoint={model}", "input=in/a.ome.zarr", "output=p") == 0
    for module, name in (
        (volume_storage, "IN_MEMORY_VOXELS"),
        (cytoloop.io.pixels, "IN_MEMORY_BYTES"),
    ):
        monkeypatch.setattr(module, name, 1000)
    assert predict(f"checkpoint={model}", "input=in/a.ome.zarr", "output=q") == 0
    row = next(iter(rows_of(place / "q").values()))
    assert row["labels"].endswith(".ome.zarr") and not (place / "q/.partial").exists()
    for kind in ("probability", "brightness", "mask", "labels"):
        one = read_image(place / f"p/{kind}/a.ome.tif")
        assert one.data.any()
        other = read_image(place / "q" / row[kind])
        np.testing.assert_array_equal(one.data, other.data)
        assert other.spacing_um == pytest.approx((1.0, 0.5, 0.5))


SLOWLY = """
import sys, time
import cytoloop.inference.windows.predictor as p
import cytoloop.inference.volume_storage as s
import cytoloop.io.pixels as x
s.IN_MEMORY_VOXELS = x.IN_MEMORY_BYTES = 1000
whole = p.Predictor.predict
def slow(self, windows, levels):
    time.sleep({wait})
    with open("windows.txt", "a") as file:
        file.write(str(len(windows)) + chr(10))
    return whole(self, windows, levels)
p.Predictor.predict = slow
from cytoloop.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def waited(ready: Callable) -> Any:
    """Wait up to five minutes until a function returns something true; return that."""
    for _ in range(3000):
        if found := ready():
            return found
        time.sleep(0.1)
    raise TimeoutError


def reached(note: Path) -> int:
    return json.loads(note.read_text())["done"].get("probability", 0)


@pytest.mark.slow
def test_a_killed_run_continues_with_the_next_block(make_model: Callable, place: Path) -> None:
    write(place / "in/a.ome.tif", noise((60, 90, 90)))
    words = [
        f"checkpoint={make_model()}",
        "input=in",
        "window=patch",
        "output=p",
        "accelerator=cpu",
    ]
    command = [sys.executable, "-c", SLOWLY.format(wait=0.2), "predict", *words]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    note = place / "p/.partial/a/progress.json"
    waited(lambda: note.is_file() and reached(note) > 20)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (place / "p/labels").exists()  # nothing half-written
    before = sum(map(int, (place / "windows.txt").read_text().split()))
    (place / "windows.txt").unlink()
    command = [sys.executable, "-c", SLOWLY.format(wait=0), "predict", *words]
    assert subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
    after = sum(map(int, (place / "windows.txt").read_text().split()))
    (place / "windows.txt").unlink()
    command[-2] = "output=whole"
    assert subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
    total = sum(map(int, (place / "windows.txt").read_text().split()))
    assert before > 0 and after < total
    for kind in ("probability", "labels"):
        one, other = (read_image(place / f"{o}/{kind}/a.ome.zarr").data for o in ("p", "whole"))
        np.testing.assert_array_equal(one, other)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs to mount a tmpfs")
@pytest.mark.parametrize("streamed", [False, True])
def test_a_full_disk_is_an_error_and_leaves_no_broken_file(
    make_model: Callable,
    place: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    streamed: bool,
) -> None:
    if streamed:
        monkeypatch.setattr(volume_storage, "IN_MEMORY_VOXELS", 1000)
    small = place / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        write(place / "in/a.ome.tif", noise((20, 200, 200)))
        assert predict(f"checkpoint={make_model()}", "input=in", "output=small/p") == 2
        text = capfd.readouterr().err
        assert "No space left" in text and "Free disk space" in text and "Traceback" not in text
        left = [p for p in small.rglob("*") if p.is_file() and ".partial" not in p.parts]
        assert {p.suffix for p in left} <= {".csv", ".json", ".jsonl", ".tif"}
        for path in left:
            if path.suffix == ".tif":
                assert tifffile.imread(path).shape == (20, 200, 200)  # whole, or not there
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_an_output_that_cannot_be_written_is_an_error(
    make_model: Callable, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(place / "in/a.ome.tif", noise((40, 40)))
    (place / "p").mkdir()
    (place / "p/labels").touch()  # a file where a folder must be
    assert predict(f"checkpoint={make_model(2)}", "input=in", "output=p") == 2
    text = capfd.readouterr().err
    assert "cannot be written" in text and "Traceback" not in text


def test_wrong_keys_and_values_are_refused_all_at_once(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert predict() == 2
    text = capfd.readouterr().err
    assert "checkpoint=... is missing" in text and "input=... is missing" in text
    assert predict("reprocess=p/predictions.csv", "checkpoint=x") == 2
    assert "exclude each other" in capfd.readouterr().err
    words = (
        "checkpoint=x",
        "input=y",
        "output=z",
        "tta=all",
        "format=png",
        "workers=-1",
        "overlap=1",
    )
    assert predict(*words, "postprocess.border=left", "postprocess.threshold=high") == 2
    text = capfd.readouterr().err
    for part in (
        "tta=all",
        "format=png",
        "workers=-1",
        "overlap=1",
        "border=left",
        "threshold=high",
    ):
        assert part in text


def test_arrays_from_python(make_model: Callable, place: Path) -> None:
    data = noise((12, 50, 60))
    write(place / "in/a.ome.tif", data)
    model = make_model()
    assert predict(f"checkpoint={model}", "input=in", "output=p") == 0
    found = cytoloop.predict(data, model, spacing_um=(1.0, 0.5, 0.5), accelerator="cpu")
    np.testing.assert_array_equal(found.labels, read_image(place / "p/labels/a.ome.tif").data[0])
    np.testing.assert_array_equal(
        found.probability, read_image(place / "p/probability/a.ome.tif").data[0] / np.float32(255)
    )
    assert (found.mask == (found.probability > found.threshold)).all()
    assert len(found.objects["label"]) == found.labels.max()
    with pytest.raises(CytoloopError, match="is one plane"):
        cytoloop.predict(data[0], model)
    with pytest.raises(CytoloopError, match="voxel size is unknown, but resample=true needs it"):
        cytoloop.predict(data, model, resample=True)
    with pytest.raises(CytoloopError, match="postprocess.border"):
        cytoloop.predict(data, model, border="left")


def test_workers_give_the_same_as_one_process(make_model: Callable, place: Path) -> None:
    for name in "abc":
        write(place / f"in/{name}.ome.tif", noise((40, 50), ord(name)))
    shutil.copy(place / "in/a.ome.tif", place / "in/d.ome.tif")  # has a result of its own
    (place / "in/broken.tif").touch()
    model = make_model(2)
    assert predict(f"checkpoint={model}", "input=in", "output=p") == 2
    assert predict(f"checkpoint={model}", "input=in", "output=q", "workers=2") == 2
    one, other = rows_of(place / "p"), rows_of(place / "q")
    assert {n: r["status"] for n, r in one.items()} == {n: r["status"] for n, r in other.items()}
    assert "0 bytes" in other["broken"]["reason"]
    for name in "abcd":
        for kind in ("probability", "labels"):
            found = [read_image(place / f"{o}/{kind}/{name}.ome.tif").data for o in "pq"]
            np.testing.assert_array_equal(*found)


@pytest.mark.slow
def test_a_lost_worker_costs_its_block_only(make_model: Callable, place: Path) -> None:
    """A real scheduler and two workers in their own processes; one worker is killed midway."""
    write_zarr(place / "in/a.ome.zarr", noise((31, 299, 118)), "ZYX", (1.0, 0.5, 0.5))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    note = place / "scheduler.json"
    scheduler = subprocess.Popen(
        [
            *(sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"),
            *("--port", "0", "--no-dashboard", "--scheduler-file", str(note)),
        ],
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    address = waited(lambda: note.is_file() and json.loads(note.read_text())["address"])
    work = [
        *(sys.executable, "-m", "distributed.cli.dask_worker", address),
        *("--nthreads", "1", "--no-nanny", "--no-dashboard"),
    ]
    setup = place / "small.py"
    setup.write_text(
        "import cytoloop.inference.volume_storage as s, cytoloop.inference.cluster as e\n"
        "import cytoloop.io.pixels as x\n"
        "x.IN_MEMORY_BYTES = s.IN_MEMORY_VOXELS = 1000\n"
        "e.BLOCK = (16, 256, 256)\n"
    )
    workers: list[subprocess.Popen] = []
    started = [scheduler]
    try:
        code = setup.read_text() + (
            "import sys; from cytoloop.__main__ import main; sys.exit(main(sys.argv[1:]))"
        )
        words = [f"checkpoint={make_model()}", "input=in/a.ome.zarr", "output=p", "accelerator=cpu"]
        words += ["engine=dask", f"scheduler={address}", "overlap=0.25"]
        log = place / "log.txt"
        with log.open("w") as file:
            command = [sys.executable, "-c", code, "predict", *words]
            run = subprocess.Popen(command, cwd=place, stderr=file)
        started.append(run)
        waited(lambda: f"no worker at {address} yet" in log.read_text())
        workers += [
            subprocess.Popen(
                [*work, "--preload", str(setup)],
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd=place,
            )
            for _ in range(2)
        ]
        note = place / "p/.partial/a/progress.json"
        waited(lambda: note.is_file() and "box " in note.read_text())
        workers[0].kill()
        assert run.wait(timeout=200) == 0
        command = [sys.executable, "-c", code, "predict", *words[:2], "output=whole"]
        command += ["accelerator=cpu", "overlap=0.25"]
        assert subprocess.run(command, cwd=place).returncode == 0
        for kind in ("probability", "labels"):
            one, other = (read_image(place / f"{o}/{kind}/a.ome.zarr").data for o in ("p", "whole"))
            np.testing.assert_array_equal(one, other)
    finally:
        for process in (*workers, *started):
            process.kill()


@pytest.mark.realdata
def test_every_format_is_predicted_or_refused_with_a_reason(
    make_model: Callable, place: Path, real_data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(real_data / "formats", place / "in")
    for ndim in (2, 3):
        words = ("input=in/**/*.*", f"output=p{ndim}", "channel=0")
        assert predict(f"checkpoint={make_model(ndim, spacing_um=None)}", *words) in (0, 2)
    assert "Traceback" not in capfd.readouterr().err
    two, three = rows_of(place / "p2"), rows_of(place / "p3")
    assert set(two) == set(three) and len(two) > 5
    for name in two:
        states = [found[name]["status"] for found in (two, three)]
        if states == ["failed", "failed"]:
            assert len(two[name]["reason"]) > 20, name
        else:
            assert sorted(states) == ["done", "failed"], (name, two[name], three[name])


def test_levels_of_a_pyramid(make_model: Callable, place: Path) -> None:
    write_zarr(place / "in/a.ome.zarr", noise((3, 520, 560)), "ZYX", (1.0, 0.25, 0.25))
    model = make_model()  # trained at 1 x 0.5 x 0.5
    words = ("input=in/a.ome.zarr", "save=probability")
    assert predict(f"checkpoint={model}", *words, "pyramid_level=1", "output=p") == 0
    found = read_image(place / "p/probability/a.ome.tif")
    assert found.data.shape[1:] == (3, 260, 280)
    assert found.spacing_um == pytest.approx((1.0, 0.5, 0.5))
    assert predict(f"checkpoint={model}", *words, "resample=true", "output=q") == 0
    chosen = read_image(place / "q/probability/a.ome.tif")  # the level nearest to training
    np.testing.assert_array_equal(chosen.data, found.data)
    assert predict(f"checkpoint={model}", *words, "pyramid_level=7", "output=r") == 2
    assert "has no level 7" in rows_of(place / "r")["a"]["reason"]


@pytest.mark.realdata
def test_an_hdf5_file_is_an_input(make_model: Callable, place: Path, real_data: Path) -> None:
    source = sorted((real_data / "ovules").glob("*.h5"))[0]
    words = (f"input={source}", "output=p", "save=[probability,objects]", "overlap=0")
    assert predict(f"checkpoint={make_model(patch=[16, 64, 64], spacing_um=None)}", *words) == 0
    rows = rows_of(place / "p")
    assert any("raw" in name for name in rows)
    assert all(row["status"] == "done" for row in rows.values())


@pytest.mark.parametrize(
    "word, found",
    [
        ("banana", "expected auto, cpu, gpu, cuda, mps"),
        ("mps", "this machine has no such device"),
    ],
)
def test_a_missing_accelerator_is_refused(
    make_model: Callable, place: Path, word: str, found: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if word == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has one")
    write(place / "in/a.tif", noise((12, 40, 40)))
    words = [f"checkpoint={make_model()}", "input=in", "output=p", f"accelerator={word}"]
    assert main(["predict", *words]) == 2
    text = capfd.readouterr().err
    assert f"accelerator={word}: {found}" in text
    assert not Path("p").exists()
