"""Reading logs as they grow."""

import json
from pathlib import Path
from typing import Any

__all__ = ["Follower", "parsed"]

_CHUNK = 256 * 1024


class Follower:
    """The lines added to a file since the last look; it may be missing, or replaced by a new one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = self._size()

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def lines(self) -> list[str]:
        """At most 256 KiB of them; of more, the newest."""
        size = self._size()
        if size < self._offset:
            self._offset = 0
        if size == self._offset:
            return []
        start = max(self._offset, size - _CHUNK)
        with self._path.open("rb") as file:
            file.seek(start)
            whole, newline, _ = file.read(_CHUNK).rpartition(b"\n")
        skipped = start > self._offset
        self._offset = start + len(whole) + len(newline)
        lines = whole.decode("utf-8", "replace").splitlines()
        return lines[1:] if skipped else lines  # the first of them would be cut


def parsed(line: str) -> dict[str, Any] | None:
    """A line of JSON; None for anything else, such as a traceback."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
