"""TIFF: what the numbers mean, orientation, planes that are missing, several files, pyramids."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cytoloop.errors import ImageError
from cytoloop.io.labels import read_labels
from cytoloop.io.listing import list_images
from cytoloop.io.notes import collect_notes
from cytoloop.io.pixels import level_spacings, open_pixels
from cytoloop.io.read import read_header, read_image
from cytoloop.io.writers.tiff import write_image

GREY = np.arange(12 * 14, dtype=np.uint8).reshape(12, 14)


def set_tag(path: Path, code: int, value: int) -> Path:
    """Set the value of a tag of one short in all pages of a classic TIFF."""
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        for page in file.pages:
            tag = page.tags.get(code) if code in page.tags else None
            assert tag is not None, f"no tag {code}"
            content[tag.valueoffset : tag.valueoffset + 2] = struct.pack("<H", value)
    path.write_bytes(bytes(content))
    return path


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.uint32])
@pytest.mark.parametrize("ome", [False, True])
def test_white_is_zero_is_inverted(tmp_path: Path, dtype: type, ome: bool) -> None:
    if ome and dtype is bool:
        pytest.skip("tifffile writes no OME-TIFF of bits")
    data = (GREY > 80) if dtype is bool else GREY.astype(dtype) * 200
    white = 1 if dtype is bool else np.iinfo(dtype).max
    path = tmp_path / ("a.ome.tif" if ome else "a.tif")
    stored = ~data if dtype is bool else white - data
    tifffile.imwrite(path, stored, photometric="miniswhite", ome=ome)
    np.testing.assert_array_equal(read_image(path).data[0], data)
    box = (slice(2, 5), slice(3, 9))
    np.testing.assert_array_equal(open_pixels(path, in_memory=0).read(box)[0], data[box])


def test_bool_of_tifffile_and_scikit_image_is_warned_of(tmp_path: Path) -> None:
    """They mark the zeros of bool as white, whatever True means."""
    path = tmp_path / "mask.tif"
    tifffile.imwrite(path, GREY > 80)
    with collect_notes() as notes:
        np.testing.assert_array_equal(read_image(path).data[0], GREY <= 80)
    assert "save it as uint8" in notes[0]


def test_signed_numbers_of_imagej_keep_their_sign(tmp_path: Path) -> None:
    """ImageJ saves int16 as uint16 with a calibration."""
    path, text = tmp_path / "a.tif", "ImageJ=1.53c\ncf=0\nc0=-32768\nc1=1\nvunit=gray value\n"
    signed = GREY.astype(np.int16) - 20
    tifffile.imwrite(path, signed.view(np.uint16) ^ 0x8000, description=text, metadata=None)
    image = read_image(path)
    assert image.data.dtype == np.int16
    np.testing.assert_array_equal(image.data[0], signed)
    box = (slice(2, 5), slice(3, 9))
    np.testing.assert_array_equal(open_pixels(path, in_memory=0).read(box)[0], signed[box])


def test_samples_that_are_planes_are_no_transparency(tmp_path: Path) -> None:
    """tifffile marks 3 or 4 planes as RGB where nothing else is said."""
    data = np.stack([GREY, GREY + 1, GREY + 2, GREY + 3]).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="rgb", metadata={"axes": "CYX"})
    with collect_notes() as notes:
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, data)
    assert notes == []


def test_white_is_zero_of_floats_is_refused_and_of_imagej_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY.astype(np.float32), photometric="miniswhite")
    with pytest.raises(ImageError, match="zeros are white.*float32"):
        read_image(path)
    tifffile.imwrite(path, GREY, imagej=True)
    set_tag(path, 262, 0)
    with collect_notes() as notes:
        np.testing.assert_array_equal(read_image(path).data[0], GREY)
    assert "inverting LUT of ImageJ" in notes[0]


def test_palette_holds_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    colours = np.random.default_rng(0).integers(0, 2**16, (3, 256), np.uint16)
    tifffile.imwrite(path, GREY, photometric="palette", colormap=colours)
    with collect_notes() as notes:
        np.testing.assert_array_equal(read_labels(path), GREY)
    assert not notes
    with collect_notes() as notes:
        np.testing.assert_array_equal(read_image(path).data[0], GREY)
    assert "numbers of a palette" in notes[0]


def test_rgb_has_three_channels_without_its_transparency(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 99, (12, 14, 4), np.uint8)
    for planar, stored in (("contig", data), ("separate", np.moveaxis(data, -1, 0))):
        path = tmp_path / f"{planar}.tif"
        tifffile.imwrite(
            path, stored, photometric="rgb", planarconfig=planar, extrasamples=["unassalpha"]
        )
        with collect_notes() as notes:
            found = read_image(path)
        assert found.channels == ("sample 0", "sample 1", "sample 2")
        np.testing.assert_array_equal(found.data, np.moveaxis(data[..., :3], -1, 0))
        assert "transparency" in notes[0]


@pytest.mark.parametrize("photometric", [4, 5, 6, 8, 9, 10, 32803, 32844, 32845, 34892, 51177])
def test_every_other_photometric_is_grey_or_refused(tmp_path: Path, photometric: int) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, photometric="minisblack")
    set_tag(path, 262, photometric)
    if photometric in (4, 34892, 51177):  # masks, linear raw, depth
        np.testing.assert_array_equal(read_image(path).data[0], GREY)
    else:
        name = tifffile.PHOTOMETRIC(photometric).name
        with pytest.raises(ImageError, match=f"its pixels are {name} "):
            read_image(path)


TURNED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", TURNED)
def test_orientation_is_honoured(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, extratags=[(274, "H", 1, orientation, True)])
    right = TURNED[orientation](GREY)
    with collect_notes() as notes:
        np.testing.assert_array_equal(read_image(path).data[0], right)
    box = (slice(1, 5), slice(2, 9))
    np.testing.assert_array_equal(open_pixels(path, in_memory=0).read(box)[0], right[box])
    assert bool(notes) == (orientation > 1)


def write_set(folder: Path, names: dict[str, str], planes: int = 2) -> dict[str, np.ndarray]:
    """Write an image in several OME-TIFFs: file name to its UUID. Return the planes of each."""
    folder.mkdir(exist_ok=True)
    rng, pixels, data = np.random.default_rng(0), {}, ""
    for number, (name, uuid) in enumerate(names.items()):
        pixels[name] = rng.integers(1, 99, (planes, 12, 14), np.uint8)
        for plane in range(planes):
            data += (
                f'<TiffData FirstZ="{number * planes + plane}" IFD="{plane}" PlaneCount="1">'
                f'<UUID FileName="{name}">urn:uuid:{uuid}</UUID></TiffData>'
            )
    for name, uuid in names.items():
        xml = (
            '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{uuid}"><Image ID="Image:0"><Pixels ID="Pixels:0" '
            'DimensionOrder="XYZCT" Type="uint8" SizeX="14" SizeY="12" '
            f'SizeZ="{planes * len(names)}" SizeC="1" SizeT="1">'
            f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{data}</Pixels></Image></OME>'
        )
        tifffile.imwrite(
            folder / name, pixels[name], photometric="minisblack", description=xml, metadata=None
        )
    return pixels


def test_image_in_several_files_is_one_image(tmp_path: Path) -> None:
    pixels = write_set(tmp_path, {"a.ome.tif": "1-a", "b.ome.tif": "1-b", "c.ome.tif": "1-c"})
    other = write_set(tmp_path / "other", {"d.ome.tif": "2-d"})
    (tmp_path / "other" / "d.ome.tif").rename(tmp_path / "d.ome.tif")
    listed = [path.name for path in list_images(tmp_path)]
    assert listed == ["a.ome.tif", "d.ome.tif"]
    whole = np.concatenate(list(pixels.values()))
    for name in pixels:
        np.testing.assert_array_equal(read_image(tmp_path / name).data[0], whole)
    found = read_image(tmp_path / "d.ome.tif").data[0]
    np.testing.assert_array_equal(found, other["d.ome.tif"])


def test_missing_and_exchanged_members_are_named(tmp_path: Path) -> None:
    names = {"a.ome.tif": "1-a", "b.ome.tif": "1-b", "c.ome.tif": "1-c"}
    write_set(tmp_path, names)
    write_set(tmp_path / "other", {"b.ome.tif": "2-b"})
    (tmp_path / "b.ome.tif").unlink()
    (tmp_path / "c.ome.tif").unlink()
    with pytest.raises(ImageError, match=r"(?s)b.ome.tif is missing.*c.ome.tif is missing"):
        read_header(tmp_path / "a.ome.tif")
    write_set(tmp_path, names)
    (tmp_path / "other" / "b.ome.tif").rename(tmp_path / "b.ome.tif")
    with pytest.raises(ImageError, match=r"b.ome.tif beside it is another file: its UUID is .*2-b"):
        read_header(tmp_path / "a.ome.tif")
    tifffile.imwrite(tmp_path / "b.ome.tif", GREY, metadata=None, ome=False)
    with pytest.raises(ImageError, match="b.ome.tif beside it is another file.*not stated"):
        read_header(tmp_path / "a.ome.tif")


def test_file_of_an_image_whose_metadata_are_elsewhere_is_refused(tmp_path: Path) -> None:
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<BinaryOnly MetadataFile="a.companion.ome" UUID="urn:uuid:1"/></OME>'
    )
    tifffile.imwrite(tmp_path / "a.ome.tif", GREY, description=xml, metadata=None)
    with pytest.raises(ImageError, match=r"its metadata are in a\.companion\.ome"):
        read_image(tmp_path / "a.ome.tif")


def write_companion(folder: Path, own_uuids: bool) -> Path:
    """Write two channels of 3 planes, a file each, and a companion file with the metadata."""
    schema = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
    data = ""
    for number in range(2):
        binary = (
            f'<?xml version="1.0"?><OME {schema} UUID="urn:uuid:{number}"><BinaryOnly '
            'MetadataFile="a.companion.ome" UUID="urn:uuid:9"/></OME>'
        )
        name, planes = f"a_{number}.ome.tif", np.full((3, 16, 20), 5 + number, np.uint16)
        tifffile.imwrite(
            folder / name,
            planes,
            photometric="minisblack",
            ome=False,
            metadata=None,
            description=binary if own_uuids else None,
        )
        data += (
            f'<TiffData FirstC="{number}" PlaneCount="3"><UUID FileName="{name}">'
            f"urn:uuid:{number}</UUID></TiffData>"
        )
    (folder / "a.companion.ome").write_text(
        f'<?xml version="1.0"?><OME {schema} UUID="urn:uuid:9"><Image ID="Image:0" Name="a">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="20" SizeY="16" '
        'SizeZ="3" SizeC="2" SizeT="1" PhysicalSizeX="200" PhysicalSizeXUnit="nm" '
        'PhysicalSizeY="0.2" PhysicalSizeZ="1"><Channel ID="C:0" Name="DAPI"/>'
        f'<Channel ID="C:1" Name="GFP"/>{data}</Pixels></Image></OME>'
    )
    return folder / "a.companion.ome"


@pytest.mark.parametrize("own_uuids", [True, False])
def test_companion_file(tmp_path: Path, own_uuids: bool) -> None:
    path = write_companion(tmp_path, own_uuids)
    image = read_image(path)
    assert image.channels == ("DAPI", "GFP") and image.spacing_um == (1.0, 0.2, 0.2)
    assert image.data.shape == (2, 3, 16, 20) and image.data[:, 0, 0, 0].tolist() == [5, 6]
    assert list_images(tmp_path) == [path]  # one image, not two
    (tmp_path / "a_1.ome.tif").unlink()
    with pytest.raises(ImageError, match=r"a_1.ome.tif is missing"):
        read_image(path)
    (tmp_path / "a_0.ome.tif").unlink()
    with pytest.raises(ImageError, match=r"a_0.ome.tif is missing"):
        read_image(path)
    path.write_text("<OME")
    with pytest.raises(ImageError, match="is not OME-XML"):
        read_image(path)


def test_planes_that_are_promised_and_missing_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    stack = np.ones((6, 64, 64), np.uint8)
    write_image(path, stack, "ZYX")
    content = path.read_bytes().replace(b'SizeZ="6"', b'SizeZ="9"')
    path.write_bytes(content.replace(b'PlaneCount="6"', b'PlaneCount="9"'))
    with pytest.raises(ImageError, match="a.ome.tif: cannot be read completely"):
        read_image(path)
    ij = tmp_path / "ij.tif"
    tifffile.imwrite(ij, stack, imagej=True)
    ij.write_bytes(ij.read_bytes()[:-9000])
    with pytest.raises(ImageError, match=r"ij.tif: cannot be read completely"):
        read_image(ij)
    for name, options in (("plain", {}), ("pages", {"metadata": None, "rowsperstrip": 16})):
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, stack, photometric="minisblack", **options)
        with tifffile.TiffFile(path) as file:
            cut = file.pages[3].dataoffsets[0]
        path.write_bytes(path.read_bytes()[:cut])
        with pytest.raises(ImageError):
            read_image(path)


@pytest.mark.parametrize("ome", [False, True])
def test_levels_of_a_pyramid_are_read(tmp_path: Path, ome: bool) -> None:
    path = tmp_path / ("a.ome.tif" if ome else "a.tif")
    data = np.random.default_rng(0).integers(0, 99, (128, 96), np.uint8)
    sizes = {f"PhysicalSize{axis}": 0.5 for axis in "YX"}
    with tifffile.TiffWriter(path, ome=ome) as writer:
        options = {"photometric": "minisblack", "tile": (32, 32)}
        metadata = {"axes": "YX", **sizes} if ome else None
        writer.write(data, subifds=2, metadata=metadata, **options)
        writer.write(data[::2, ::2], subfiletype=1, metadata=None, **options)
        writer.write(data[::4, ::4], subfiletype=1, metadata=None, **options)
    for level in range(3):
        found = open_pixels(path, level=level)
        step = 2**level
        np.testing.assert_array_equal(found.read((slice(None),) * 2)[0], data[::step, ::step])
    with pytest.raises(ImageError, match="has no level 3"):
        open_pixels(path, level=3)
    spacings = [(1.0, 0.5 * 2**n, 0.5 * 2**n) if ome else None for n in range(3)]
    assert level_spacings(path) == spacings


def test_levels_that_are_pages_are_read(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 99, (128, 96), np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for step in (1, 2, 4):
            writer.write(
                data[::step, ::step], photometric="minisblack", subfiletype=int(step > 1),
                metadata=None,
            )  # fmt: skip
    assert read_header(tmp_path / "a.tif").scenes == ("Image:0",)
    found = open_pixels(tmp_path / "a.tif", level=2).read((slice(None),) * 2)[0]
    np.testing.assert_array_equal(found, data[::4, ::4])


@pytest.mark.realdata
def test_cases_of_several_files_and_white_zeros(real_data: Path) -> None:
    cases = real_data / "cases"
    with pytest.raises(ImageError, match=r"b\.ome\.tif is missing"):
        read_image(cases / "04_multifile" / "half" / "a.ome.tif")
    listed = list_images(cases / "04_multifile" / "whole")
    assert [path.name for path in listed] == ["a.ome.tif"]
    assert read_image(listed[0]).data[0].min(axis=(1, 2)).all()
    mask = read_labels(cases / "03_white_is_zero" / "pred" / "f.tif")
    truth = read_labels(cases / "03_white_is_zero" / "truth" / "f.tif")
    np.testing.assert_array_equal(mask > 0, truth > 0)
