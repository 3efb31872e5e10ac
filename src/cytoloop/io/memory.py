"""Free memory of this machine and its containers."""

from __future__ import annotations

from pathlib import Path

import psutil


def free_memory(
    groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> int:
    """Return the bytes that this process may still take, within machine and containers.

    The page cache counts as free: the kernel drops it as soon as a process needs memory.

    Parameters
    ----------
    groups : Path
        Folder of Linux's control groups (version 2, else version 1).
    own : Path
        File that lists the groups of this process; the groups above them limit it as well.
    """
    free = int(psutil.virtual_memory().available)
    for folder, limit, used, prefix in (
        (groups, "memory.max", "memory.current", ""),
        (groups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    ):
        for group in _with_parents(folder, own):
            try:
                allowed = int((group / limit).read_text())  # "max" means no limit
                taken = int((group / used).read_text()) - _page_cache(group, prefix)
                free = min(free, max(allowed - taken, 0))
            except (OSError, ValueError):
                continue
    return free


def _with_parents(folder: Path, own: Path) -> set[Path]:
    """Return a folder and the memory groups of this process in it."""
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return {folder}
    # version 2: 0::/path, version 1: 4:memory:/path; inside a container the path may not exist
    paths = [
        Path(path.strip("/")) for _, name, path in lines if {"", "memory"} & set(name.split(","))
    ]
    return {folder, *(folder / one for path in paths for one in (path, *path.parents))}


def _page_cache(group: Path, prefix: str) -> int:
    """Return the bytes of a group that are page cache."""
    try:
        lines = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return sum(int(lines.get(f"{prefix}{name}_file", 0)) for name in ("active", "inactive"))
