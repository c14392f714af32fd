"""Answers out of bytes, strictly: what two readers in a row could take for different things is refused.

httptools refuses two lengths, a length beside chunks, bare CR or LF, blanks before a colon, folded fields and sizes that are no
numbers. Beyond that, here:

RFC 9112, 2.3   HTTP/1.1 or 1.0; a status is 200 to 599
RFC 9110, 15.2  answers before the answer (1xx) are passed over, within the bounds of one header; 101 is refused
RFC 9112, 6.1   Transfer-Encoding is `chunked`, once, and never in HTTP/1.0
RFC 9112, 6.3   a body says where it ends. One that ends with its connection could have been cut off anywhere, and is refused
RFC 9112, 6.3   to HEAD, and as 204 and 304, there is none, whatever the header says of one
RFC 9112, 7.1   64 KiB around the chunks of a body, and what follows it, and eight bytes more for each of its own

What comes after the end is no part of the answer, and nothing else may come by that connection.
"""

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from gateway.adapters.http1.answer import Answer

__all__ = ["BODILESS", "MAX_AROUND_CHUNKS", "MAX_FIELDS", "MAX_HEADER_BYTES", "AnswerReader", "Malformed"]

MAX_HEADER_BYTES = 64 * 1024
MAX_FIELDS = 100
MAX_AROUND_CHUNKS = 64 * 1024
_AROUND_A_BYTE = 8
"""A chunk of one byte has five or six around it."""
_LINE = 16
"""Bytes of a status line, at least."""
_VERSIONS = frozenset({"1.1", "1.0"})
_SWITCHING = 101
BODILESS = frozenset({204, 304})
"""Statuses of answers that have no body, whatever they say of one."""


class Malformed(Exception):
    """This is no answer."""


class _Surplus(Exception):
    """The answer was at its end before."""


class AnswerReader:
    """Fills the answer that is `expected`, of one connection; the next one is another's."""

    __slots__ = ("_answer", "_fields", "_header_bytes", "_is_head", "_parser", "_room", "is_reusable")

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self._answer: Answer | None = None
        self.is_reusable = True
        """Whether another request may follow, once an answer is whole."""

    def expect(self, answer: Answer, *, is_head: bool = False) -> None:
        """`is_head`: it is one to HEAD."""
        self._answer = answer
        self._is_head = is_head
        self._fields = self._header_bytes = 0
        self._room = MAX_HEADER_BYTES

    def feed(self, data: bytes) -> None:
        """Malformed; or the answer has what is in it of these bytes. None expected, any are Malformed."""
        answer = self._answer
        if answer is None:
            raise Malformed
        was_body = answer.has_head
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self.is_reusable = False
            if not answer.is_whole:
                raise Malformed from error
        if answer.is_whole:
            self._answer = None
        elif was_body or not answer.has_head:
            # the parser keeps what is not complete: a field, an extension of a chunk
            self._room -= len(data)
            if self._room < 0:
                raise Malformed

    def on_message_begin(self) -> None:
        answer = self._answer
        if answer is None or answer.is_whole:
            raise _Surplus
        answer.fields.clear()
        self._count(_LINE)

    def on_header(self, name: bytes, value: bytes) -> None:
        answer = self._answer
        assert answer is not None  # noqa: S101 - for the types
        if answer.has_head:
            return  # after the body: passed over (RFC 9110, section 6.5.1)
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise Malformed
        self._count(len(name) + len(value) + 4)
        answer.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        answer, parser = self._answer, self._parser
        assert answer is not None  # noqa: S101 - for the types
        status: int = parser.get_status_code()
        version = parser.get_http_version()
        if version not in _VERSIONS or not 100 <= status <= 599 or status == _SWITCHING:
            raise Malformed
        if status < 200:
            return
        answer.status = status
        if not self._is_head and status not in BODILESS:
            _check_framing(answer.fields, version)
        answer.has_head = True
        self._room = MAX_AROUND_CHUNKS
        if self._is_head:
            # the parser would wait for the body
            answer.is_whole = True
            raise _Surplus

    def on_body(self, body: bytes) -> None:
        self._room += _AROUND_A_BYTE * len(body)
        self._answer.add(body)  # type: ignore[union-attr]  # there is one, or the parser had been stopped

    def on_message_complete(self) -> None:
        answer = self._answer
        assert answer is not None  # noqa: S101 - for the types
        if answer.has_head:  # or it was a 1xx
            answer.is_whole = True
            self.is_reusable = self._parser.should_keep_alive()

    def _count(self, header_bytes: int) -> None:
        self._header_bytes += header_bytes
        if self._header_bytes > MAX_HEADER_BYTES:
            raise Malformed


def _check_framing(fields: list[tuple[bytes, bytes]], version: str) -> None:
    names = [name for name, _ in fields]
    if b"transfer-encoding" in names:
        codings = [value.lower() for name, value in fields if name == b"transfer-encoding"]
        if codings != [b"chunked"] or version == "1.0":
            raise Malformed
    elif b"content-length" not in names:
        raise Malformed
