"""Bytes of abuse over raw sockets, against a real gateway process before an origin that keeps what it is asked.

Whatever it is: it is refused and counted, it comes to nothing behind the gateway, and a connection beside it goes on.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.security import bytes_of_abuse as abuse
from tests.security.wire import Asked, Bystander, Front, RecordingOrigin
from tests.support.gateway_process import gateway_process
from tests.support.stack import Stack

IMPATIENT = """
import runpy, shared.strict_protocol, gateway.api.asgi_exchange
shared.strict_protocol.HEADER_DEADLINE_S = shared.strict_protocol.TAIL_S = 0.5
gateway.api.asgi_exchange._PIECE_S = 0.5
gateway.api.asgi_exchange._BODY_S = 1.0
runpy.run_module("gateway", run_name="__main__")
"""
"""The gateway, with deadlines that a test can wait for."""


@pytest.fixture(scope="module")
def front(stack: Stack) -> Iterator[Front]:
    with (
        RecordingOrigin().serving() as origin,
        gateway_process(
            stack, "front", {"GATEWAY_DATA_URLS": origin.url, "GATEWAY_INDICATOR_URLS": origin.url}, ("-c", IMPATIENT)
        ) as gateway,
    ):
        yield Front(gateway, origin, b"X-API-Key: %b\r\n" % stack.key("enterprise")["X-API-Key"].encode())


@pytest.fixture
async def bystander(front: Front) -> AsyncIterator[Bystander]:
    front.origin.asked.clear()
    front.origin.fields.clear()
    bystander = await Bystander.of(front)
    yield bystander
    # whatever the test was about
    await bystander.is_served()
    bystander.writer.close()


def parts_of(front: Front, sent: bytes) -> list[bytes]:
    return sent.replace(abuse.KEY, front.key).split(abuse.THEN)


async def is_refused(front: Front, bystander: Bystander, sent: bytes, status: int) -> None:
    """With one problem, the last that is heard on the connection; counted; and nothing has come to the origin."""
    counted = front.count("kalpi_http_refused_total")
    reply = await front.send(*parts_of(front, sent), closes=True)
    assert reply.statuses == [status]
    assert reply.body["status"] == status
    assert reply.closed
    assert front.count("kalpi_http_refused_total") == counted + 1
    await bystander.is_served()
    assert not bystander.others


@pytest.mark.parametrize("sent", abuse.REFUSED.values(), ids=abuse.REFUSED.keys())
async def test_a_request_that_two_servers_may_read_in_two_ways_is_refused(
    front: Front, bystander: Bystander, sent: bytes
) -> None:
    await is_refused(front, bystander, sent, 400)


@pytest.mark.parametrize("sent", abuse.TOO_MUCH.values(), ids=abuse.TOO_MUCH.keys())
async def test_a_header_that_is_too_much_is_refused(front: Front, bystander: Bystander, sent: bytes) -> None:
    await is_refused(front, bystander, sent, 431)


@pytest.mark.parametrize("sent", abuse.AROUND_CHUNKS.values(), ids=abuse.AROUND_CHUNKS.keys())
async def test_a_body_of_little_but_what_is_around_its_chunks_is_refused(front: Front, bystander: Bystander, sent: bytes) -> None:
    await is_refused(front, bystander, sent, 400)


@pytest.mark.parametrize("asked", [b"TRACE /api/v1/symbols/FIRST", b"CONNECT elsewhere:80", b"PURGE /", b"SOURCE /"])
async def test_a_method_that_nothing_answers_is_refused_and_told_which_are(
    front: Front, bystander: Bystander, asked: bytes
) -> None:
    sent = asked + b" HTTP/1.1\r\n" + abuse.HOST + abuse.KEY + b"\r\n" + abuse.NEXT
    await is_refused(front, bystander, sent, 405)
    reply = await front.send(*parts_of(front, sent))
    assert b"\r\nallow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n" in reply.received


@pytest.mark.parametrize("target", abuse.MISLEADING.values(), ids=abuse.MISLEADING.keys())
async def test_a_target_that_somebody_might_read_as_another_leads_nowhere(
    front: Front, bystander: Bystander, target: bytes
) -> None:
    counted = front.count("kalpi_http_requests_total", status="404", route="unmatched")
    reply = await front.send(abuse.get(target=target).replace(abuse.KEY, front.key))
    assert reply.statuses == [404]
    assert front.count("kalpi_http_requests_total", status="404", route="unmatched") == counted + 1
    assert not bystander.others


@pytest.mark.parametrize(("sent", "body"), abuse.TOLERATED.values(), ids=abuse.TOLERATED.keys())
async def test_what_has_one_meaning_is_one_request_and_the_next_one_is_the_next(
    front: Front, bystander: Bystander, sent: bytes, body: bytes
) -> None:
    follows = abuse.get(target=b"/api/v1/symbols/SECOND")
    reply = await front.send((sent + follows).replace(abuse.KEY, front.key), answers=2)
    assert reply.statuses == [200, 200]
    assert bystander.others == [Asked("POST", abuse.PATH.decode(), body), Asked("GET", "/api/v1/symbols/SECOND", b"")]


async def test_fields_after_a_body_are_no_header(front: Front, bystander: Bystander) -> None:
    """Neither to say who asks, nor to be handed on."""
    chunked = b"POST " + abuse.PATH + b" HTTP/1.1\r\n" + abuse.HOST + b"%bTransfer-Encoding: chunked\r\n\r\n0\r\n%b\r\n"
    reply = await front.send(chunked % (b"", front.key))
    assert reply.statuses == [401]
    assert not bystander.others
    reply = await front.send(chunked % (front.key, b"Accept: text/smuggled\r\n"))
    assert reply.statuses == [200]
    assert "text/smuggled" not in front.origin.fields[-1].values()


async def test_a_body_that_looks_like_a_request_is_a_body(front: Front, bystander: Bystander) -> None:
    body = abuse.NEXT.replace(abuse.KEY, front.key)
    reply = await front.send(abuse.sized(b"%d" % len(body), body).replace(abuse.KEY, front.key))
    assert reply.statuses == [200]
    assert bystander.others == [Asked("POST", abuse.PATH.decode(), body)]


async def test_a_get_whose_body_looks_like_a_request_is_refused_and_the_body_is_none(front: Front, bystander: Bystander) -> None:
    body = abuse.NEXT.replace(abuse.KEY, front.key)
    reply = await front.send(abuse.get(b"Content-Length: %d\r\n" % len(body)).replace(abuse.KEY, front.key) + body)
    assert reply.statuses == [413]
    assert not bystander.others


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c", b"TLS/1.0", b"HTTP/2.0"])
async def test_an_upgrade_is_passed_over_and_nothing_that_comes_after_it_is_read(
    front: Front, bystander: Bystander, protocol: bytes
) -> None:
    fields = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nUpgrade: " + protocol + b"\r\n"
    reply = await front.send((abuse.get(fields) + abuse.NEXT).replace(abuse.KEY, front.key), closes=True)
    assert reply.statuses == [200]
    assert reply.closed
    assert [one.target for one in bystander.others] == ["/api/v1/symbols/FIRST"]
    assert not {"connection", "upgrade", "http2-settings"} & {
        name for name, value in front.origin.fields[-1].items() if value != "keep-alive"
    }


async def test_after_a_request_that_says_close_nothing_is_read(front: Front, bystander: Bystander) -> None:
    reply = await front.send((abuse.get(b"Connection: close\r\n") + abuse.NEXT).replace(abuse.KEY, front.key), closes=True)
    assert reply.statuses == [200]
    assert reply.closed
    assert [one.target for one in bystander.others] == ["/api/v1/symbols/FIRST"]


async def test_a_field_named_by_connection_takes_nothing_from_the_request(front: Front, bystander: Bystander) -> None:
    """It would otherwise take the signed principal away on its way to the service."""
    fields = b"Connection: close, X-Kalpi-Principal, Host, X-Request-ID\r\n"
    assert (await front.send(abuse.get(fields).replace(abuse.KEY, front.key))).statuses == [200]
    assert {"x-kalpi-principal", "host", "x-request-id"} <= front.origin.fields[-1].keys()


# ----- slowly


async def drip(front: Front, sent: bytes, drops: bytes) -> bytes:
    """What comes back to a client that sends the second a byte at a time, for as long as it is let."""
    reader, writer = await asyncio.open_connection(*front.gateway.address)
    writer.write(sent.replace(abuse.KEY, front.key))
    answer = asyncio.create_task(reader.read())
    try:
        for position in range(len(drops)):
            done, _ = await asyncio.wait([answer], timeout=0.05)
            if done:
                return answer.result()
            writer.write(drops[position : position + 1])
        raise AssertionError("it was never given up on")
    except ConnectionError:
        return await answer
    finally:
        answer.cancel()
        writer.close()


async def test_a_header_that_drips_is_given_up_on(front: Front, bystander: Bystander) -> None:
    counted = front.count("kalpi_http_refused_total", why="slow")
    received = await drip(front, b"GET /api/v1/symbols/FIRST HTTP/1.1\r\n" + abuse.HOST + abuse.KEY + b"A: ", b"b" * 200)
    assert received.startswith(b"HTTP/1.1 408 ")
    assert front.count("kalpi_http_refused_total", why="slow") == counted + 1
    assert not bystander.others


@pytest.mark.parametrize("begun", [b"", b"G", b"\r\n", b"GET /api/v1/symbols/FIRST HTTP/1.1\r\nHost: local"])
async def test_a_connection_on_which_no_header_comes_is_closed(front: Front, bystander: Bystander, begun: bytes) -> None:
    reply = await front.send(begun, closes=True)
    assert reply.statuses == [408]
    assert reply.closed


async def test_a_body_that_drips_is_given_up_on_and_its_connection_with_it(front: Front, bystander: Bystander) -> None:
    counted = front.count("kalpi_http_refused_total", why="tail")
    received = await drip(front, abuse.sized(b"1000", b"["), b"1" * 400)
    assert received.startswith(b"HTTP/1.1 422 ")
    assert front.count("kalpi_http_refused_total", why="tail") == counted + 1
    assert not bystander.others


@pytest.mark.parametrize("size", [b"FFFFFFFFFFFFFFFF", b"7FFFFFFFFFFFFFFF", b"FFFFFFFF"])
async def test_a_chunk_of_more_than_there_will_ever_be_is_given_up_on(front: Front, bystander: Bystander, size: bytes) -> None:
    reply = await front.send(abuse.chunks(size + b"\r\n" + abuse.HELLO).replace(abuse.KEY, front.key))
    assert reply.statuses == [422]
    assert not bystander.others


async def test_hundreds_that_drip_keep_nobody_waiting(front: Front, bystander: Bystander) -> None:
    head = b"GET /api/v1/symbols/FIRST HTTP/1.1\r\n" + abuse.HOST + abuse.KEY
    dripping = asyncio.gather(*(drip(front, head, b"A" * 400) for _ in range(200)))
    served = 0
    while not dripping.done():
        await bystander.is_served()
        served += 1
    assert served > 1
    assert {answer[:13] for answer in await dripping} == {b"HTTP/1.1 408 "}
    assert not bystander.others
