"""Small private files, replaced whole, so that a reader never meets half of one."""

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["private_folder", "read_json", "tail", "write_private"]


def private_folder(path: Path) -> Path:
    """The folder, made if need be, readable by its owner alone."""
    path.mkdir(parents=True, exist_ok=True)
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)
    return path


def write_private(path: Path, text: str) -> None:
    """Replaces `path` atomically; mode 0600 from the first byte on."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """An empty document when there is no such file, or one that is not JSON."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a text file that may be large, or not there."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 64 * 1024 * (1 + lines // 200)))
            return file.read().decode("utf-8", "replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []
