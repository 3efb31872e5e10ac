"""Listing of image files: patterns, and folders whose names look like patterns."""

from __future__ import annotations

from pathlib import Path

import pytest

from cytoloop.errors import ImageError
from cytoloop.io.listing import list_images

PRINTABLE_ASCII = "".join(map(chr, range(33, 127))).replace("/", "")
NAMES = (
    *("run [Well 5]", "a*b", "what?", "{x,y}", "[a-z]", "~home", "#1 = 50 %", "'q' \"r\"", "-m"),
    *("Zelle \u00fc \u4e2d", PRINTABLE_ASCII, "back\\slash", "**x", "$HOME ${x}"),
)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_is_found_by_its_name_whatever_its_signs(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name / "tif"
    folder.mkdir(parents=True)
    file = folder / f"{name}.tif"
    file.touch()
    for source in (folder, f"{folder}/*.tif", f"{tmp_path}/{name}/*/*.tif", file):
        assert list_images(source) == [file]
    assert list_images(f"{tmp_path}/*/tif/{name}.tif") == [file]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**/*.tif", ["a1.tif", "sub [1]/b2.tif", "sub [1]/deep/c3.tif"]),
        ("**", ["a1.tif", "sub [1]/b2.tif", "sub [1]/deep/c3.tif"]),
        ("{a1,nothing}.tif", ["a1.tif"]),
        ("sub [1]/{b2,deep/c3}.tif", ["sub [1]/b2.tif", "sub [1]/deep/c3.tif"]),
        ("*/**/c[0-9].tif", ["sub [1]/deep/c3.tif"]),
        ("[ab]?.tif", ["a1.tif"]),
    ],
)
def test_patterns(pattern: str, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "sub [1]" / "deep").mkdir(parents=True)
    for name in ("a1.tif", "sub [1]/b2.tif", "sub [1]/deep/c3.tif", "sub [1]/.hidden.tif", "x.txt"):
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path / pattern)]
    assert found == expected


def test_a_relative_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("[a]").mkdir()
    Path("[a]/x.tif").touch()
    assert list_images("[a]/*.tif") == [Path("[a]/x.tif")]
    with pytest.raises(ImageError, match="matches no file"):
        list_images("[b]/*.tif")
