"""PNG and JPEG: grey levels, palettes, 16 bits, transparency, orientation."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from cytoloop.errors import ImageError
from cytoloop.io.labels import read_labels
from cytoloop.io.listing import list_images
from cytoloop.io.notes import collect_notes
from cytoloop.io.read import read_header, read_image

RNG = np.random.default_rng(0)
NUMBERS = RNG.integers(0, 9, (12, 14), np.uint8)
COLOURS = RNG.integers(0, 255, (12, 14, 3), np.uint8)


def test_grey_levels_of_8_and_16_bits(tmp_path: Path) -> None:
    for data in (NUMBERS, NUMBERS.astype(np.uint16) * 7000):
        Pillow.fromarray(data).save(tmp_path / "a.png")
        image = read_image(tmp_path / "a.png")
        assert image.data.dtype == data.dtype and image.spacing_um is None
        np.testing.assert_array_equal(image.data[0], data)
        np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), data)
    Pillow.fromarray(NUMBERS > 4).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "bits.png"), NUMBERS > 4)


def test_palette_holds_numbers(tmp_path: Path) -> None:
    picture = Pillow.fromarray(NUMBERS)
    picture.putpalette(RNG.integers(0, 255, 768, np.uint8).tobytes())
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), NUMBERS)
    with collect_notes() as notes:
        np.testing.assert_array_equal(read_image(tmp_path / "a.png").data[0], NUMBERS)
    assert "numbers of a palette" in notes[0]


def test_colours_of_8_and_16_bits_are_red_green_blue(tmp_path: Path) -> None:
    Pillow.fromarray(COLOURS).save(tmp_path / "a.png")
    cv2.imwrite(str(tmp_path / "deep.png"), COLOURS[..., ::-1].astype(np.uint16) * 257)
    for name, factor in (("a.png", 1), ("deep.png", 257)):
        image = read_image(tmp_path / name)
        np.testing.assert_array_equal(image.data, np.moveaxis(COLOURS, -1, 0) * np.uint16(factor))
        with pytest.raises(ImageError, match="3 channels"):
            read_labels(tmp_path / name)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_left_out(tmp_path: Path, mode: str) -> None:
    Pillow.fromarray(COLOURS).convert(mode).save(tmp_path / "a.png")
    with collect_notes() as notes:
        assert read_header(tmp_path / "a.png").shape == (1, len(mode) - 1, 1, 12, 14)
        read_image(tmp_path / "a.png")
    assert "transparency" in notes[0]


def test_jpeg_is_read_as_it_is_shown(tmp_path: Path) -> None:
    smooth = np.repeat(np.repeat(np.array([[0, 200], [90, 150]], np.uint8), 16, 0), 24, 1)
    exif = Pillow.Exif()
    exif[274] = 6
    Pillow.fromarray(smooth).save(tmp_path / "a.jpg", quality=100, exif=exif)
    found = read_image(tmp_path / "a.jpg").data[0]
    assert np.abs(found.astype(int) - np.rot90(smooth, -1)).max() <= 3


def test_animated_and_cmyk_pictures_are_refused(tmp_path: Path) -> None:
    frames = [Pillow.fromarray(NUMBERS), Pillow.fromarray(NUMBERS[::-1])]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="animated"):
        read_image(tmp_path / "a.png")
    Pillow.fromarray(COLOURS).convert("CMYK").save(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="CMYK"):
        read_image(tmp_path / "a.jpg")


def test_pictures_beside_other_images_are_left_out_of_a_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.tif", "a.png", "b.jpg"):
        (tmp_path / name).touch()
    assert [path.name for path in list_images(tmp_path)] == ["a.tif"]
    assert "2 PNG, JPEG or _seg.npy files beside other images are left out" in caplog.text
    assert [path.name for path in list_images(f"{tmp_path}/*.png")] == ["a.png"]
    (tmp_path / "a.tif").unlink()
    assert [path.name for path in list_images(tmp_path)] == ["a.png", "b.jpg"]
