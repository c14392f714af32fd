"""What a service answered, made ready to be given any number of times."""

from collections.abc import Iterable

from gateway.adapters.upstreams import UpstreamAnswer
from gateway.domain.caching import LONGEST, SURROGATE_KEY, Tags, tags_in
from shared.at_once import Fields, lines_of
from shared.conditional import etag_matches

__all__ = ["CommonFields", "Given", "ReadyAnswer", "client_has", "is_keepable", "of_304", "told"]

_NOT_OF_304 = frozenset({b"content-length", b"content-type"})
"""RFC 9110, section 15.4.5: what a 200 would say is said, but for what describes a body that is not there."""


_DROPPED = frozenset({SURROGATE_KEY, b"x-request-id"})
"""Of a service's fields: for the edge alone, and what the edge says for itself."""


_VARY = (b"vary", b"Origin")


class CommonFields:
    """What every answer says, whoever gives it, unless it says it otherwise.

    `hsts_s` is for how long browsers are to come by TLS alone (RFC 6797); 0 says nothing about it.
    """

    def __init__(self, hsts_s: int) -> None:
        self._defaults: Fields = [
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cache-control", b"no-store"),
        ]
        if hsts_s:
            self._defaults.append((b"strict-transport-security", b"max-age=%d; includeSubDomains" % hsts_s))

    def complete(self, fields: Fields) -> Fields:
        """What depends on the asking page is not for another: `Vary` names `Origin`, whatever else it names."""
        said = dict(fields)
        fields = fields + [field for field in self._defaults if field[0] not in said]
        if b"vary" not in said:
            return [*fields, _VARY]
        varies = [value for name, value in fields if name == b"vary"]
        if any(b"origin" in value.lower() for value in varies):
            return fields
        return [*(field for field in fields if field[0] != b"vary"), (b"vary", b", ".join([*varies, b"Origin"]))]


class Given:
    """Status, header fields and body of an answer that is whole; `lines` are the fields as they go onto the wire."""

    __slots__ = ("body", "fields", "lines", "status")

    def __init__(self, status: int, fields: Fields, body: bytes) -> None:
        self.status = status
        self.fields = fields
        self.lines = lines_of(fields)
        self.body = body


class ReadyAnswer:
    """A 200 that is kept or shared, and the 304 for those who have it."""

    __slots__ = ("_not_modified", "_whole", "etag", "size", "tags")

    def __init__(self, headers: Iterable[tuple[bytes, bytes]], body: bytes, common: CommonFields) -> None:
        fields = common.complete(told(headers))
        self.tags: Tags = _tags_of(headers) or ()
        self.etag = next((value for name, value in headers if name == b"etag"), None)
        self._whole = Given(200, fields, body)
        self._not_modified = Given(304, of_304(fields), b"")
        self.size = len(body) + 3 * len(self._whole.lines)

    def for_client(self, if_none_match: bytes | None) -> Given:
        return self._not_modified if client_has(self.etag, if_none_match) else self._whole


def is_keepable(upstream: UpstreamAnswer) -> bool:
    """A 200 that its service has wholly tagged, and that is not too long."""
    length = upstream.header(b"content-length")
    is_tagged = upstream.status == 200 and _tags_of(upstream.headers) is not None
    return is_tagged and length is not None and int(length) <= LONGEST


def _tags_of(headers: Iterable[tuple[bytes, bytes]]) -> Tags | None:
    """Of all fields of that name together (RFC 9110, section 5.3)."""
    return tags_in(b" ".join([value for name, value in headers if name == SURROGATE_KEY]))


def of_304(fields: Fields) -> Fields:
    """Of a 200's fields, those of the 304 in its place."""
    return [field for field in fields if field[0] not in _NOT_OF_304]


def client_has(etag: bytes | None, if_none_match: bytes | None) -> bool:
    return (
        etag is not None and if_none_match is not None and etag_matches(if_none_match.decode("latin-1"), etag.decode("latin-1"))
    )


def told(headers: Iterable[tuple[bytes, bytes]]) -> Fields:
    """What of a service's headers is for the client."""
    return [(name, value) for name, value in headers if name not in _DROPPED]
