"""The header of a request, as it goes onto the wire: nothing that is put into it can begin another line, or another request."""

import base64
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Self
from urllib.parse import unquote, urlsplit

__all__ = ["NoRequest", "Origin"]

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""RFC 9110, section 5.6.2."""
_OURS = frozenset({"host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer", "expect"})
"""What says where a request ends and who reads it is said here."""
_TARGET = re.compile(r"/[!\"$-~]*")
"""Printable ASCII, but for blanks and `#`."""
_HOST = re.compile(r"[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\]")
_UNBODIED = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that say nothing of a body that is not there (RFC 9110, section 8.6)."""
_PORTS = {"http": 80, "https": 443}


class NoRequest(ValueError):
    """This cannot be sent as a request."""


class Origin:
    """What a base URL says: where to connect to, and what each request there begins with."""

    __slots__ = ("_before", "_count", "_lines", "host", "is_tls", "port")

    def __init__(self, host: str, port: int, *, is_tls: bool, authority: str, path: str, user: str) -> None:
        self.host = host
        self.port = port
        self.is_tls = is_tls
        self._before = path
        self._lines = f" HTTP/1.1\r\nHost: {authority}\r\n"
        if user:
            self._lines += f"Authorization: Basic {base64.b64encode(user.encode()).decode()}\r\n"
        self._count = self._lines.count("\n")

    @classmethod
    def of(cls, url: str) -> Self:
        """ValueError for what is no base URL: one of http or https, with a host, without query or fragment."""
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname or parts.query or parts.fragment or not _is_target(parts.path or "/"):
            raise ValueError("this is no base URL of a service")
        host = parts.hostname if ":" in parts.hostname else parts.hostname.encode("idna").decode()
        port = parts.port or _PORTS[parts.scheme]
        name = f"[{host.partition('%')[0]}]" if ":" in host else host
        if not _HOST.fullmatch(name):
            raise ValueError("this is no host")
        authority = name if port == _PORTS[parts.scheme] else f"{name}:{port}"
        user = unquote(f"{parts.username or ''}:{parts.password or ''}")
        is_tls = parts.scheme == "https"
        return cls(host, port, is_tls=is_tls, authority=authority, path=parts.path.rstrip("/"), user=user if user != ":" else "")

    def header(self, method: str, target: str, fields: Mapping[str, str], length: int | None) -> bytes:
        """All up to the body, of `length` bytes, or in chunks where that is None. NoRequest for what is no line of its own."""
        if not _is_target(target):
            raise NoRequest("the target is no path")
        lines = "".join([f"{_line_of(name)}{value}\r\n" for name, value in fields.items()])
        text = f"{_checked(method)} {self._before}{target}{self._lines}{lines}"
        count = self._count + len(fields)
        if text.count("\n") != count or text.count("\r") != count or "\0" in text:
            raise NoRequest("a field is more than one line")
        try:
            return text.encode("latin-1") + _framing(method, length)
        except UnicodeEncodeError:
            raise NoRequest("a field is not Latin-1") from None


def _is_target(target: str) -> bool:
    return _TARGET.fullmatch(target) is not None


def _framing(method: str, length: int | None) -> bytes:
    if length is None:
        return b"Transfer-Encoding: chunked\r\n\r\n"
    return b"Content-Length: %d\r\n\r\n" % length if length or method not in _UNBODIED else b"\r\n"


@lru_cache(256)
def _checked(token: str) -> str:
    if not _TOKEN.fullmatch(token):
        raise NoRequest("this is no name")
    return token


@lru_cache(256)
def _line_of(name: str) -> str:
    if name.lower() in _OURS:
        raise NoRequest(f"{name} is not the caller's to say")
    return f"{_checked(name)}: "
