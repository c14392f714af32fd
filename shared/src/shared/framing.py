"""What a request must be, beyond what the parser sees to, for no two servers in a row to read it differently.

RFC 9112, 3     a target is a path; `http://…`, `host:port` and `*` ask a proxy, a tunnel or a server as a whole
RFC 9112, 3.2   exactly one Host, and that a host
RFC 9112, 6.1   Transfer-Encoding is `chunked` or not there, and never in HTTP/1.0
RFC 9110, 7.8   an Upgrade may be passed over; but the parser then ends a message with its header, and takes what was its body
                for the next one
RFC 9110, 9.1   methods that somebody here answers; TRACE sends a credential back to whoever made a browser send it
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

__all__ = ["METHODS", "MOST_PARAMETERS", "Fault", "fault_of"]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_METHODS = frozenset(method.encode() for method in METHODS)
_VERSIONS = frozenset({"1.1", "1.0"})
MOST_PARAMETERS = 256
"""Of a query, which is read before it is known who asks."""
_LONGEST_HOST = 255 + 6
"""Bytes of a name (RFC 1035, section 2.3.4) and a port."""
_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")


class Fault(NamedTuple):
    """`why` is a word for metrics."""

    status: int
    why: str
    detail: str


_VERSION = Fault(400, "version", "this server speaks HTTP/1.1")
_METHOD = Fault(405, "method", "nothing here answers this method")
_TARGET = Fault(400, "target", "the target of a request is a path")
_MANY_PARAMETERS = Fault(414, "parameters", f"a query has at most {MOST_PARAMETERS} parameters")
_HOSTS = Fault(400, "host", "exactly one Host is required")
_CODING = Fault(400, "coding", "no Transfer-Encoding but chunked, and that in HTTP/1.1")
_UPGRADE = Fault(400, "upgrade", "a request with a body cannot ask for another protocol: send it without Upgrade")


def fault_of(
    method: bytes, version: str, target: bytes, headers: Sequence[tuple[bytes, bytes]], *, upgrades: bool
) -> Fault | None:
    """Of a header that is complete, names in lower case; `upgrades`: the parser takes it for the last of HTTP."""
    if version not in _VERSIONS:
        return _VERSION
    if method not in _METHODS:
        return _METHOD
    if not target.startswith(b"/") or b"#" in target:
        return _TARGET
    if target.count(b"&") >= MOST_PARAMETERS:
        return _MANY_PARAMETERS
    sent = dict(headers)
    host = sent.get(b"host", b"")
    if len(host) > _LONGEST_HOST or not _is_host(host) or (len(sent) != len(headers) and _count(headers, b"host") != 1):
        return _HOSTS
    return _fault_of_body(version, sent, upgrades)


@lru_cache(1024)
def _is_host(value: bytes) -> bool:
    """Remembered, for a process has few names."""
    return _HOST.fullmatch(value) is not None


def _count(headers: Sequence[tuple[bytes, bytes]], wanted: bytes) -> int:
    return sum(name == wanted for name, _ in headers)


def _fault_of_body(version: str, headers: dict[bytes, bytes], upgrades: bool) -> Fault | None:  # noqa: FBT001 - as above
    """The parser has refused any two of the fields that say where a body ends."""
    coding = headers.get(b"transfer-encoding")
    if coding is not None and (version == "1.0" or coding.lower() != b"chunked"):
        return _CODING
    return _UPGRADE if upgrades and (coding is not None or b"content-length" in headers) else None
