"""Requests that no client sends by mistake, each a sentence and its bytes. In them `SMUGGLED` is what nobody has asked for.

They carry a key that may do everything, so that whatever got through would be served.
"""

KEY = b"{key}"
"""Where the header line of a key is to stand."""
HOST = b"Host: localhost\r\n"
THEN = b"{then}"
"""Where the client waits for what comes back before it goes on."""
PATH = b"/api/v1/indicators/rsi"
NEXT = b"GET /api/v1/symbols/SMUGGLED HTTP/1.1\r\n" + HOST + KEY + b"\r\n"
HELLO = b'{"a":1}'


def get(fields: bytes = b"", *, target: bytes = b"/api/v1/symbols/FIRST", version: bytes = b"HTTP/1.1") -> bytes:
    return b"GET " + target + b" " + version + b"\r\n" + HOST + KEY + fields + b"\r\n"


def post(fields: bytes, body: bytes = HELLO, *, version: bytes = b"HTTP/1.1") -> bytes:
    return b"POST " + PATH + b" " + version + b"\r\n" + HOST + KEY + fields + b"\r\n" + body


def sized(length: bytes, body: bytes = HELLO) -> bytes:
    return post(b"Content-Length: " + length + b"\r\n", body)


def coded(coding: bytes, body: bytes = b"0\r\n\r\n" + NEXT) -> bytes:
    return post(b"Transfer-Encoding: " + coding + b"\r\n", body)


def chunks(body: bytes) -> bytes:
    return coded(b"chunked", body)


LENGTHS = {
    "a length and a coding": post(b"Content-Length: 7\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + NEXT),
    "a coding and a length": post(b"Transfer-Encoding: chunked\r\nContent-Length: 7\r\n", b"0\r\n\r\n" + NEXT),
    "two lengths that differ": post(b"Content-Length: 7\r\nContent-Length: 0\r\n"),
    "two lengths that agree": post(b"Content-Length: 7\r\nContent-Length: 7\r\n"),
    "a list of lengths": sized(b"7, 7"),
    "a length with a plus": sized(b"+7"),
    "a length below nothing": sized(b"-7"),
    "a length in hexadecimal": sized(b"0x7"),
    "a length in two words": sized(b"7 7"),
    "a length with a fraction": sized(b"7.0"),
    "a length with an underscore": sized(b"0_7"),
    "a length in digits of another script": sized("٧".encode()),
    "a length and a vertical tab": sized(b"7\x0b"),
    "a length of nothing at all": sized(b""),
    "a length that wraps around at 64 bits": sized(b"18446744073709551623"),
    "a space before the colon of a length": post(b"Content-Length : 7\r\n"),
    "a tab before the colon of a length": post(b"Content-Length\t: 7\r\n"),
}
CODINGS = {
    "a space before the colon of a coding": post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n" + NEXT),
    "a coding that ends in chunked": coded(b"xchunked"),
    "a coding that begins with chunked": coded(b"chunkedx"),
    "chunked in quotes": coded(b'"chunked"'),
    "chunked with a parameter": coded(b"chunked;q=1"),
    "chunked twice": coded(b"chunked, chunked"),
    "chunked in two fields": post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + NEXT),
    "chunked, then another field that denies it": post(
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"0\r\n\r\n" + NEXT
    ),
    "identity": coded(b"identity"),
    "identity, of a GET": get(b"Transfer-Encoding: identity\r\n") + NEXT,
    "identity after chunked": coded(b"chunked, identity"),
    "gzip before chunked": coded(b"gzip, chunked"),
    "a vertical tab before chunked": coded(b"\x0bchunked"),
    "a coding of nothing": coded(b""),
    "a coding in HTTP/1.0": post(b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n" + NEXT, version=b"HTTP/1.0"),
    "a coding on the next line": post(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n" + NEXT),
}
LINES = {
    "a bare LF after the request line": b"GET /api/v1/symbols/FIRST HTTP/1.1\n" + HOST + KEY + b"\r\n",
    "a bare LF after a field": get(b"A: b\n"),
    "a bare LF in a field, with a length behind it": get(b"A: b\nContent-Length: 7\r\n"),
    "a bare LF in place of the last line": b"GET /api/v1/symbols/FIRST HTTP/1.1\r\n" + HOST + KEY + b"\n" + NEXT,
    "nothing but bare LFs": b"GET /api/v1/symbols/FIRST HTTP/1.1\nHost: localhost\n\n",
    "a bare CR in a value": get(b"A: b\rc\r\n"),
    "a bare CR in a name": get(b"A\rB: c\r\n"),
    "a bare CR in the target": get(target=b"/api/v1/symbols/A\rB"),
    "CR CR LF": b"GET /api/v1/symbols/FIRST HTTP/1.1\r\r\n" + HOST + KEY + b"\r\n",
    "CR CR LF at the end": b"GET /api/v1/symbols/FIRST HTTP/1.1\r\n" + HOST + KEY + b"\r\r\n" + NEXT,
    "a value that goes on in the next line": get(b"A: b\r\n c\r\n"),
    "a value that goes on after a tab": get(b"A: b\r\n\tc\r\n"),
    "a length in the next line": post(b"Content-Length:\r\n 7\r\n"),
    "a first field that begins with a space": b"GET /api/v1/symbols/FIRST HTTP/1.1\r\n " + HOST + KEY + b"\r\n",
    "a field without a colon": get(b"Nonsense\r\n"),
    "a field without a name": get(b": x\r\n"),
    "a space in a name": get(b"A B: c\r\n"),
    "a bracket in a name": get(b"A(B: c\r\n"),
    "a letter beyond ASCII in a name": get("Ä: c\r\n".encode()),
    "NUL in a name": get(b"A\0B: c\r\n"),
    "NUL in a value": get(b"A: b\0c\r\n"),
    "NUL in the target": get(target=b"/api/v1/symbols/A\0B"),
    "a control character in a value": get(b"A: b\x01c\r\n"),
    "DEL in a value": get(b"A: b\x7fc\r\n"),
}
CHUNKS = {
    "a chunk of less than nothing": chunks(b"-1\r\n" + HELLO + b"\r\n0\r\n\r\n" + NEXT),
    "a chunk's size with a plus": chunks(b"+7\r\n" + HELLO + b"\r\n0\r\n\r\n" + NEXT),
    "a chunk's size with 0x": chunks(b"0x7\r\n" + HELLO + b"\r\n0\r\n\r\n" + NEXT),
    "a chunk's size with an underscore": chunks(b"0_7\r\n" + HELLO + b"\r\n0\r\n\r\n" + NEXT),
    "a chunk's size with a space before it": chunks(b" 7\r\n" + HELLO + b"\r\n0\r\n\r\n" + NEXT),
    "a chunk's size with a space after it": chunks(b"7 \r\n" + HELLO + b"\r\n0\r\n\r\n" + NEXT),
    "a chunk without a size": chunks(b"\r\n" + HELLO + b"\r\n0\r\n\r\n" + NEXT),
    "a chunk's size beyond 64 bits": chunks(b"10000000000000007\r\n" + HELLO + b"\r\n0\r\n\r\n" + NEXT),
    "a chunk with more in it than it says": chunks(b"3\r\n" + HELLO + b"\r\n0\r\n\r\n" + NEXT),
    "a chunk without its last CRLF": chunks(b"7\r\n" + HELLO + b"0\r\n\r\n" + NEXT),
    "a bare LF after a chunk's size": chunks(b"7\n" + HELLO + b"\r\n0\r\n\r\n" + NEXT),
    "a bare CR after a chunk's size": chunks(b"7\r" + HELLO + b"\r\n0\r\n\r\n" + NEXT),
    "a bare LF after a chunk": chunks(b"7\r\n" + HELLO + b"\n0\r\n\r\n" + NEXT),
    "a bare LF after the last chunk": chunks(b"7\r\n" + HELLO + b"\r\n0\r\n\n" + NEXT),
    "a bare LF in a chunk's extension": chunks(b"7;a\nb\r\n" + HELLO + b"\r\n0\r\n\r\n" + NEXT),
    "a length after the body": chunks(b"7\r\n" + HELLO + b"\r\n0\r\nContent-Length: 99\r\n\r\n" + NEXT),
    "a coding after the body": chunks(b"7\r\n" + HELLO + b"\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n" + NEXT),
    "the next request in place of the last CRLF": chunks(b"7\r\n" + HELLO + b"\r\n0\r\n" + NEXT),
}
VERSIONS = {
    "HTTP/0.9": b"GET /api/v1/symbols/FIRST\r\n\r\n",
    "HTTP/0.9 and fields": b"GET /api/v1/symbols/FIRST\r\n" + HOST + KEY + b"\r\n",
    "HTTP/1.2": get(version=b"HTTP/1.2"),
    "HTTP/1.10": get(version=b"HTTP/1.10"),
    "HTTP/2.0": get(version=b"HTTP/2.0"),
    "http/1.1": get(version=b"http/1.1"),
    "a space after the version": get(version=b"HTTP/1.1 "),
    "the first bytes of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0",
    "the first bytes of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "a method in small letters": b"get /api/v1/symbols/FIRST HTTP/1.1\r\n" + HOST + KEY + b"\r\n",
    "a method that there is not": b"SMUGGLE /api/v1/symbols/FIRST HTTP/1.1\r\n" + HOST + KEY + b"\r\n",
    "tabs between the words": b"GET\t/api/v1/symbols/FIRST\tHTTP/1.1\r\n" + HOST + KEY + b"\r\n",
}
TARGETS = {
    "a whole URL": get(target=b"http://elsewhere/api/v1/symbols/FIRST"),
    "a whole URL of this host": get(target=b"http://localhost/api/v1/symbols/FIRST"),
    "a host and a port": get(target=b"elsewhere:80"),
    "OPTIONS *": b"OPTIONS * HTTP/1.1\r\n" + HOST + KEY + b"\r\n",
    "GET *": get(target=b"*"),
    "a path that does not begin with a slash": get(target=b"api/v1/symbols/FIRST"),
    "a fragment": get(target=b"/api/v1/symbols/FIRST#SMUGGLED"),
    "a letter beyond ASCII": get(target="/api/v1/symbols/Ä".encode()),
    "a backslash to begin with": get(target=b"\\api\\v1\\symbols\\FIRST"),
}
HOSTS = {
    "no Host": b"GET /api/v1/symbols/FIRST HTTP/1.1\r\n" + KEY + b"\r\n",
    "two Hosts": get(b"Host: elsewhere\r\n"),
    "a list of Hosts": b"GET /api/v1/symbols/FIRST HTTP/1.1\r\nHost: localhost, elsewhere\r\n" + KEY + b"\r\n",
    "somebody at a Host": b"GET /api/v1/symbols/FIRST HTTP/1.1\r\nHost: localhost@elsewhere\r\n" + KEY + b"\r\n",
    "a Host with a path": b"GET /api/v1/symbols/FIRST HTTP/1.1\r\nHost: localhost/elsewhere\r\n" + KEY + b"\r\n",
    "a Host of nothing": b"GET /api/v1/symbols/FIRST HTTP/1.1\r\nHost:\r\n" + KEY + b"\r\n",
    "a Host after the body alone": b"POST "
    + PATH
    + b" HTTP/1.1\r\n"
    + KEY
    + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
    + HOST
    + b"\r\n",
}
UPGRADES = {
    "an upgrade of a request with a body": post(b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 7\r\n"),
    "an upgrade whose body is a request": post(b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 99\r\n", THEN + NEXT),
    "an upgrade of a request in chunks": post(
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + NEXT
    ),
}
REFUSED = LENGTHS | CODINGS | LINES | CHUNKS | VERSIONS | TARGETS | HOSTS | UPGRADES
"""400, and the connection is closed."""

TOO_MUCH = {
    "a header field of 1 MB": get(b"A: " + b"b" * (1 << 20) + b"\r\n"),
    "a name of 1 MB": get(b"a" * (1 << 20) + b": b\r\n"),
    "a target of 1 MB": get(target=b"/api/v1/symbols/" + b"A" * (1 << 20)),
    "a query of 1 MB": get(target=b"/api/v1/symbols/FIRST?a=" + b"b" * (1 << 20)),
    "10,000 header fields": get(b"A: b\r\n" * 10_000),
    "10,000 Hosts": get(HOST * 10_000),
    "8 MB of a field that does not end": get()[:-2] + b"A: " + b"b" * (8 << 20),
    "8 MB of a name that does not end": get()[:-2] + b"a" * (8 << 20),
}
"""431, and the connection is closed."""

AROUND_CHUNKS = {
    "1 MB of a chunk's extension": chunks(b"7;a=" + b"b" * (1 << 20) + b"\r\n" + HELLO + b"\r\n0\r\n\r\n"),
    "1 MB of a field after a body": chunks(b"7\r\n" + HELLO + b"\r\n0\r\nA: " + b"b" * (1 << 20) + b"\r\n\r\n"),
    "1 MB of zeros before a chunk's size": chunks(b"0" * (1 << 20) + b"7\r\n" + HELLO + b"\r\n0\r\n\r\n"),
}
"""400, and the connection is closed."""

MISLEADING = {
    "two slashes to begin with": b"//api/v1/symbols/SMUGGLED",
    "two slashes, and a host": b"//elsewhere/api/v1/symbols/SMUGGLED",
    "two slashes in the middle": b"/api/v1//symbols/SMUGGLED",
    "dots that go up": b"/api/v1/bars/../symbols/SMUGGLED",
    "dots that go up to what is inside": b"/api/v1/symbols/../../../internal/v1/resolve",
    "dots that go nowhere": b"/api/v1/./symbols/SMUGGLED",
    "an encoded slash": b"/api/v1/symbols%2fSMUGGLED",
    "encoded dots": b"/api/v1/bars/%2e%2e/symbols/SMUGGLED",
    "half-encoded dots": b"/api/v1/bars/.%2e/symbols/SMUGGLED",
    "dots encoded twice": b"/api/v1/bars/%252e%252e/symbols/SMUGGLED",
    "an encoded backslash": b"/api/v1/symbols%5cSMUGGLED",
    "a backslash": b"/api/v1/symbols\\SMUGGLED",
    "an encoded NUL": b"/api/v1/symbols/SMUGGLED%00",
    "an encoded line end": b"/api/v1/symbols/SMUGGLED%0d%0aA:b",
    "an encoded letter": b"/api/v1/%73ymbols/SMUGGLED",
    "an overlong encoding of a slash": b"/api/v1/symbols%c0%afSMUGGLED",
    "a parameter of a segment": b"/api/v1/bars;/../symbols/SMUGGLED",
    "a slash at the end of dots": b"/api/v1/symbols/..;/SMUGGLED",
    "what is inside": b"/internal/v1/resolve",
}
"""Targets that name no route, whoever reads them."""

TOLERATED = {
    "a length with white space after it": (sized(b"7  "), HELLO),
    "a length with a zero before it": (sized(b"07"), HELLO),
    "a chunked body": (chunks(b"7\r\n" + HELLO + b"\r\n0\r\n\r\n"), HELLO),
    "Chunked in another case": (coded(b"ChUnKeD", b"7\r\n" + HELLO + b"\r\n0\r\n\r\n"), HELLO),
    "a chunk in capitals, one with zeros before it": (
        chunks(b"3\r\n" + HELLO[:3] + b"\r\n004\r\n" + HELLO[3:] + b"\r\n0\r\n\r\n"),
        HELLO,
    ),
    "a chunk's extension": (chunks(b"7;a=b\r\n" + HELLO + b"\r\n0\r\n\r\n"), HELLO),
    "fields after the body": (
        chunks(b"7\r\n" + HELLO + b"\r\n0\r\nX-Forwarded-For: 192.0.2.1\r\nAccept: text/csv\r\n\r\n"),
        HELLO,
    ),
    "empty lines before it": (b"\r\n\r\n" + sized(b"7"), HELLO),
}
"""Read as one request with this body, and the next one on the same connection is the next."""
