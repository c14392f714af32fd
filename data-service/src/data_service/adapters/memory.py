"""How much memory this process may have: its container's, or else the machine's.

cgroup v2: `memory.max` of its group and of those around it (Linux, Documentation/admin-guide/cgroup-v2.rst); v1:
`memory.limit_in_bytes` of the controller `memory`. In a container its own group is where the file system of groups is mounted,
and what /proc/self/cgroup says may stand outside of it.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["memory_bound"]

_GROUPS = PurePosixPath("sys/fs/cgroup")


def memory_bound(root: Path = Path("/"), machine: int | None = None) -> int:
    """In bytes; `root` and `machine` stand for others in tests."""
    if machine is None:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_of_groups(root)])


def _of_groups(root: Path) -> Iterator[int]:
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _around(root / _GROUPS, path, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _around(root / _GROUPS / "memory", path, "memory.limit_in_bytes")


def _around(mount: Path, path: str, name: str) -> Iterator[int]:
    """Of a group and of each that it stands in."""
    parts = PurePosixPath(path).parts[1:]
    for depth in range(len(parts) + 1):
        text = _text(mount.joinpath(*parts[:depth], name)).strip() if ".." not in parts[:depth] else ""
        if text.isdecimal():  # `max` is no bound
            yield int(text)


def _text(path: Path) -> str:
    try:
        return os.fsdecode(path.read_bytes())  # as file names are: a group may have any
    except OSError:
        return ""
