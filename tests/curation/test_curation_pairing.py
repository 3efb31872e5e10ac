"""Pairing by key: nothing is guessed, and the error lists all files without a pair."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cytoloop.curation import pair_images
from cytoloop.errors import ConfigError, ManifestError

Folder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Maker of folders with empty files: ``folder("raw", "a.tif", ...)``."""

    def make(name: str, *files: str) -> Path:
        for file in files:
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / name

    return make


def test_pairing_by_stem_strips_double_suffixes_and_ignores_the_order(folder: Folder) -> None:
    raw = folder("raw", "b.ome.tif", "a.czi", "c.tiff")
    seg = folder("seg", "c.tif", "a.ome.tiff", "b.tif", ".hidden.tif", "notes.txt")
    pairs = pair_images(raw, seg)
    assert [(p.id, p.raw.name, p.seg1.name) for p in pairs] == [
        ("a", "a.czi", "a.ome.tiff"),
        ("b", "b.ome.tif", "b.tif"),
        ("c", "c.tiff", "c.tif"),
    ]
    assert all(p.raw.is_absolute() and p.seg2 is None and p.exclude is None for p in pairs)


def test_pairing_by_pattern_and_glob(folder: Folder) -> None:
    data = folder(
        "plate", "Emb01_t351_raw.tif", "Emb01_t351_lab.tif", "Emb02_t3_raw.tif", "Emb02_t3_lab.tif"
    )
    pairs = pair_images(f"{data}/*_raw.tif", f"{data}/*_lab.tif", key=r"(?P<id>Emb\d+_t\d+)")
    assert [p.id for p in pairs] == ["Emb01_t351", "Emb02_t3"]
    assert [p.seg1.name for p in pairs] == ["Emb01_t351_lab.tif", "Emb02_t3_lab.tif"]


def test_pairing_pattern_with_a_slash_sees_the_folders(folder: Folder) -> None:
    raw = folder("raw", "p1/A1.tif", "p2/A1.tif")
    seg = folder("seg", "p1/A1.tif", "p2/A1.tif")
    pairs = pair_images(f"{raw}/*/*.tif", f"{seg}/*/*.tif", key=r"(?P<id>p\d/A\d)\.")
    assert [p.id for p in pairs] == ["p1/A1", "p2/A1"]
    assert all(p.raw.parent.name == p.seg1.parent.name for p in pairs)


def test_pairing_optional_partners_may_be_missing_for_some(folder: Folder) -> None:
    raw, seg = folder("raw", "a.tif", "b.tif"), folder("seg", "a.tif", "b.tif")
    masks, other = folder("masks", "a.npy"), folder("other", "b.tif")
    first, second = pair_images(raw, seg, other, masks)
    assert first.exclude == masks / "a.npy" and first.seg2 is None
    assert second.exclude is None and second.seg2 == other / "b.tif"


def test_pairing_single_files(folder: Folder) -> None:
    raw, seg = folder("raw", "a.tif") / "a.tif", folder("seg", "a.tif") / "a.tif"
    (pair,) = pair_images(raw, seg)
    assert (pair.raw, pair.seg1) == (raw, seg)


def test_pairing_lists_all_unmatched_files(folder: Folder) -> None:
    raw = folder("raw", "a.tif", "b.tif", "b.czi", "x.tif")
    seg = folder("seg", "a.tif", "b.tif", "y.tif", "z.tif", "z.ome.tif")
    other, masks = folder("other", "q.tif"), folder("masks", "a.npy", "r.npy")
    with pytest.raises(ManifestError) as caught:
        pair_images(raw, seg, other, masks)
    lines = [" ".join(problem.split()) for problem in caught.value.problems]
    assert lines == [
        "raw: one key, several files: b b.czi, b.tif",
        "seg1: one key, several files: z z.ome.tif, z.tif",
        "raw without a seg1: x x.tif",
        "seg1 without a raw: y y.tif",
        "seg2 without a raw: q q.tif",
        "exclude without a raw: r r.npy",
    ]
    assert f"raw={raw}, seg1={seg}" in caught.value.where
    assert "narrow the sources" in caught.value.repair


def test_pairing_shows_the_folder_of_files_with_one_name(folder: Folder) -> None:
    raw, seg = folder("raw", "p1/a.tif", "p2/a.tif"), folder("seg", "a.tif")
    with pytest.raises(ManifestError, match=r"one key, several files: a  p1/a.tif, p2/a.tif"):
        pair_images(f"{raw}/**/*.tif", seg)


def test_pairing_shortens_a_long_list(folder: Folder) -> None:
    raw = folder("raw", "same.tif", *(f"r{i:03}.tif" for i in range(50)))
    seg = folder("seg", "same.tif")
    with pytest.raises(ManifestError, match=r"raw without a seg1: \.\.\. and 30 more") as caught:
        pair_images(raw, seg)
    assert len(caught.value.problems) == 21


def test_pairing_lists_names_in_which_the_pattern_is_not_found(folder: Folder) -> None:
    raw, seg = folder("raw", "Emb01.tif", "blank.tif"), folder("seg", "Emb01.tif")
    with pytest.raises(ManifestError, match=r"raw: key not found: blank.tif"):
        pair_images(raw, seg, key=r"(?P<id>Emb\d+)")


@pytest.mark.parametrize(
    ("raws", "segs", "suggested"),
    [
        (["f_01.tif", "f_02.tif"], ["f_01_seg.tif", "f_02_seg.tif"], r"(?P<id>.+?)(_seg)?\."),
        (["f_1_raw.tif", "f_2_raw.tif"], ["f_1_mask.tif", "f_2_mask.tif"],
         r"(?P<id>.+?)(_mask|_raw)?\."),
        (["raw_a1.tif", "raw_b2.tif"], ["label_a1.tif", "label_b2.tif"],
         r"(label_|raw_)?(?P<id>.+?)\."),
        (["v1.2_a.ome.tif", "v1.3_a.ome.tif"], ["v1.2_m.tif", "v1.3_m.tif"],
         r"(?P<id>.+?)(_a|_m)?(\.ome)?\.\w+$"),
        (["cell01x.tif", "cell02x.tif"], ["nucleus01.tif", "nucleus02.tif"],
         r"(?P<id>\d+)\D*\."),
    ],
)  # fmt: skip
def test_pairing_suggests_a_key_but_does_not_use_it(
    folder: Folder, raws: list[str], segs: list[str], suggested: str
) -> None:
    raw, seg = folder("raw", *raws), folder("seg", *segs)
    with pytest.raises(ManifestError) as caught:
        pair_images(raw, seg)
    assert (
        caught.value.repair == f"key='{suggested}' would pair all 2 images; check it and give it."
    )
    assert len(pair_images(raw, seg, key=suggested)) == 2


def test_pairing_suggests_no_key_for_unrelated_names(folder: Folder) -> None:
    with pytest.raises(ManifestError, match=r"give key='\(\?P<id>\.\.\.\)'"):
        pair_images(folder("raw", "a.tif", "b.tif"), folder("seg", "x.tif", "y.tif"))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (r"(?P<id>Emb", "is not a regular expression: missing \\)"),
        (r"Emb\d+", r"has no part named \(\?P<id>\.\.\.\).*\nExample: key="),
    ],
)
def test_pairing_refuses_a_wrong_key(folder: Folder, key: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pair_images(folder("raw", "a.tif"), folder("seg", "a.tif"), key=key)


def test_pairing_lists_all_empty_sources(folder: Folder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        pair_images(tmp_path / "nowhere", folder("seg", "notes.txt"))
    assert [p.split(":")[0].split("=")[0] for p in caught.value.problems] == ["raw", "seg1"]
    assert "no such file or folder" in str(caught.value)
    assert "holds no image" in str(caught.value)
