"""The answer to what is no request, which no application has seen, as it goes onto the wire."""

from collections.abc import Iterable
from http import HTTPStatus

from shared.at_once import lines_of
from shared.framing import METHODS
from shared.problems import MEDIA_TYPE, problem_body

__all__ = ["refusal"]

_LONGEST_INSTANCE = 2048


def refusal(
    status: int, detail: str, target: bytes, request_id: str, default_headers: Iterable[tuple[bytes, bytes]], slug: str = ""
) -> bytes:
    """A problem, and the last answer of its connection. Without `slug` its type is named as its status is."""
    instance = target.decode("latin-1") if len(target) <= _LONGEST_INSTANCE else ""
    title = HTTPStatus(status).phrase
    slug = slug or title.lower().replace(" ", "-")
    body = problem_body(status, slug, title, detail, instance=instance, members={"request_id": request_id})
    fields = [
        *default_headers,
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        fields.append((b"allow", ", ".join(METHODS).encode()))
    return b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (status, title.encode(), lines_of(fields), body)
