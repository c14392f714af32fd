"""One request as the edge sees it, and the answer on its way out."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType

from starlette.types import Message, Receive, Scope, Send

from gateway.api.answers import CommonFields, Given
from gateway.api.asked import Asked
from gateway.domain.addresses import Network, client_address
from gateway.domain.bodies import HeldBody
from gateway.domain.errors import BodyTooLarge
from gateway.domain.requests import CacheUse
from shared.at_once import GONE, WHOLE, AnswerWhole, AtOnce, CallWhenGone, Fields, lines_of
from shared.context import sane_request_id
from shared.errors import InvalidInput
from shared.limits.fields import ratelimit_fields
from shared.limits.limiter import Decision
from shared.principal import Principal

__all__ = ["ClientGone", "Exchange"]

_PIECE_S = 30.0
"""How long the next piece of a body may take."""
_BODY_S = 60.0
"""How long a body that is held may take to come: it takes room from others."""


_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


class Exchange:
    """`add` puts a header on whatever will be answered. What becomes known of the request on its way is kept for its record."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        asked: Asked,
        common: CommonFields,
        trusted_proxies: Sequence[Network],
    ) -> None:
        self.scope = scope
        self.asked = asked
        self._fields: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            self._fields.setdefault(name, []).append(value)
        self.receive = receive
        self._send = send
        self._common = common
        self._added: Fields = []
        # RFC 9110, section 9.3.2: HEAD is GET without the body, which the server leaves out on the way
        self.method: str = "GET" if scope["method"] == "HEAD" else scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        peer = scope["client"][0] if scope.get("client") else ""
        self.client_ip = client_address(peer, self.header(b"x-forwarded-for"), trusted_proxies)
        self.request_id = sane_request_id(self.header(b"x-request-id"))
        self.principal: Principal | None = None
        self.cache: CacheUse = "none"
        self.units = 0
        self.started = False
        self.ended = False
        self.status = 500
        self.bytes_out = 0

    @property
    def target(self) -> str:
        """Path and query as they were sent; the server refuses what is not ASCII."""
        raw: bytes = self.scope["raw_path"]
        return (raw + b"?" + self.query if self.query else raw).decode("ascii")

    def header_values(self, name: bytes) -> list[bytes]:
        return self._fields.get(name, [])

    def header(self, name: bytes) -> bytes | None:
        """The values joined as RFC 9110, section 5.3, joins them; None when it was not sent."""
        values = self._fields.get(name)
        return b", ".join(values) if values is not None else None

    def text(self, name: bytes) -> str | None:
        value = self.header(name)
        return value.decode("latin-1") if value is not None else None

    async def body(self, most: int, held: HeldBody) -> bytes:
        """BodyTooLarge beyond `most` bytes, by what it says of itself or by what comes; as `held` raises without room."""
        if self.method == "GET" and _FRAMING.isdisjoint(self._fields):
            return b""  # RFC 9112, section 6.3: there is none
        self._declared(most)
        pieces = []
        try:
            async with asyncio.timeout(_BODY_S):
                async for piece in self._pieces(most):
                    held.take(len(piece))
                    pieces.append(piece)
        except TimeoutError:
            raise InvalidInput.field("body", msg="it comes too slowly") from None
        return b"".join(pieces)

    def upload(self, most: int) -> tuple[int, AsyncIterator[bytes]]:
        """Its length, and the body as it comes. BodyTooLarge, InvalidInput without a Content-Length."""
        declared = self._declared(most)
        if declared is None:
            raise InvalidInput.field("header", "content-length", msg="an upload says how long it is", type_="missing")
        return declared, self._pieces(most)

    def _declared(self, most: int) -> int | None:
        declared = self.header(b"content-length")
        if declared is None or not declared.isdigit():
            return None
        if int(declared) > most:
            raise BodyTooLarge(most)
        return int(declared)

    async def _pieces(self, most: int) -> AsyncIterator[bytes]:
        left = most
        while True:
            try:
                async with asyncio.timeout(_PIECE_S):
                    message = await self.receive()
            except TimeoutError:
                raise InvalidInput.field("body", msg="it stopped coming") from None
            if message["type"] == "http.disconnect":
                raise InvalidInput.field("body", msg="it ended too early")
            piece: bytes = message.get("body", b"")
            left -= len(piece)
            if left < 0:
                raise BodyTooLarge(most)
            yield piece
            if not message.get("more_body", False):
                return

    def add(self, headers: Mapping[str, str]) -> None:
        self._added += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]

    def paid(self, units: int, decision: Decision) -> None:
        """Of the day's quota, so many; the answer says what is left."""
        self.units = units
        self._added += ratelimit_fields(decision)

    def drop(self, *names: str) -> None:
        """What was to be added."""
        dropped = {name.lower().encode("latin-1") for name in names}
        self._added = [(name, value) for name, value in self._added if name not in dropped]

    def attended(self) -> "_Attended":
        """For `async with`: whatever is waited for in there ends with the client's connection, in ClientGone. Once its body has
        come, if it has one."""
        return _Attended(self)

    async def give(self, answer: Given) -> None:
        await self.whole(answer.status, answer.fields, answer.body)

    async def whole(self, status: int, fields: Fields, body: bytes) -> None:
        if not self.at_once(status, fields, body):
            await self.start(status, fields)
            await self.piece(body, more=False)

    def at_once(self, status: int, fields: Fields, body: bytes) -> bool:
        """In one write; False, and nothing done, where the server has to wait, or cannot do that."""
        extension = self.scope.get("extensions", {}).get(WHOLE)
        write: AnswerWhole | None = extension["answer"] if extension is not None else None
        if write is None or not write(self.scope, AtOnce(status, lines_of(self._complete(fields)), body)):
            return False
        self.started = self.ended = True
        self.status, self.bytes_out = status, len(body)
        return True

    async def start(self, status: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": fields})

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            message = {**message, "headers": self._complete(message["headers"])}
        else:
            self.bytes_out += len(message.get("body", b""))
            self.ended = not message.get("more_body", False)
        await self._send(message)

    def _complete(self, fields: Iterable[tuple[bytes, bytes]]) -> Fields:
        return [*self._common.complete([*fields, *self._added]), (b"x-request-id", self.request_id.encode("ascii"))]

    async def piece(self, body: bytes, *, more: bool) -> None:
        await self.send({"type": "http.response.body", "body": body, "more_body": more})


class _Attended:
    """As `asyncio.timeout` ends what takes too long."""

    __slots__ = ("_before", "_call", "_exchange", "_gone", "_task", "_watch")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._gone = False

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in one
        self._task, self._before = task, task.cancelling()
        extension = self._exchange.scope.get("extensions", {}).get(GONE)
        self._call: CallWhenGone | None = extension["call"] if extension is not None else None
        self._watch: asyncio.Task[None] | None = None
        if self._call is None:
            self._watch = asyncio.create_task(self._until_gone(), name="attending")
        elif not self._call(self._end):
            self._end()

    async def _until_gone(self) -> None:
        while (await self._exchange.receive())["type"] != "http.disconnect":
            pass
        self._end()

    def _end(self) -> None:
        # it is told of the end of an answer, too
        if not (self._exchange.ended or self._gone):
            self._gone = True
            self._task.cancel()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._call is not None:
            self._call(None)
        if self._watch is not None:
            self._watch.cancel()
        if self._gone and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise ClientGone from None
