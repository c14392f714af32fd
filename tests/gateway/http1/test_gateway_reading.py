"""Answers out of bytes: read the same however they are cut, never taken for whole when they are not, and refused when two readers
could take them for different things."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.http1.answer import Answer
from gateway.adapters.http1.reading import MAX_AROUND_CHUNKS, MAX_FIELDS, MAX_HEADER_BYTES, AnswerReader, Malformed
from gateway.adapters.http1.requests import NoRequest, Origin


class Nowhere:
    """What an answer comes by, where nobody waits for it."""

    def wait(self, seconds: float) -> None:
        pass

    def abort(self) -> None:
        pass


@dataclass
class Read:
    status: int
    fields: list[tuple[bytes, bytes]]
    body: bytes
    is_whole: bool
    is_reusable: bool


def read(*pieces: bytes, is_head: bool = False) -> Read:
    """Malformed; whatever has come."""
    reader, answer, body = AnswerReader(), Answer(Nowhere()), b""
    reader.expect(answer, is_head=is_head)
    for piece in pieces:
        reader.feed(piece)
        while taken := answer.take():
            body += taken
    return Read(answer.status, answer.fields, body, answer.is_whole, reader.is_reusable)


@dataclass
class Sent:
    raw: bytes
    status: int
    fields: list[tuple[bytes, bytes]]
    body: bytes


NAMES = st.sampled_from(["ETag", "x-a", "Vary", "X-Long-Name", "surrogate-KEY"])
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40).map(str.strip)


@st.composite
def sent_answers(draw: st.DrawFn) -> Sent:
    body = draw(st.binary(max_size=300))
    fields = draw(st.lists(st.tuples(NAMES, VALUES), max_size=6))
    status = draw(st.sampled_from([200, 206, 404, 503]))
    ends = draw(st.lists(st.integers(1, 300), max_size=5))
    is_chunked = draw(st.booleans())
    fields.insert(draw(st.integers(0, len(fields))), framing(is_chunked, len(body)))
    before = draw(st.sampled_from([b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" * 2]))
    header = f"HTTP/1.1 {status} Whatever\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
    coded = chunked(body, sorted(ends), draw(st.sampled_from([b"", b"X-Late: 1\r\n"]))) if is_chunked else body
    named = [(name.lower().encode(), value.encode()) for name, value in fields]
    return Sent(before + header.encode() + coded, status, named, body)


def framing(is_chunked: bool, length: int) -> tuple[str, str]:
    return ("Transfer-Encoding", "chunked") if is_chunked else ("Content-Length", str(length))


def chunked(body: bytes, ends: list[int], trailer: bytes) -> bytes:
    cut = [part for begin, end in zip([0, *ends], [*ends, len(body)], strict=True) if (part := body[begin:end])]
    return b"".join(b"%x;e=1\r\n%b\r\n" % (len(part), part) for part in cut) + b"0\r\n" + trailer + b"\r\n"


def cut_at(raw: bytes, places: list[int]) -> list[bytes]:
    places = sorted(place % (len(raw) + 1) for place in places)
    return [raw[begin:end] for begin, end in zip([0, *places], [*places, len(raw)], strict=True) if begin < end]


@given(sent_answers(), st.lists(st.integers(0, 2000), max_size=40))
def test_an_answer_is_read_the_same_however_it_is_cut(sent: Sent, places: list[int]) -> None:
    expected = Read(sent.status, sent.fields, sent.body, is_whole=True, is_reusable=True)
    assert read(sent.raw) == expected
    assert read(*cut_at(sent.raw, places)) == expected
    assert read(*(bytes([byte]) for byte in sent.raw)) == expected


@given(sent_answers(), st.integers(0, 2000), st.lists(st.integers(0, 2000), max_size=10))
def test_one_that_is_cut_off_anywhere_is_not_whole_and_what_has_come_of_it_is_right(
    sent: Sent, place: int, places: list[int]
) -> None:
    seen = read(*cut_at(sent.raw[: place % len(sent.raw)], places))
    assert not seen.is_whole
    assert sent.body.startswith(seen.body)


@given(sent_answers(), st.binary(min_size=1, max_size=30), st.lists(st.integers(0, 2000), max_size=10))
def test_what_comes_after_the_end_is_no_part_of_it_and_of_no_other(sent: Sent, more: bytes, places: list[int]) -> None:
    seen = read(sent.raw + b"HTTP" + more)
    assert (seen.body, seen.is_whole, seen.is_reusable) == (sent.body, True, False)
    with pytest.raises(Malformed):
        read(sent.raw, more)


def verdict(pieces: list[bytes]) -> tuple[int, list[tuple[bytes, bytes]], bytes, bool] | None:
    """What there is of the answer once it is whole, or no more comes; None where it was refused."""
    reader, answer, body = AnswerReader(), Answer(Nowhere()), b""
    reader.expect(answer)
    for piece in pieces:
        try:
            reader.feed(piece)
        except Malformed:
            return None
        while taken := answer.take():
            body += taken
        if answer.is_whole:
            break
    return answer.status, answer.fields, body, answer.is_whole


@given(sent_answers(), st.binary(max_size=400), st.integers(0, 2000), st.lists(st.integers(0, 2000), max_size=10))
def test_whether_wrong_bytes_are_refused_does_not_depend_on_how_they_are_cut(
    sent: Sent, wrong: bytes, place: int, places: list[int]
) -> None:
    place %= len(sent.raw)
    raw = sent.raw[:place] + wrong + sent.raw[place:]
    at_once = verdict([raw])
    in_pieces = verdict(cut_at(raw, places))
    assert at_once == in_pieces


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
REFUSED: dict[str, bytes] = {
    "no HTTP": b"\x16\x03\x01garbage\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a status below 100": b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "a status above 599": b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    "another protocol, unnamed": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "the same length twice": OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": OK + b"Content-Length: 2, 2\r\n\r\n{}",
    "a length with a sign": OK + b"Content-Length: +2\r\n\r\n{}",
    "a length beyond all bounds": OK + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "a length and chunks": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "neither": OK + b"Connection: close\r\n\r\nuntil it closes",
    "another coding": OK + b"Transfer-Encoding: gzip\r\n\r\n",
    "two codings": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked, and not last": OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "what looks like chunked": OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare LF after the status": b"HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\n{}",
    "bare LF after a field": OK + b"X: y\nContent-Length: 2\r\n\r\n{}",
    "bare LF at the end": OK + b"Content-Length: 2\r\n\n{}",
    "bare CR in a field": OK + b"X: y\rContent-Length: 2\r\n\r\n{}",
    "NUL in a field": OK + b"X: a\0b\r\nContent-Length: 2\r\n\r\n{}",
    "a folded field": OK + b"X: y\r\n z\r\nContent-Length: 2\r\n\r\n{}",
    "a blank before the colon": OK + b"Content-Length : 2\r\n\r\n{}",
    "a field without a name": OK + b": y\r\nContent-Length: 2\r\n\r\n{}",
    "a line that is no field": OK + b"nonsense\r\nContent-Length: 2\r\n\r\n{}",
    "bare LF after a size": CHUNKED + b"2\n{}\r\n0\r\n\r\n",
    "bare LF after a chunk": CHUNKED + b"2\r\n{}\n0\r\n\r\n",
    "a size with a blank": CHUNKED + b"2 \r\n{}\r\n0\r\n\r\n",
    "a size with 0x": CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n",
    "a size beyond all bounds": CHUNKED + b"f" * 17 + b"\r\n",
    "a chunk longer than its size": CHUNKED + b"2\r\n{}}\r\n0\r\n\r\n",
    "too many fields": OK + b"X: y\r\n" * MAX_FIELDS + b"Content-Length: 2\r\n\r\n{}",
    "a header too long": OK + b"X: %b\r\n\r\n" % (b"y" * MAX_HEADER_BYTES),
    "answers before it for ever": b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" * (MAX_FIELDS + 1),
    "empty answers before it for ever": b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_HEADER_BYTES // 16 + 1),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("at_once", [1 << 20, 1000, 1])
def test_what_could_be_read_in_two_ways_is_refused(name: str, at_once: int) -> None:
    raw = REFUSED[name]
    with pytest.raises(Malformed):
        read(*(raw[begin : begin + at_once] for begin in range(0, len(raw), at_once)))


@pytest.mark.parametrize("begun", [b"HTTP/1.1 200 ", OK + b"X", OK + b"X: "], ids=["status", "name", "value"])
def test_a_header_that_never_ends_is_not_kept_for_ever(begun: bytes) -> None:
    with pytest.raises(Malformed):
        read(begun, *[b"y" * 1024] * (MAX_HEADER_BYTES // 1024 + 1))


@pytest.mark.parametrize("begun", [b"1;", b"0\r\nX: "], ids=["extension", "after the body"])
def test_what_surrounds_chunks_is_bounded(begun: bytes) -> None:
    with pytest.raises(Malformed):
        read(CHUNKED, begun, *[b"y" * 1024] * (MAX_AROUND_CHUNKS // 1024 + 1))


def test_many_chunks_of_one_byte_are_no_fault() -> None:
    count = MAX_AROUND_CHUNKS
    seen = read(CHUNKED, *[b"1\r\n.\r\n" * 64] * (count // 64), b"0\r\n\r\n")
    assert (seen.body, seen.is_whole, seen.is_reusable) == (b"." * count, True, True)


@pytest.mark.parametrize("status", [204, 304])
def test_some_have_no_body_whatever_they_say_of_one(status: int) -> None:
    answer = b"HTTP/1.1 %d .\r\n%b\r\n"
    for said in (b"", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"):
        seen = read(answer % (status, said))
        assert (seen.status, seen.body, seen.is_whole, seen.is_reusable) == (status, b"", True, True)
        assert not read(answer % (status, said) + b"12345").is_reusable


def test_an_answer_to_head_ends_with_its_header() -> None:
    said = OK + b"Content-Length: 5\r\n\r\n"
    for pieces in ([said], [said + b"12345"]):
        seen = read(*pieces, is_head=True)
        assert (seen.status, seen.body, seen.is_whole, seen.is_reusable) == (200, b"", True, False)


@pytest.mark.parametrize("said", [b"HTTP/1.1 200 OK\r\nConnection: close\r\n", b"HTTP/1.0 200 OK\r\n"])
def test_a_connection_that_closes_is_not_used_again(said: bytes) -> None:
    seen = read(said + b"Content-Length: 2\r\n\r\n{}")
    assert (seen.body, seen.is_whole, seen.is_reusable) == (b"{}", True, False)


def test_a_field_after_the_body_is_none_of_the_header() -> None:
    seen = read(CHUNKED + b"2\r\n{}\r\n0\r\nETag: x\r\n\r\n")
    assert (seen.fields, seen.body) == ([(b"transfer-encoding", b"chunked")], b"{}")


# ----- requests

AT = Origin.of("http://service:1234")
TEXT = st.text(st.characters(max_codepoint=0x17F), max_size=20)


@given(TEXT, TEXT, TEXT, TEXT, st.one_of(st.none(), st.integers(0, 9)))
def test_nothing_that_is_put_into_a_request_begins_another_line(
    method: str, target: str, name: str, value: str, length: int | None
) -> None:
    try:
        header = AT.header(method, target, {name: value, "X-Next": "1"}, length)
    except NoRequest:
        return
    first, host, field, following, *framing_lines = header.decode("latin-1").split("\r\n")
    assert (first, host) == (f"{method} {target} HTTP/1.1", "Host: service:1234")
    assert (field, following) == (f"{name}: {value}", "X-Next: 1")
    assert not {"\r", "\n", "\0"} & set("".join([first, field]))
    assert len(framing_lines) in (2, 3)
    assert framing_lines[-2:] == ["", ""]


@pytest.mark.parametrize("bad", ["\r\nX: y", "\n", "\r", "\0", "a\r\n\r\nGET /b HTTP/1.1", "\u0100"])
def test_a_field_of_more_than_a_line_is_no_request(bad: str) -> None:
    for method, target, name, value in (
        ("GET", "/", "X", bad),
        ("GET", "/", bad, "y"),
        ("GET", f"/{bad}", "X", "y"),
        (bad, "/", "X", "y"),
    ):
        with pytest.raises(NoRequest):
            AT.header(method, target, {name: value}, 0)


@pytest.mark.parametrize(
    "name", ["Host", "content-length", "Transfer-Encoding", "Connection", "Upgrade", "Expect", "TE", "Trailer"]
)
def test_what_says_where_a_request_ends_is_not_the_callers_to_say(name: str) -> None:
    with pytest.raises(NoRequest):
        AT.header("GET", "/", {name: "1"}, 0)


@pytest.mark.parametrize("target", ["", "a", "*", "http://other/", "/a b", "/a#b", "/é"])
def test_a_target_is_a_path(target: str) -> None:
    with pytest.raises(NoRequest):
        AT.header("GET", target, {}, 0)


@pytest.mark.parametrize(
    ("url", "connect", "begins"),
    [
        ("http://service", ("service", 80, False), b"GET /a HTTP/1.1\r\nHost: service\r\n"),
        ("http://service:8080/", ("service", 8080, False), b"GET /a HTTP/1.1\r\nHost: service:8080\r\n"),
        ("https://service/base/path", ("service", 443, True), b"GET /base/path/a HTTP/1.1\r\nHost: service\r\n"),
        ("http://[::1]:8080", ("::1", 8080, False), b"GET /a HTTP/1.1\r\nHost: [::1]:8080\r\n"),
        ("http://[fe80::1%25eth0]", ("fe80::1%25eth0", 80, False), b"GET /a HTTP/1.1\r\nHost: [fe80::1]\r\n"),
        ("http://bücher", ("xn--bcher-kva", 80, False), b"GET /a HTTP/1.1\r\nHost: xn--bcher-kva\r\n"),
        ("http://u:p%40@s", ("s", 80, False), b"GET /a HTTP/1.1\r\nHost: s\r\nAuthorization: Basic dTpwQA==\r\n"),
    ],
)
def test_a_base_url_says_where_to_connect_and_what_a_request_begins_with(
    url: str, connect: tuple[str, int, bool], begins: bytes
) -> None:
    origin = Origin.of(url)
    assert (origin.host, origin.port, origin.is_tls) == connect
    assert origin.header("GET", "/a", {}, 0) == begins + b"\r\n"


@pytest.mark.parametrize(
    "url", ["ftp://a", "http://", "//a", "http://a?b=c", "http://a#b", "http://a/b c", "http://a\x00b", "http://a b"]
)
def test_what_is_no_base_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="this is no"):
        Origin.of(url)


@pytest.mark.parametrize(
    ("method", "length", "said"),
    [
        ("GET", 0, b""),
        ("HEAD", 0, b""),
        ("POST", 0, b"Content-Length: 0\r\n"),
        ("DELETE", 0, b"Content-Length: 0\r\n"),
        ("GET", 3, b"Content-Length: 3\r\n"),
        ("POST", None, b"Transfer-Encoding: chunked\r\n"),
    ],
)
def test_a_request_says_where_it_ends(method: str, length: int | None, said: bytes) -> None:
    header = AT.header(method, "/", {}, length)
    assert header == method.encode() + b" / HTTP/1.1\r\nHost: service:1234\r\n" + said + b"\r\n"
