"""The description of a BioImage Model Zoo package, read by the zoo's library without downloads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cytoloop.errors import ModelError, truncate_lines
from cytoloop.extras import import_extra
from cytoloop.io.digest import file_hash
from cytoloop.model.safe_load import read_config

_NAMES = ("rdf.yaml", "bioimageio.yaml", "model.yaml", "rdf.yml", "bioimageio.yml", "model.yml")
_SUFFIXES = (".bioimageio.yaml", ".bioimageio.yml", ".rdf.yaml")
_PACKAGE = "*.bioimageio.zip"
FILES = "rdf.yaml"


def is_description(path: Path) -> bool:
    """Return whether a file has the name of a package's description."""
    return path.name in _NAMES or path.name.endswith(_SUFFIXES)


def find_file(folder: Path) -> Path | None:
    """Return the description in a folder, or the only zipped package; None if there is none."""
    named = [folder / name for name in _NAMES if (folder / name).is_file()]
    others = sorted(file for suffix in _SUFFIXES for file in folder.glob(f"*{suffix}"))
    packages = sorted(folder.glob(_PACKAGE))
    found = named or others or (packages if len(packages) == 1 else [])
    return found[0] if found else None


def read_description(path: Path) -> Any:
    """Return the description of a model, in the newest version of the zoo's specification.

    Raises
    ------
    MissingPackageError
        The extra ``bioimageio`` is not installed.
    ModelError
        The file describes no model, or is not valid; it lists the faults.
    """
    content = read_config(path)
    if content.get("type", "model") != "model":
        raise ModelError(
            str(path),
            f"describes a {str(content['type'])[:40]}, expected a model",
            "Give the package of a model.",
        )
    spec, loguru = import_extra(str(path), "bioimageio", "bioimageio.spec", "loguru")
    loguru.logger.disable("bioimageio")  # it writes to the terminal
    context = spec.ValidationContext(
        root=path.parent.absolute(),
        file_name=path.name,
        perform_io_checks=False,  # nothing is downloaded
        log_warnings=False,
        progressbar=False,
    )
    version = str(content.get("format_version", "unknown"))
    repair = "Check it with `bioimageio test`, or get the package again from https://bioimage.io."
    try:
        found = spec.build_description(content, context=context, format_version="latest")
    except Exception as error:  # converting an old version raises errors of many types
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ModelError(
            str(path), f"is not valid (format_version {version}): {reason}", repair
        ) from error
    if isinstance(found, spec.InvalidDescr):
        faults = [
            f"{'.'.join(map(str, fault.loc))}: {fault.msg}"[:200]
            for detail in found.validation_summary.details
            for fault in detail.errors
        ] or ["it is invalid"]
        faults = [f"(format_version {version}) {fault}" for fault in dict.fromkeys(faults)]
        raise ModelError(str(path), truncate_lines(faults, 8), repair)
    return found


def local_file(path: Path, described: Any) -> Path:
    """Return a file that a description names; it lies in the folder of the description.

    Parameters
    ----------
    path : Path
        The description.
    described : FileDescr
        Has ``source``, and its hash in ``sha256`` or None.

    Raises
    ------
    ModelError
        The file is elsewhere or missing, or has another hash.
    """
    source = str(getattr(described.source, "root", described.source))
    if "://" in source:
        raise ModelError(
            str(path),
            f"names a file on the internet, {source[:120]}",
            "Get the whole package as a zip: nothing is downloaded here.",
        )
    folder = path.parent.resolve()
    file = (folder / source.replace("\\", "/")).resolve()
    if not file.is_relative_to(folder) or not file.is_file():
        found = "does not hold" if file.is_relative_to(folder) else "does not lie around"
        raise ModelError(
            str(path),
            f"names the file {source[:120]!r}, which its folder {found}",
            "Copy it again.",
        )
    stated = described.sha256
    if stated and file_hash(file).removeprefix("sha256:") != str(getattr(stated, "root", stated)):
        raise ModelError(
            str(path), f"names {source[:120]!r} with another hash than it has", "Copy it again."
        )
    return file
