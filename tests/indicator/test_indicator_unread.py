"""Answers that are read slowly, or not at all: what is held of them is bounded, for all and for each account."""

import asyncio
from collections.abc import Sequence

import httpx
import orjson
import pytest
from fastapi import FastAPI
from starlette.types import Message, Scope

from indicator_service.api import unread as sending
from indicator_service.api.unread import PiecesResponse
from indicator_service.app import NAME
from indicator_service.domain.errors import TooMuchUnread
from indicator_service.domain.unread import FREE, Unread, UnreadRoom
from shared.errors import Unavailable
from tests.support.asgi import scope_of
from tests.support.principals import headers_for, user

PATH = "/api/v1/indicators/batch"
CONTENT = orjson.dumps({"constructs": [{"symbol": "AAPL", "indicators": [{"indicator": "macd"}, {"indicator": "bbands"}]}]})
SCOPE: Scope = {"type": "http", "path": PATH}


class Reader:
    """Takes so many messages of an answer, and then none until it may."""

    def __init__(self, takes: int) -> None:
        self._takes = takes
        self.goes_on = asyncio.Event()
        self.stopped = asyncio.Event()
        self.taken: list[Message] = []

    async def send(self, message: Message) -> None:
        if len(self.taken) == self._takes:
            self.stopped.set()
            await self.goes_on.wait()
        self.taken.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.taken)


async def nothing() -> Message:
    raise AssertionError("nobody asks")


def answer(pieces: Sequence[bytes], ended: list[bool]) -> PiecesResponse:
    return PiecesResponse(pieces, "text/plain", {"X-Own": "1"}, lambda: ended.append(True))


@pytest.mark.parametrize("lengths", [[], [0], [1, 2, 3], [300_000], [262_144], [1] * 1000, [200_000, 200_000, 0, 900_000, 5]])
async def test_all_pieces_are_sent_in_their_order_and_then_given_back(lengths: list[int]) -> None:
    pieces = [bytes([at % 251]) * length for at, length in enumerate(lengths)]
    reader, ended = Reader(-1), list[bool]()
    await answer(pieces, ended)(SCOPE, nothing, reader.send)
    start, *rest = reader.taken
    assert dict(start["headers"])[b"content-length"] == b"%d" % sum(lengths)
    assert (reader.body, ended) == (b"".join(pieces), [True])
    assert [message.get("more_body", False) for message in rest] == [True] * (len(rest) - 1) + [False]
    assert max(len(message["body"]) for message in rest) <= 2 * (256 << 10)


async def test_an_answer_that_is_not_read_in_time_is_broken_off_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_DEADLINE_S", 0.01)
    monkeypatch.setattr(sending, "_SLOWEST", 1 << 40)
    reader, ended = Reader(2), list[bool]()
    await answer([bytes(1_000_000)], ended)(SCOPE, nothing, reader.send)
    assert ended == [True]
    assert reader.taken[-1]["more_body"], "the server takes that for an answer that failed, and closes"


def test_room_is_taken_by_what_is_large_and_given_back_once() -> None:
    room = UnreadRoom(100)
    first, second, third = (Unread(room, account) for account in ("ann", "bob", "cid"))
    with first, second, third:
        first.reach(FREE)
        second.reach(FREE + 50)
        first.reach(FREE + 40)
        third.reach(FREE + 10)
        with pytest.raises(Unavailable):
            third.reach(FREE + 11)
        second.settle(FREE + 30)
        third.reach(FREE + 30)
        first.settle(10)
        first.settle(0)
    assert room.left == 100


def test_an_account_takes_at_most_half_of_the_room() -> None:
    room = UnreadRoom(100)
    with Unread(room, "ann") as first, Unread(room, "ann") as second, Unread(room, "bob") as other:
        first.reach(FREE + 30)
        with pytest.raises(TooMuchUnread):
            second.reach(FREE + 21)
        second.reach(FREE + 20)
        other.reach(FREE + 50)
        first.settle(0)
        second.reach(FREE + 50)
    assert room.left == 100


async def ask_slowly(app: FastAPI, person: dict[str, str], reader: Reader) -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": CONTENT}

    await app(scope_of("POST", PATH, "", person), receive, reader.send)


async def test_batches_that_are_not_read_take_room_from_batches_and_give_it_back(client: httpx.AsyncClient, app: FastAPI) -> None:
    whole = (await client.post(PATH, content=CONTENT)).content
    app.state.unread = room = UnreadRoom(size := round(2.5 * (len(whole) * 1.1 - FREE)))
    ann, bob, cid = (headers_for(user(), NAME) for _ in range(3))
    readers = [Reader(1), Reader(1)]
    async with asyncio.TaskGroup() as group:
        for person, reader in zip((ann, bob), readers, strict=True):
            group.create_task(ask_slowly(app, person, reader))
            await reader.stopped.wait()
        for person, status in ((ann, 429), (cid, 503)):
            refused = await client.post(PATH, content=CONTENT, headers=person)
            assert (refused.status_code, refused.headers["retry-after"]) == (status, "5")
            small = {"constructs": [{"symbol": "AAPL", "limit": 5, "indicators": [{"indicator": "macd"}]}]}
            assert (await client.post(PATH, json=small, headers=person)).status_code == 200
        for reader in readers:
            reader.goes_on.set()
    assert [reader.body for reader in readers] == [whole] * 2
    assert room.left == size
    assert (await client.post(PATH, content=CONTENT, headers=cid)).content == whole


async def test_a_batch_that_is_refused_holds_no_room(client: httpx.AsyncClient, app: FastAPI) -> None:
    app.state.unread = room = UnreadRoom(1000)
    assert (await client.post(PATH, content=CONTENT)).status_code == 429
    assert room.left == 1000
