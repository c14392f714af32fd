"""The client of the services on real sockets: what is kept, what is closed, who waits, and how each fault is told."""

import asyncio
import datetime as dt
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.adapters.http1.answer import Answer
from gateway.adapters.upstream_client import NoAnswer, NotReached, Outgoing, UpstreamClient
from gateway.domain.shedding import Share
from shared.errors import InvalidInput
from tests.support.poll import until
from tests.support.raw_server import Handler, saying

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
SHARE = Share("somebody", pays=True)
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]


@dataclass
class Keeping:
    """A server that keeps connections, and what it has seen."""

    url: str = ""
    heads: list[bytes] = field(default_factory=list)
    opened: int = 0
    closed: int = 0

    async def all_closed(self) -> None:
        async def are() -> bool:
            return self.opened == self.closed

        await until(are, what="every connection is closed")

    async def asked(self, count: int) -> None:
        async def was() -> bool:
            return len(self.heads) >= count

        await until(was, what=f"{count} requests have come")


@asynccontextmanager
async def keeping(serve: Serve, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[Keeping]:
    """`serve` answers each request, told of its number, until the client closes or the handler does."""
    seen = Keeping()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.opened += 1
        try:
            while not writer.is_closing():
                seen.heads.append(await reader.readuntil(b"\r\n\r\n"))
                await serve(reader, writer, len(seen.heads))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            seen.closed += 1
            writer.close()

    server = await asyncio.start_server(connected, host, 0, ssl=tls)
    name = f"[{host}]" if ":" in host else host
    seen.url = f"{'https' if tls else 'http'}://{name}:{server.sockets[0].getsockname()[1]}"
    try:
        yield seen
    finally:
        server.close()


def says(what: bytes) -> Serve:
    async def say(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        writer.write(what)

    return say


async def nothing(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter, _number: int) -> None:
    pass


@asynccontextmanager
async def asking(
    url: str, connections: int = 4, connect_s: float = 5.0
) -> AsyncIterator[Callable[..., Coroutine[None, None, Answer]]]:
    async with UpstreamClient([url], connections=connections, connect_s=connect_s) as client:

        async def ask(
            method: str = "GET",
            body: bytes | AsyncIterator[bytes] = b"",
            *,
            wait_s: float = 10.0,
            length: int | None = None,
            target: str = "/a",
        ) -> Answer:
            outgoing = Outgoing(method, target, {"X-Name": "value"}, body, SHARE, length=length)
            return await client.ask(url, outgoing, wait_s)

        yield ask


async def whole(answer: Answer) -> bytes:
    """AssertionError with the failure of one that does not come whole."""
    body = b""
    while not (answer.is_whole and not answer.held):
        body += answer.take()
        await answer.more(10.0)
        assert answer.failure is None or answer.held, answer.failure
    return body


async def test_a_connection_is_kept_for_the_next_request_and_closed_with_the_client() -> None:
    async with keeping(says(OK)) as server:
        async with asking(server.url) as ask:
            for _ in range(5):
                answer = await ask()
                assert (answer.status, answer.fields, await whole(answer)) == (200, [(b"content-length", b"2")], b"{}")
            assert server.opened == 1
        await server.all_closed()
    host = server.url.removeprefix("http://")
    assert server.heads == [f"GET /a HTTP/1.1\r\nHost: {host}\r\nX-Name: value\r\n\r\n".encode()] * 5


async def test_no_more_connections_than_allowed_are_opened_and_who_waits_takes_the_next_one() -> None:
    go_on = asyncio.Event()

    async def when_told(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        await go_on.wait()
        writer.write(OK)

    async with keeping(when_told) as server, asking(server.url, connections=2) as ask:
        asked = [asyncio.create_task(ask()) for _ in range(9)]
        await server.asked(2)
        with pytest.raises(NoAnswer, match="timeout"):
            await ask(wait_s=0.05)
        gone = asyncio.create_task(ask())
        await asyncio.sleep(0)
        gone.cancel()
        go_on.set()
        bodies = [await whole(answer) for answer in await asyncio.gather(*asked)]
        assert bodies == [b"{}"] * 9
        assert (server.opened, len(server.heads)) == (2, 9)


async def test_one_who_goes_away_closes_the_connection_at_once_and_the_next_takes_its_place() -> None:
    async with keeping(nothing) as server, asking(server.url, connections=1) as ask:
        for number in range(1, 4):
            waiting = asyncio.create_task(ask())
            await server.asked(number)
            following = asyncio.create_task(ask())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            await server.asked(number + 1)
            following.cancel()
            await asyncio.wait([following])
            server.heads.pop()
        await server.all_closed()
        assert server.opened == 6


async def test_an_answer_that_nobody_reads_to_its_end_takes_its_connection_with_it() -> None:
    async with keeping(says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")) as server, asking(server.url) as ask:
        (await ask()).release()
        await server.all_closed()
        answer = await ask()
        assert server.opened == 2
        answer.release()


@pytest.mark.parametrize(
    "said",
    [
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        OK + b"junk",
        OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
    ],
    ids=["another answer", "junk", "closes"],
)
async def test_what_comes_after_the_end_closes_the_connection_and_is_nobodys_answer(said: bytes) -> None:
    async with keeping(says(said)) as server, asking(server.url) as ask:
        for _ in range(3):
            assert await whole(await ask()) == b"{}"
        assert server.opened == 3


async def test_what_comes_unasked_closes_the_connection() -> None:
    async def and_more(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(OK)
        if number == 1:
            await writer.drain()
            asked_on.set()
            await read.wait()
            writer.write(OK)

    asked_on, read = asyncio.Event(), asyncio.Event()
    async with keeping(and_more) as server, asking(server.url) as ask:
        assert await whole(await ask()) == b"{}"
        read.set()
        await server.all_closed()
        assert await whole(await ask()) == b"{}"
        assert server.opened == 2


async def test_one_that_was_closed_while_nobody_used_it_is_not_asked() -> None:
    async def then_close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        writer.write(OK)
        writer.close()

    async with keeping(then_close) as server, UpstreamClient([server.url], connections=4, connect_s=5.0) as client:

        async def none_is_kept() -> bool:
            return not client._pools[server.url]._idle

        for _ in range(3):
            answer = await client.ask(server.url, Outgoing("GET", "/a", {}, b"", SHARE), 10.0)
            assert await whole(answer) == b"{}"
            await until(none_is_kept)


async def test_one_that_is_closed_as_it_is_asked_is_a_reset_and_the_others_that_were_kept_are_not_trusted() -> None:
    both = asyncio.Barrier(2)

    async def once(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        if number <= 2:
            await both.wait()
        if number == 3:
            writer.transport.abort()
        else:
            writer.write(OK)

    async with keeping(once) as server, asking(server.url) as ask:
        await asyncio.gather(*(ask() for _ in range(2)))
        assert server.opened == 2
        with pytest.raises(NoAnswer, match="reset"):
            await ask()
        await server.all_closed()
        assert await whole(await ask()) == b"{}"
        assert server.opened == 3


FAULTS: dict[str, tuple[Handler, str]] = {}


def fault(name: str, kind: str) -> Callable[[Handler], Handler]:
    def keep(handler: Handler) -> Handler:
        FAULTS[name] = handler, kind
        return handler

    return keep


@fault("closes", "reset")
async def _closes(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    pass


@fault("resets", "reset")
async def _resets(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@fault("stops in its header", "reset")
async def _stops(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK[:-10])


@fault("is silent", "timeout")
async def _is_silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


@fault("is silent after an answer before the answer", "timeout")
async def _hints(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    await reader.read(1)


@fault("says no length", "malformed")
async def _no_length(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it?")


@fault("says two things of its length", "malformed")
async def _two_lengths(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")


@fault("changes the protocol", "malformed")
async def _upgrades(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n")


@pytest.mark.parametrize("name", FAULTS)
async def test_how_an_instance_fails_to_answer_is_told(name: str) -> None:
    handler, kind = FAULTS[name]
    async with saying(handler) as bad, asking(bad.url, connections=1) as ask:
        for _ in range(2):  # its place is free again
            with pytest.raises(NoAnswer, match=kind):
                await ask(wait_s=1.0 if kind == "timeout" else 10.0)


async def test_a_connection_that_is_closed_as_soon_as_it_is_opened_is_a_reset_of_an_upload_too() -> None:
    taken = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 16)
            await asyncio.sleep(0)

    async def close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.set()
        writer.transport.abort()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    async with asking(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", connections=1) as ask:
        for body in (b"", endless(), bytes(1 << 20)):
            with pytest.raises(NoAnswer, match="reset"):
                await ask("POST", body)
    assert taken.is_set()
    server.close()


BROKEN: dict[str, tuple[bytes, str, bytes]] = {
    "its length": (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "reset", b"half"),
    "its chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf", "reset", b"half"),
    "its last chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", "reset", b"half"),
    "the end of its chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n", "reset", b"half"),
    "sense": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalfnonsense\r\n", "malformed", b"half"),
}


@pytest.mark.parametrize("before", BROKEN)
async def test_an_answer_that_stops_before_its_end_is_none(before: str) -> None:
    said, kind, came = BROKEN[before]
    go_on = asyncio.Event()

    async def stop(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, _, rest = said.partition(b"\r\n\r\n")
        writer.write(head + b"\r\n\r\n")
        await go_on.wait()
        writer.write(rest)

    async with saying(stop) as bad, asking(bad.url) as ask:
        answer = await ask()
        go_on.set()
        body = b""
        while not answer.failure:
            await answer.more(10.0)
            body += answer.take()
        assert (answer.failure, body, answer.is_whole) == (kind, came, False)


async def test_an_answer_whose_body_does_not_come_in_time_fails() -> None:
    async with keeping(says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")) as server, asking(server.url) as ask:
        answer = await ask()
        await answer.more(0.05)
        assert answer.failure == "timeout"
        await server.all_closed()


async def test_where_nobody_listens_nothing_was_seen() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with asking(f"http://127.0.0.1:{nobody.getsockname()[1]}", connections=1) as ask:
            for _ in range(3):
                with pytest.raises(NotReached, match="refused"):
                    await ask()


async def test_a_connection_that_is_not_taken_in_time_is_none() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        crowd = [socket.socket() for _ in range(4)]
        for one in crowd:  # more than it queues: the next is not answered
            one.setblocking(False)
            one.connect_ex(address)
        try:
            async with asking(f"http://127.0.0.1:{address[1]}", connect_s=0.1) as ask:
                with pytest.raises(NotReached, match="refused"):
                    await ask()
        finally:
            for one in crowd:
                one.close()


async def test_a_long_answer_comes_only_as_fast_as_it_is_read() -> None:
    size, written = 48 << 20, 0

    async def much(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for begin in range(0, size, 1 << 16):
            writer.write((b"%08x" % begin) * (1 << 13))
            await writer.drain()
            written = begin + (1 << 16)

    async with keeping(much) as server, asking(server.url) as ask:
        answer = await ask()
        before = -1

        async def stands_still() -> bool:
            nonlocal before
            before, last = written, before
            return before == last

        await until(stands_still, every_s=0.2)
        assert written < size // 2, "what it has no room for it does not read"
        assert answer.held < 1 << 20
        came = 0
        while not answer.is_whole or answer.held:
            piece = answer.take()
            assert len(piece) <= 1 << 16
            came += len(piece)
            await answer.more(10.0)
            assert answer.failure is None
        assert came == size
        assert server.opened == 1


# ----- what is sent


async def echo_of(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
    if b"chunked" in head:
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    else:
        length = next(int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length: "))
        body = await reader.readexactly(length)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


@asynccontextmanager
async def echoing() -> AsyncIterator[Keeping]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        await echo_of(reader, writer, seen.heads[-1])

    async with keeping(echo) as seen:
        yield seen


async def pieces(*these: bytes) -> AsyncIterator[bytes]:
    for piece in these:
        yield piece


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 3 << 20])
async def test_a_body_arrives_as_it_was(size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    async with echoing() as server, asking(server.url) as ask:
        for _ in range(2):
            assert await whole(await ask("POST", body)) == body
            assert await whole(await ask("POST", pieces(body[: size // 3], b"", body[size // 3 :]), length=size)) == body
            assert await whole(await ask("POST", pieces(body[: size // 3], b"", body[size // 3 :]))) == body
        assert server.opened == 1


@pytest.mark.parametrize("sent", [b"12", b"1234"], ids=["shorter", "longer"])
async def test_a_body_that_is_not_as_long_as_it_says_leaves_nothing_that_could_be_taken_for_a_request(sent: bytes) -> None:
    async with echoing() as server, asking(server.url) as ask:
        with pytest.raises(ValueError, match="than it says"):
            await ask("POST", pieces(sent), length=3)
        await server.all_closed()


async def test_as_an_upload_fails_so_does_its_request() -> None:
    async def breaks() -> AsyncIterator[bytes]:
        yield b"1"
        raise InvalidInput.field("body", msg="it ended too early")

    async with echoing() as server, asking(server.url) as ask:
        for length in (3, None):
            with pytest.raises(InvalidInput):
                await ask("POST", breaks(), length=length)
        await server.all_closed()


async def test_time_does_not_run_while_an_upload_is_waited_for() -> None:
    async def slow() -> AsyncIterator[bytes]:
        for _ in range(4):
            await asyncio.sleep(0.5)
            yield b"1"

    async with echoing() as server, asking(server.url) as ask:
        assert await whole(await ask("POST", slow(), length=4, wait_s=1.5)) == b"1111"


async def test_a_service_that_does_not_take_an_upload_is_not_waited_for() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 16)

    async def take_nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter, _number: int) -> None:
        await asyncio.Event().wait()

    async with keeping(take_nothing) as server, asking(server.url) as ask:
        with pytest.raises(NoAnswer, match="timeout"):
            await ask("POST", endless(), wait_s=0.2)


async def test_an_answer_may_come_before_the_upload_is_at_its_end_and_then_ends_it() -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(1 << 16)
                await asyncio.sleep(0)
        finally:
            ended.set()

    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")

    async with keeping(refuse) as server, asking(server.url) as ask:
        answer = await ask("POST", endless())
        assert (answer.status, await whole(answer)) == (413, b"no")
        await asyncio.wait_for(ended.wait(), 10)
        assert await whole(await ask()) == b"no"
        assert server.opened == 2, "where the next request would begin nobody knows"


# ----- where it connects to


async def test_an_address_of_ipv6_is_one_too() -> None:
    try:
        with socket.socket(socket.AF_INET6) as free:
            free.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with keeping(says(OK), host="::1") as server, asking(server.url) as ask:
        assert await whole(await ask()) == b"{}"
        assert server.url.removeprefix("http://").encode() in server.heads[0]


def certificate(folder: Path, name: str) -> Path:
    """Of its own authority, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / f"{name}.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize(
    ("named", "trusted", "answers"), [("localhost", True, True), ("localhost", False, False), ("other", True, False)]
)
async def test_over_tls_a_service_shows_a_certificate_of_its_name_by_an_authority_that_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, trusted: bool, answers: bool
) -> None:
    path = certificate(tmp_path, named)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
    async with keeping(says(OK), tls=context) as server, asking(server.url.replace("127.0.0.1", "localhost")) as ask:
        if answers:
            for _ in range(2):
                assert await whole(await ask()) == b"{}"
            assert server.opened == 1
        else:
            with pytest.raises(NotReached, match="refused"):
                await ask()
            assert server.heads == [], "nothing was said to it"
