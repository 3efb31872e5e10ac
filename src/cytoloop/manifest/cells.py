"""Cells of a table as text: CSV in the forms that spreadsheets write, and Excel files."""

from __future__ import annotations

import codecs
import csv
import io
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from cytoloop.errors import ManifestError

log = logging.getLogger(__name__)

TABLE_SUFFIXES = (".csv", ".tsv", ".xlsx", ".xls", ".ods")
"""Suffixes of tables; the last two are refused with the way on."""

_BYTE_ORDER_MARKS = {  # the longer ones first: that of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_DELIMITERS = ",;\t|"
_SEP_LINE = re.compile(r"\"?sep=(?P<delimiter>.)\"?[,;]*\r?\n?", re.IGNORECASE)
"""First line that Excel reads and writes: the delimiter of the file."""


def is_table(source: object) -> bool:
    """Return whether a source is a table by its suffix.

    >>> is_table("a/Images.CSV"), is_table("a.tif")
    (True, False)
    """
    return str(source).lower().endswith(TABLE_SUFFIXES)


def read_cells(path: Path) -> list[list[str]]:
    """Return the rows of a table as texts without surrounding blanks; empty rows are left out.

    Parameters
    ----------
    path : Path
        A CSV: UTF-8, UTF-16, UTF-32 or, with a warning, Windows' cp1252; the delimiter is ``,``,
        ``;``, ``|`` or tab, or that of a first line ``sep=;``. Or the first sheet of an ``.xlsx``.

    Raises
    ------
    ManifestError
        The file is no table.
    """
    suffix = path.suffix.lower()
    if suffix in (".xls", ".ods"):
        raise ManifestError(
            str(path), f"is a {suffix} file, which is not read", "Save it as .xlsx or .csv."
        )
    rows = _excel_rows(path) if suffix == ".xlsx" else _csv_rows(path)
    stripped = ([cell.strip() for cell in row] for row in rows)
    return [row for row in stripped if any(row)]


def read_csv_text(path: Path) -> tuple[str, str]:
    """Return the text of a CSV without a line ``sep=;``, and its delimiter.

    Raises
    ------
    ManifestError
        The file is no text.
    """
    text = _decode(path)
    sep_line = _SEP_LINE.match(text)
    text = text[sep_line.end() :] if sep_line else text
    header = text.lstrip("\r\n").splitlines()[:1]
    delimiter = sep_line["delimiter"] if sep_line else max(_DELIMITERS, key="".join(header).count)
    return text, delimiter


def _csv_rows(path: Path) -> Iterable[list[str]]:
    text, delimiter = read_csv_text(path)
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise ManifestError(
            str(path), f"is not a CSV file: {error}", "Save it as CSV UTF-8 or .xlsx."
        ) from error


def encoding_of(content: bytes) -> str:
    """Return the encoding of a CSV: by its byte order mark, else UTF-16, UTF-8 or cp1252.

    >>> encoding_of("id".encode("utf-16-le")), encoding_of("\u00fc".encode("cp1252"))
    ('utf-16-le', 'cp1252')
    """
    mark = next((mark for mark in _BYTE_ORDER_MARKS if content.startswith(mark)), None)
    if mark is not None:
        return _BYTE_ORDER_MARKS[mark]
    head = content[:4096]  # paths are mostly ASCII: in UTF-16 every other byte is 0
    for name, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[::2])):
        if zeros.count(0) > 0.4 * max(len(zeros), 1):
            return name
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def append_encoding(path: Path) -> str:
    """Return the encoding of text that is appended to a CSV: without a byte order mark."""
    content = path.read_bytes()
    encoding = encoding_of(content)
    if encoding in ("utf-16", "utf-32"):
        is_little = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF32_LE))
        return f"{encoding}-{'le' if is_little else 'be'}"
    return encoding.removesuffix("-sig")


def _decode(path: Path) -> str:
    content = path.read_bytes()
    encoding = encoding_of(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ManifestError(
            str(path), f"is not a CSV file: {error}", "Save it as CSV UTF-8 or .xlsx."
        ) from error
    if encoding == "cp1252" and "\0" in text:
        raise ManifestError(
            str(path), "is not a CSV file: it holds zero bytes", "Save it as CSV UTF-8 or .xlsx."
        )
    if encoding == "cp1252":
        log.warning("%s: is not UTF-8; read as cp1252 (Windows). Save it as CSV UTF-8.", path)
    return text


def _excel_rows(path: Path) -> Iterable[list[str]]:
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        book = load_workbook(path, read_only=True, data_only=True)
        try:
            filled = [sheet for sheet in book.worksheets if sheet.max_row]
            if not filled:
                return []
            rows = [list(map(_cell_text, row)) for row in filled[0].iter_rows(values_only=True)]
        finally:
            book.close()
    except (InvalidFileException, BadZipFile, KeyError, ValueError, OSError) as error:
        raise ManifestError(
            str(path), f"is not an Excel file: {error}", "Save it as .xlsx or .csv."
        ) from error
    if len(filled) > 1:
        log.warning("%s: read the first sheet, %r, of %d", path, filled[0].title, len(filled))
    return rows


def _cell_text(value: Any) -> str:
    """Return the text of an Excel cell: numbers as a reader types them."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
