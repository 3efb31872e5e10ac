"""Formats and origins of images and results; post-processing by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from test_inference_predict import noise, place, predict, rows_of, write

import cytoloop.inference.predict_image
import cytoloop.io.pixels
from cytoloop.errors import ImageError, ManifestError
from cytoloop.inference import volume_storage
from cytoloop.inference.inputs.list_inputs import list_inputs
from cytoloop.io.pixels import open_pixels
from cytoloop.io.read import read_image
from cytoloop.io.voxel_size import Grid
from cytoloop.io.writers.zarr import write_zarr

__all__ = ["place"]  # a fixture
GRID = Grid((1.0, 0.5, 0.5), (-12.5, 40.0, 0.0))
MODEL = {"threshold": 0.51, "seed_smoothing": 1.0, "min_depth": 0.1}


def cropped(place: Path, shape: tuple[int, ...]) -> Path:
    """Write an OME-Zarr with an origin."""
    path = place / "in/a.ome.zarr"
    write_zarr(path, noise(shape), "ZYX", GRID.spacing_um, origin_um=GRID.origin_um)
    return path


def translations(path: Path) -> list[list[float]]:
    """Return the translation of each level of an OME-Zarr."""
    levels = zarr.open_group(path, mode="r").attrs["multiscales"][0]["datasets"]
    return [level["coordinateTransformations"][1]["translation"] for level in levels]


@pytest.mark.parametrize("streamed", [False, True])
def test_results_have_the_origin_of_their_image(
    make_model: Callable, place: Path, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    model = make_model(tuned=MODEL)
    assert len(translations(cropped(place, (12, 40, 600)))) == 2
    if streamed:
        monkeypatch.setattr(volume_storage, "IN_MEMORY_VOXELS", 1000)
        monkeypatch.setattr(cytoloop.io.pixels, "IN_MEMORY_BYTES", 1000)
    assert predict(f"checkpoint={model}", "input=in", "output=p") == 0
    again = ("reprocess=p/predictions.csv", "output=q", "postprocess=otsu")
    assert predict(*again, "save=[labels]") == 0
    found = [place / "p" / rows_of(place / "p")["a"][k] for k in ("probability", "mask", "labels")]
    found.append(place / "q" / rows_of(place / "q")["a"]["labels"])
    for path in found:
        assert path.name == "a.ome.zarr" and translations(path) == [[-12.5, 40.0, 0.0]] * 2
        assert open_pixels(path).grid == GRID


def test_a_tiff_for_an_image_with_an_origin_gives_a_warning(
    make_model: Callable, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cropped(place, (12, 40, 60))
    words = (f"checkpoint={make_model()}", "input=in", "output=p", "format=ome-tiff", "save=[mask]")
    assert predict(*words) == 0
    text = capfd.readouterr().err
    assert "a begins at -12.5 40 0 um" in text and "format=ome-zarr" in text


def test_the_origin_of_a_level_is_that_of_the_level_and_the_pyramid(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    write_zarr(path, noise((4, 600, 600)), "ZYX", (2.0, 0.5, 0.5))
    group = zarr.open_group(path, mode="r+")
    metadata: Any = group.attrs.asdict()["multiscales"]
    for axis in metadata[0]["axes"]:
        axis["unit"] = "nanometer"
    metadata[0]["coordinateTransformations"] = [
        {"type": "scale", "scale": [1.0, 1000.0, 1000.0]},
        {"type": "translation", "translation": [7000.0, 0.0, 3000.0]},
    ]
    # a level of means begins half a voxel further in
    move = {"type": "translation", "translation": [0.0, 0.25, 0.25]}
    metadata[0]["datasets"][1]["coordinateTransformations"].append(move)
    group.attrs["multiscales"] = metadata
    assert open_pixels(path).origin_um == pytest.approx((7.0, 0.0, 3.0))
    assert open_pixels(path, level=1).origin_um == pytest.approx((7.0, 0.25, 3.25))


@pytest.mark.parametrize("value", [float("nan"), "left"])
def test_an_origin_that_is_not_a_number_is_refused(place: Path, value: float | str) -> None:
    path = cropped(place, (12, 40, 60))
    group = zarr.open_group(path, mode="r+")
    metadata: Any = group.attrs.asdict()["multiscales"]
    metadata[0]["datasets"][0]["coordinateTransformations"][1]["translation"][1] = value
    group.attrs["multiscales"] = metadata
    with pytest.raises(ImageError, match=f"cannot be read: .*{value}"):
        open_pixels(path)


def test_version_5_of_the_format_has_an_origin_too(tmp_path: Path) -> None:
    from bioio_ome_zarr.writers import OMEZarrWriter

    path, data = tmp_path / "a.ome.zarr", noise((4, 40, 60))
    writer = OMEZarrWriter(
        str(path),
        level_shapes=[data.shape],
        dtype=data.dtype,
        zarr_format=3,
        axes_names=["z", "y", "x"],
        axes_types=["space"] * 3,
        axes_units=["micrometer"] * 3,
        physical_pixel_size=[2.0, 0.5, 0.5],
    )
    writer.write_full_volume(data)
    group = zarr.open_group(path, mode="r+")
    metadata: Any = group.attrs.asdict()["ome"]
    move = {"type": "translation", "translation": [3.0, 2.0, 1.0]}
    metadata["multiscales"][0]["datasets"][0]["coordinateTransformations"].append(move)
    group.attrs["ome"] = metadata
    assert open_pixels(path).grid == Grid((2.0, 0.5, 0.5), (3.0, 2.0, 1.0))


@pytest.mark.parametrize(
    "header, column",
    [
        ("well,Image_Path,time", "Image_Path"),
        ("well;file name;time", "file name"),
        ("well\tfilename\tpath", "path"),
        ("well,what is to be seen,time", "what is to be seen"),
    ],
)
def test_any_table_with_a_column_of_images_is_predicted(
    make_model: Callable, place: Path, header: str, column: str
) -> None:
    write(place / "a.ome.tif", noise((40, 40)))
    sign = next(one for one in ",;\t" if one in header)
    cells = dict.fromkeys(header.split(sign), "10:30") | {column: "a.ome.tif"}
    (place / "plate.csv").write_text(f"{header}\n{sign.join(cells.values())}\n", "utf-8")
    assert predict(f"checkpoint={make_model(2)}", "input=plate.csv", "output=p") == 0
    assert rows_of(place / "p")["a"]["status"] == "done"


def test_a_table_without_images_and_one_with_gaps_are_refused(place: Path) -> None:
    (place / "t.csv").write_text("well,dose\nA1,3\n", "utf-8")
    with pytest.raises(ManifestError, match=r"no column raw \(found: well, dose\)"):
        list_inputs("t.csv")
    (place / "t.csv").write_text("well,image\nA1,a.tif\nA2,\nA3,\n", "utf-8")
    with pytest.raises(ManifestError) as caught:
        list_inputs("t.csv")
    assert [p.split(",")[0] for p in caught.value.problems] == ["row 2", "row 3"]
    (place / "two.csv").write_text("before,after\na.tif,b.tif\n", "utf-8")
    with pytest.raises(ManifestError, match="found: before, after"):  # which one is meant?
        list_inputs("two.csv")


def test_a_stack_of_one_plane_is_a_plane(
    make_model: Callable, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(place / "a.ome.tif", noise((1, 40, 60)), metadata={"axes": "ZYX"})
    assert predict(f"checkpoint={make_model(2)}", "input=a.ome.tif", "output=p") == 0
    assert read_image(place / "p/labels/a.ome.tif").data.shape == (1, 40, 60)
    assert predict(f"checkpoint={make_model(3)}", "input=a.ome.tif", "output=q") == 2
    said = capfd.readouterr().err
    assert "is one plane" in said and "for nuclei pretrained:nuclei_2d" in said


@pytest.mark.parametrize("name", ["li", "yen", "isodata", "triangle", "minimum", "mean"])
def test_every_threshold_has_its_name(make_model: Callable, place: Path, name: str) -> None:
    y, x = np.indices((64, 64))
    disk = np.hypot(y - 32, x - 32) < 12
    raw = np.where(disk, 200, 20) + noise((64, 64)) // 40
    write(place / "a.ome.tif", raw.astype(np.uint16))
    write(place / "p.ome.tif", np.where(disk, 230, 15).astype(np.uint8))
    (place / "t.csv").write_text("id,raw,probability\na,a.ome.tif,p.ome.tif\n", "utf-8")
    assert predict("reprocess=t.csv", "output=q", f"postprocess={name}") == 0
    mask = read_image(place / "q/mask/a.ome.tif").data[0]
    np.testing.assert_array_equal(mask > 0, disk)


def test_hitif_and_ensembles_as_a_user_types_them(make_model: Callable, place: Path) -> None:
    heads = ["foreground", "distance", "contour"]
    models = [make_model(2, seed=n, outputs=3, heads=heads) for n in (1, 2)]
    write(place / "in/a.ome.tif", noise((64, 64)))
    one, both = f"checkpoint={models[0]}", f"checkpoint=[{models[0]},{models[1]}]"
    assert predict(one, "input=in", "output=p", "postprocess=hitif") == 0
    assert predict(f"checkpoint={models[1]}", "input=in", "output=q", "postprocess=hitif") == 0
    assert predict(both, "input=in", "output=b", "postprocess=hitif") == 0
    row = rows_of(place / "b")["a"]
    assert row["threshold"] == "0.5" and row["labels"] and row["contour"]
    for kind in ("probability", "distance", "contour"):
        alone = [read_image(place / f / kind / "a.ome.tif").data.astype(float) for f in "pq"]
        mean = read_image(place / "b" / kind / "a.ome.tif").data
        assert np.abs(alone[0] - alone[1]).max() > 3
        np.testing.assert_allclose(mean, np.mean(alone, 0), atol=4)
    assert rows_of(place / "b")["a"]["model_sha256"].count("+") == 1


@pytest.mark.realdata
def test_cases_of_voxel_sizes_and_axes_are_predicted(
    make_model: Callable, place: Path, real_data: Path
) -> None:
    cases, model = real_data / "cases", make_model()
    assert (
        predict(f"checkpoint={model}", f"input={cases}/06_voxels", "output=p", "save=[mask]") == 0
    )
    rows = rows_of(place / "p")
    assert {row["status"] for row in rows.values()} == {"done"} and len(rows) == 5
    assert "the sign is dropped" in rows["negative"]["warnings"]
    assert rows["zero"]["spacing_um"] == "" and "taken as unknown" in rows["zero"]["warnings"]
    for unit in ("metre", "angstrom", "inch"):
        assert rows[f"unit_{unit}"]["spacing_um"] == "0.5 0.2 0.2"
    movie = f"input={cases}/05_axes/movie.tif"
    assert predict(f"checkpoint={make_model(2)}", movie, "output=m", "axes=TYX", "save=[mask]") == 0
    assert list(rows_of(place / "m")) == [f"movie_t{time:03d}" for time in range(12)]
    one = (movie, "output=n", "axes=TYX", "time=3", "save=[mask]")
    assert predict(f"checkpoint={make_model(2)}", *one) == 0
    assert list(rows_of(place / "n")) == ["movie"]
    half = f"input={cases}/04_multifile/half"
    assert predict(f"checkpoint={model}", half, "output=h", "save=[mask]") == 2
    assert "b.ome.tif is missing" in rows_of(place / "h")["a"]["reason"]
    last = f"input={cases}/05_axes/channels_last.tif"
    assert predict(f"checkpoint={make_model(2)}", last, "output=l", "save=[mask]") == 2
    assert "2 pixels wide may be channels" in rows_of(place / "l")["channels_last"]["reason"]


def test_an_unexpected_error_of_one_image_does_not_end_the_others(
    make_model: Callable, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        write(place / f"in/{name}.ome.tif", noise((40, 40), ord(name)))
    opened = cytoloop.inference.predict_image.open_input

    def fail(row: Any, *args: Any) -> Any:
        if row.id == "a":
            raise ZeroDivisionError("a bug")
        return opened(row, *args)

    monkeypatch.setattr(cytoloop.inference.predict_image, "open_input", fail)
    assert predict(f"checkpoint={make_model(2)}", "input=in", "output=p", "save=[mask]") == 2
    rows = rows_of(place / "p")
    assert [row["status"] for row in rows.values()] == ["failed", "done", "done"]
    assert rows["a"]["reason"] == "unexpected ZeroDivisionError: a bug"
