"""The line of the log that tells of a request."""

from shared.logging import get_logger

__all__ = ["log_request"]

_log = get_logger("request")


def log_request(method: str, path: str, status: int, seconds: float, *, quiet: bool = False) -> None:
    level = _log.debug if quiet else _log.info
    level("request", method=method, path=path, status=status, ms=round(seconds * 1000, 2))
