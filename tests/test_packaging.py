"""What installs the project: extras, exact versions, conda environment, citation."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from cytoloop.errors import MissingPackageError
from cytoloop.extras import import_extra
from cytoloop.version import __version__

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]


def test_extras_named_by_errors_and_docs_exist() -> None:
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    named: set[str] = set()
    for file in files:
        text = file.read_text(encoding="utf-8")
        found = re.findall(r"cytoloop\[([a-z0-9,]+)\]", text)
        found += re.findall(r'import_extra\(\s*"[^"]*",\s*"([a-z0-9]+)"', text)
        named |= {extra for group in found for extra in group.split(",")}
    assert {"czi", "annotation", "cloud", "dask", "onnx", "cytodl"} <= named <= set(EXTRAS)


def test_a_missing_package_is_reported_with_its_extra() -> None:
    with pytest.raises(MissingPackageError) as caught:
        import_extra("format=coco", "annotation", "no_such_package.part")
    text = "format=coco: needs a package that is not installed (no_such_package)"
    assert str(caught.value) == f"{text}\nInstall it: pip install 'cytoloop[annotation]'"


def test_the_wheel_holds_every_folder_and_every_file_of_data() -> None:
    setup = PYPROJECT["tool"]["setuptools"]
    source = ROOT / "src"
    folders = {one.parent for one in source.rglob("__init__.py")}
    names = {".".join(one.relative_to(source).parts) for one in folders}
    assert names | {"cytoloop.configs"} == set(setup["packages"])
    known = {
        path
        for package, patterns in setup["package-data"].items()
        for pattern in patterns
        for path in source.joinpath(*package.split(".")).glob(pattern)
    }
    files = {one for one in source.rglob("*") if one.is_file() and "__pycache__" not in one.parts}
    assert {one for one in files if one.suffix != ".py"} == known


def test_gpl_and_qt_packages_are_not_in_the_core() -> None:
    names = {re.match(r"[\w.-]+", one)[0] for one in PROJECT["dependencies"]}  # type: ignore[index]
    assert not names & {"bioio-czi", "opencv-python", "cyto-dl", "pycocotools"}


def test_versions_are_exact_and_name_no_host() -> None:
    lines = (ROOT / "versions.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) > 200
    assert not [line for line in lines if not re.match(r"[a-z0-9._-]+==[\w.]+( ; .+)?$", line)]
    pinned = {line.partition("==")[0] for line in lines}
    needed = {re.match(r"[\w.-]+", one)[0].lower() for one in PROJECT["dependencies"]}  # type: ignore[index]
    assert needed <= pinned


def test_conda_environment_and_citation_fit_the_project() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert {"python=3.11", "pip", "cytoloop"} <= {
        one
        for item in environment["dependencies"]
        for one in (item["pip"] if isinstance(item, dict) else [item])
    }
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == __version__
    assert citation["authors"] == [{"name": "The CytoLoop developers"}]


def test_of_cytodls_main_branch_only_the_pin_of_mlflow_conflicts() -> None:
    theirs = {"torch": ">=2.5", "numpy": "<2", "mlflow": "<3", "python": ">=3.10,<3.13"}
    needed = [Requirement(one) for one in PROJECT["dependencies"]]
    ours = {one.name: one.specifier for one in needed if one.name in theirs}
    ours["python"] = SpecifierSet(PROJECT["requires-python"])
    versions = {
        "torch": ("2.8", "2.13"),
        "numpy": ("1.26", "2.4"),
        "mlflow": ("2.22.5", "3.17"),
        "python": ("3.11", "3.12", "3.14"),
    }
    both = {
        name: [one for one in given if one in ours[name] and one in SpecifierSet(theirs[name])]
        for name, given in versions.items()
    }
    assert both == {
        "torch": ["2.8", "2.13"],
        "numpy": ["1.26"],
        "mlflow": [],
        "python": ["3.11", "3.12"],
    }
