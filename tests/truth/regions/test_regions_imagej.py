from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi

from cytoloop.errors import ImageError
from cytoloop.truth.regions import read_region

SHAPE = (4, 20, 24)


def rectangle(kind: ROI_TYPE = ROI_TYPE.RECT, **members: object) -> ImagejRoi:
    """Return ImageJ's makeRectangle(2, 3, 4, 5)."""
    return ImagejRoi(roitype=kind, left=2, top=3, right=6, bottom=8, **members)


def outline(points: list, kind: ROI_TYPE = ROI_TYPE.POLYGON, **members: object) -> ImagejRoi:
    roi = ImagejRoi.frompoints(points)
    roi.roitype = kind
    for name, value in members.items():
        setattr(roi, name, value)
    return roi


def composite(*rings: list) -> ImagejRoi:
    path: list[float] = []
    for ring in rings:
        path += [0, *ring[0]]
        for point in ring[1:]:
            path += [1, *point]
        path.append(4)
    flat = np.array(path, np.float32)
    return ImagejRoi(
        roitype=ROI_TYPE.RECT, shape_roi_size=len(flat), multi_coordinates=flat, right=9, bottom=9
    )


def region(folder: Path, roi: ImagejRoi, shape: tuple[int, ...] = SHAPE[1:]) -> np.ndarray:
    (folder / "r.roi").write_bytes(roi.tobytes())
    return read_region(folder / "r.roi", shape)


def box(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros(SHAPE[1:], bool)
    mask[top:bottom, left:right] = True
    return mask


CORNERS = [(2, 3), (6, 3), (6, 8), (2, 8)]


@pytest.mark.parametrize(
    "roi",
    [
        rectangle(),
        outline(CORNERS),
        outline(CORNERS, ROI_TYPE.FREEHAND),
        outline(CORNERS, ROI_TYPE.TRACED),
        outline([(2.1, 3.2), (5.9, 3.2), (5.9, 7.7), (2.1, 7.7)]),
        composite(CORNERS),
        ImagejRoi(
            roitype=ROI_TYPE.RECT,
            version=227,
            options=ROI_OPTIONS.SUB_PIXEL_RESOLUTION,
            xd=2.2,
            yd=3.3,
            widthd=3.4,
            heightd=4.4,
        ),
    ],
)
def test_areas_contain_the_pixels_that_imagej_fills(tmp_path: Path, roi: ImagejRoi) -> None:
    np.testing.assert_array_equal(region(tmp_path, roi), box(2, 3, 6, 8))


def test_an_oval_contains_the_pixels_whose_centres_lie_inside(tmp_path: Path) -> None:
    y, x = np.indices((90, 120))
    roi = ImagejRoi(roitype=ROI_TYPE.OVAL, left=7, top=5, right=110, bottom=81)
    expected = ((x + 0.5 - 58.5) / 51.5) ** 2 + ((y + 0.5 - 43) / 38) ** 2 < 1
    np.testing.assert_array_equal(region(tmp_path, roi, (90, 120)), expected)
    rounded = ImagejRoi(
        roitype=ROI_TYPE.RECT, left=7, top=5, right=110, bottom=81, rounded_rect_arc_size=20
    )
    mask = region(tmp_path, rounded, (90, 120))
    assert not mask[5, 7] and mask[5, 17] and mask[40, 7] and not mask[80, 109]
    assert mask.sum() == pytest.approx(103 * 76 - (4 - np.pi) * 100, abs=8)


def test_composites_have_holes_and_islands(tmp_path: Path) -> None:
    hole, island = [(6, 5), (14, 5), (14, 15), (6, 15)], [(8, 7), (10, 7), (10, 9), (8, 9)]
    roi = composite([(4, 2), (18, 2), (18, 17), (4, 17)], hole, island)
    expected = box(4, 2, 18, 17) & ~box(6, 5, 14, 15) | box(8, 7, 10, 9)
    np.testing.assert_array_equal(region(tmp_path, roi), expected)


@pytest.mark.parametrize("member", ["position", "z_position"])
def test_slices_count_from_1_and_0_means_all_planes(tmp_path: Path, member: str) -> None:
    for slice_number, planes in ((0, [0, 1, 2, 3]), (1, [0]), (3, [2])):
        mask = region(tmp_path, rectangle(**{member: slice_number}), SHAPE)
        assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == planes
    with pytest.raises(
        ImageError, match=r"outlines in plane 4 .from 0., but the image has 4 plane"
    ):
        region(tmp_path, rectangle(**{member: 5}), SHAPE)


def test_roi_sets_are_read(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    for number, roi in enumerate((rectangle(), outline([(9, 9), (12, 9), (12, 12), (9, 12)]))):
        roi.tofile(path, name=f"{number}.roi")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/._0.roi", b"rubbish")
    expected = box(2, 3, 6, 8) | box(9, 9, 12, 12)
    np.testing.assert_array_equal(read_region(path, SHAPE[1:]), expected)
    rectangle(t_position=1).tofile(path, name="a.roi")
    rectangle(t_position=2).tofile(path, name="b.roi")
    with pytest.raises(ImageError, match="ROIs of 2 time points"):
        read_region(path, SHAPE)


def test_rois_without_an_area_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    for number, roi in enumerate(
        (
            rectangle(),
            ImagejRoi(roitype=ROI_TYPE.LINE),
            outline(CORNERS, ROI_TYPE.POINT),
            ImagejRoi(roitype=ROI_TYPE.RECT, subtype=ROI_SUBTYPE.TEXT),
        )
    ):
        roi.tofile(path, name=f"{number}.roi")
    with pytest.raises(ImageError, match="3 problems") as caught:
        read_region(path, SHAPE)
    for line in ("1.roi: line has no", "2.roi: point has no", "3.roi: text has no"):
        assert line in str(caught.value)


def test_broken_files_and_too_large_archives_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.roi"
    whole = outline(CORNERS).tobytes()
    for content in (b"", b"no roi", whole[:66], b"Iout" + b"\xff" * 80):
        path.write_bytes(content)
        with pytest.raises(ImageError, match=r"r.roi: the ROI: "):
            read_region(path, SHAPE)
    with pytest.raises(ImageError, match="its composite spans"):
        region(tmp_path, composite([(0, 0), (9e5, 0), (9e5, 9e5)]))
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.roi", bytes(3 << 20))
    monkeypatch.setattr("cytoloop.truth.regions.imagej.MAX_BYTES", 2 << 20)
    with pytest.raises(ImageError, match="unpacks to 3 MB"):
        read_region(tmp_path / "bomb.zip", SHAPE)
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("readme.txt", "")
    with pytest.raises(ImageError, match=r"it holds no .roi"):
        read_region(tmp_path / "none.zip", SHAPE)
