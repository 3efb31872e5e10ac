"""Classic workflows: objects of each kind of structure, sheets, tables and wrong parameters."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import cytoloop.configs
import numpy as np
import pytest
import yaml
from scipy import ndimage

from cytoloop.__main__ import main
from cytoloop.classic.workflow import Workflow
from cytoloop.errors import ConfigError
from cytoloop.io.labels import read_labels

CONFIGS = Path(cytoloop.configs.__file__).parent / "workflow"


def workflow(name: str, **steps: object) -> Workflow:
    values = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    return Workflow.from_config({**values, "steps": {**values["steps"], **steps}})


def objects(name: str, data: np.ndarray, spacing: tuple[float, ...], **steps: object) -> np.ndarray:
    return workflow(name, **steps).run(data, spacing)[-1][1]


def noisy(clean: np.ndarray, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(clean + 5).astype(np.uint16)


def test_nuclei_that_touch_are_separated_and_dim_ones_found() -> None:
    z, y, x = np.ogrid[:20, :80, :80]
    bodies = np.zeros((20, 80, 80))
    for cy, cx, light in ((20, 20, 200), (20, 37, 200), (60, 20, 60), (60, 60, 200)):
        inside = ((z - 10) * 2.0) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 < 9.5**2
        bodies[inside] = light
    labels = objects("nuclei", noisy(ndimage.gaussian_filter(bodies, 0.7)), (1.0, 0.5, 0.5))
    assert labels.max() == 4
    found = [labels[10, cy, cx] for cy, cx in ((20, 20), (20, 37), (60, 20), (60, 60))]
    assert len(set(found)) == 4
    assert min(found) > 0
    # as annotators draw: outside of the sharp border, by a fifth of the radius
    radius = ((labels > 0).sum() / (bodies > 0).sum()) ** (1 / 3)
    assert radius == pytest.approx(1.15, abs=0.1)


def test_cells_are_basins_between_bright_borders() -> None:
    seeds = np.zeros((60, 60), bool)
    seeds[10::20, 10::20] = True
    _, nearest = ndimage.distance_transform_edt(~seeds, return_indices=True)
    cells = nearest[0] * 60 + nearest[1]
    edge = (ndimage.grey_erosion(cells, 3) != cells) | (ndimage.grey_dilation(cells, 3) != cells)
    labels = objects("cells", noisy(200.0 * edge), (0.5, 0.5))
    assert labels.max() == 9
    assert len({labels[y, x] for y, x in zip(*np.nonzero(seeds), strict=True)}) == 9


def test_spots_and_lines_and_shells_are_found_where_they_are() -> None:
    spots = np.zeros((8, 64, 64))
    places = [(4, 10, 10), (4, 30, 40), (3, 50, 20)]
    for place in places:
        spots[place] = 4000
    spots = ndimage.gaussian_filter(spots, (1, 1.5, 1.5))
    labels = objects("spots", noisy(spots), (0.3, 0.13, 0.13))
    assert labels.max() == 3
    assert all(labels[place] for place in places)
    line = np.zeros((64, 64))
    line[20, 5:60] = 900
    labels = objects("filaments", noisy(ndimage.gaussian_filter(line, 1.5)), (0.15, 0.15))
    assert (labels[20, 10:55] > 0).all()
    assert (labels[40:] > 0).mean() < 0.02
    z, y, x = np.ogrid[:24, :48, :48]
    radius = np.sqrt(((z - 12) * 2) ** 2 + (y - 24) ** 2 + (x - 24) ** 2)
    shell = noisy(300 * np.exp(-0.5 * ((radius - 14) / 1.5) ** 2))
    labels = objects("shells", shell, (0.6, 0.3, 0.3))
    assert labels[12, 24, 24] == 0
    assert labels[12, 24, 10] == labels[12, 24, 38] > 0


def test_bright_and_dim_mitochondria_are_found() -> None:
    tubes = np.zeros((80, 80))
    tubes[20, 10:40], tubes[60, 30:70] = 3000, 600
    labels = objects("mitochondria", noisy(ndimage.gaussian_filter(tubes, 2)), (0.1, 0.1))
    assert labels[20, 25] and labels[60, 50]
    assert labels[20, 25] != labels[60, 50]


def test_an_image_of_one_grey_level_has_no_object() -> None:
    for path in CONFIGS.glob("*.yaml"):
        labels = objects(path.stem, np.full((8, 32, 32), 100, np.uint16), (0.3, 0.1, 0.1))
        assert labels.max() <= (path.stem == "cells"), path.stem


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(1, 50), (2, 3, 4), (40, 40)])
@pytest.mark.parametrize("voxel", [0.01, 1.0, 50.0])
def test_tiny_images_and_odd_voxels_do_not_end_the_workflow(
    shape: tuple[int, ...], voxel: float
) -> None:
    data = np.random.default_rng(0).random(shape).astype(np.float32)
    labels = objects("nuclei", data, (voxel,) * len(shape))
    assert labels.shape == shape


def test_a_part_of_nearly_one_grey_level_does_not_end_the_workflow() -> None:
    data = np.full((40, 40), 100.0, np.float32)
    data[5:15, 5:15] = 1000
    data[25, 25], data[25, 26] = 900, np.nextafter(np.float32(900), np.float32(1000))
    steps = {"normalize": {}, "threshold_objects": {"method": "otsu"}}
    found = Workflow.from_config({"name": "mine", "steps": steps}).run(data, (0.5, 0.5))
    assert found[-1][1].max() >= 1


def test_bodies_of_any_brightness_keep_their_outline() -> None:
    y, x = np.ogrid[:60, :105]
    bright, dim = (np.exp(-((y - 30) ** 2 + (x - cx) ** 2) / 200) for cx in (25, 75))
    steps = {"bodies": {"least_um": 6.0, "outline": 0.5}}
    grey = (1000 * bright + 250 * dim).astype(np.float32)
    flow = Workflow.from_config({"name": "mine", "steps": {"normalize": {}, **steps}})
    labels = flow.run(grey, (1.0, 1.0))[-1][1]
    assert labels.max() == 2
    assert 0 < labels[30, 25] != labels[30, 75] > 0
    # a Gaussian of a sigma of 10 pixels falls to between 0.3 and 0.5 of its peak at the outline
    areas = [(labels == labels[30, cx]).sum() for cx in (25, 75)]
    assert areas[0] == pytest.approx(areas[1], rel=0.35)  # one threshold for both: 3 times
    assert 0.3 < np.exp(-areas[0] / np.pi / 200) < 0.5


@pytest.mark.parametrize(("alike", "count"), [(0.0, 3), (0.5, 3), (1.0, 2)])
def test_outlines_that_are_alike_shrink_dim_bodies_and_leave_out_ghosts(
    alike: float, count: int
) -> None:
    y, x = np.ogrid[:60, :160]
    lights = {25: 1000, 75: 300, 125: 100}
    grey = sum(
        light * np.exp(-((y - 30) ** 2 + (x - cx) ** 2) / 100) for cx, light in lights.items()
    )
    bodies = {"least_um": 4.0, "outline": 0.25, "alike": alike}
    flow = Workflow.from_config({"name": "mine", "steps": {"normalize": {}, "bodies": bodies}})
    labels = flow.run(np.asarray(grey, np.float32), (1.0, 1.0))[-1][1]
    assert labels.max() == count
    bright, dim = ((labels == labels[30, cx]).sum() for cx in (25, 75))
    assert 0 < dim < bright * (1.2 if alike == 0 else 0.85)
    assert dim > bright * (0.8 if alike == 0 else 0.3)


@pytest.fixture
def images(
    tmp_path: Path, blobs: Callable, tiff: Callable, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        tiff(Path("images") / f"img_{number}.tif", blobs((64, 64), 5, number)[0])
    return tmp_path


def rows(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_results_are_what_curate_reads(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("images/damaged.tif").write_bytes(b"II*\0nothing")
    words = ["classic", "input=images", "workflow.steps.smooth.sigma_um=1.5"]
    assert main([*words, "output=out", "workflow.steps.size=null"]) == 2
    assert "damaged" in capsys.readouterr().err
    table = rows("out/predictions.csv")
    assert sorted(row["status"] for row in table) == ["done", "done", "done", "failed"]
    done = [row for row in table if row["status"] == "done"]
    assert all(row["model"].startswith("workflow nuclei, {") for row in done)
    assert json.loads(done[0]["model"].partition(", ")[2])["smooth"] == {"sigma_um": 1.5}
    assert "size" not in json.loads(done[0]["model"].partition(", ")[2])
    labels = read_labels(Path("out", done[0]["labels"]))
    assert labels.max() == int(done[0]["objects"]) > 1
    assert Path("out/steps.png").stat().st_size > 1000
    curate = ["curate", "raw=images/img_*.tif", "seg1=out/labels", "output=dataset"]
    assert main([*curate, "split.leakage=allow"]) == 0
    assert main([*words, "output=out"]) == 2
    assert "holds results already" in capsys.readouterr().err


def test_a_sweep_draws_a_sheet_and_segments_nothing(images: Path) -> None:
    sweep = "sweep={smooth.sigma_um: [0.5, 1], bodies.outline: [0.1, 0.3]}"
    assert main(["classic", "input=images", "output=out", sweep]) == 0
    assert Path("out/sweep.png").stat().st_size > 1000
    assert not Path("out/predictions.csv").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["workflow.steps.smooth.sigma_um=0"], "smooth.sigma_um=0: expected a number above 0"),
        (["+workflow.steps.smooth.width=2"], "smooth.width: unknown, smooth takes sigma_um"),
        (["+workflow.steps.sharpen={}"], "workflow.steps.sharpen: unknown, expected normalize"),
        (["+workflow.steps.threshold.method=best"], "method=best: expected otsu"),
        (["workflow.steps.bodies.outline=1"], "outline=1: expected a number between 0 and 1"),
        (["workflow.steps.bodies.alike=1.5"], "alike=1.5: expected a number from 0 to 1"),
        (["sweep={smooth: [1]}"], "smooth: [1], expected STEP.PARAMETER"),
        (["sweep={sharpen.a: [1]}"], "sharpen.a: no such step"),
        (["sweep={a.b: [1], c.d: [2], e.f: [3]}"], "expected one or two parameters"),
        (["spacing_um=3"], "expected [z,y,x] in um"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_is_read(
    words: list[str], message: str, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["classic", "input=images", "output=out", *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not Path("out").exists()


def test_steps_run_in_their_order_and_again_by_a_number() -> None:
    steps = {"smooth": {"sigma_um": 1.0}, "smooth_2": {"sigma_um": 2.0}, "threshold": {}}
    found = Workflow.from_config({"name": "mine", "steps": steps})
    assert [(key, name) for key, name, _ in found.steps] == [
        ("smooth", "smooth"), ("smooth_2", "smooth"), ("threshold", "threshold")
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="is empty"):
        Workflow.from_config({"name": "mine", "steps": {"smooth": None}})
