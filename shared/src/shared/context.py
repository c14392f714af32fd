"""What is known about the request being served, for logs, problems and calls to other services."""

import re
from contextvars import ContextVar

from shared.ids import new_id_text

__all__ = ["REQUEST_ID", "current_request_id", "sane_request_id"]

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
_SANE = re.compile(rb"[A-Za-z0-9._~-]{1,128}")


def current_request_id() -> str:
    return REQUEST_ID.get()


def sane_request_id(sent: bytes | None) -> str:
    """The client's own request id where it is 1–128 unreserved characters (RFC 3986, section 2.3), else a new one."""
    if sent is not None and _SANE.fullmatch(sent):
        return sent.decode("ascii")
    return new_id_text()
