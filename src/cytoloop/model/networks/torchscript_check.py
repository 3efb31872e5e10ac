"""Check of a TorchScript file before it is loaded: it must compute with tensors only.

Torch's interpreter runs the program in the file. It knows operations that read and write files
(`torch.from_file`, `torch.save`) and call other machines; these are refused.
"""

from __future__ import annotations

import io
import re
import zipfile

from cytoloop.errors import ModelError, truncate_lines

_MAX_RATIO, _MAX_UNPACKED = 20, 8 << 30
_CALL = re.compile(r"\b(torch|ops)\.([A-Za-z_]\w*)(?:\.([A-Za-z_]\w*))?")
_LIBRARIES = ("aten", "prim", "quantized", "torchvision")
"""Namespaces of operations that a graph may use."""
_REFUSED = re.compile(
    r"from_file|save|load.*|_load.*|_save.*|rpc.*|remote.*|fork|classes|distributed.*"
)
"""Operations on files, other processes and machines, and classes in C++."""


def check_torchscript(where: str, content: bytes) -> None:
    """Refuse a TorchScript file that does more than computing with tensors.

    Parameters
    ----------
    where : str
        The file, for messages.
    content : bytes
        Of the file.

    Raises
    ------
    ModelError
        The file is damaged, unpacks to much more than its size, or names refused operations.
    """
    repair = "It is not loaded. Take other weights, or a package that you trust."
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > _MAX_UNPACKED or size > _MAX_RATIO * len(content) + (1 << 20):
                found = f"unpacks to {size} bytes from {len(content)}"
                raise ModelError(where, found, repair)
            names = [name for name in archive.namelist() if name.endswith(".py")]
            code = [archive.read(name).decode("utf-8", "replace") for name in names]
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise ModelError(
            where, "is not a TorchScript file: damaged, or of torch before 1.6", "Copy it again."
        ) from error
    if not code:
        raise ModelError(where, "holds no TorchScript program", "Copy it again.")
    refused = sorted({name for text in code for name in _refused_calls(text)})
    if refused:
        problems = [f"uses {name}, which is no computation with tensors" for name in refused]
        raise ModelError(where, truncate_lines(problems, 6), repair)


def _refused_calls(code: str) -> list[str]:
    """Return the operations of a program that are refused."""
    found = []
    for match in _CALL.finditer(code):
        space, name, inner = match.groups()
        if space == "ops":
            refused = name not in _LIBRARIES or bool(_REFUSED.fullmatch(inner or ""))
        else:
            refused = bool(_REFUSED.fullmatch(name))
        if refused:
            found.append(match[0])
    return found
