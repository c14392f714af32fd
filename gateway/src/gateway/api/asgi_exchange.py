"""A request that has come by ASGI."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from starlette.types import Receive, Scope, Send

from gateway.api.answers import CommonFields
from gateway.api.asked import Asked
from gateway.api.attending import Attending
from gateway.api.exchange import Exchange
from gateway.domain.addresses import Network, client_address
from gateway.domain.bodies import HeldBody
from gateway.domain.errors import BodyTooLarge
from shared.at_once import GONE, WHOLE, AnswerWhole, AtOnce, Message
from shared.context import sane_request_id
from shared.errors import InvalidInput

__all__ = ["AsgiExchange"]

_PIECE_S = 30.0
"""How long the next piece of a body may take."""
_BODY_S = 60.0
"""How long a body that is held may take to come: it takes room from others."""
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class AsgiExchange(Exchange):
    _watching: asyncio.Task[None]

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        asked: Asked,
        common: CommonFields,
        trusted_proxies: Sequence[Network],
    ) -> None:
        self._scope = scope
        self._fields: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            self._fields.setdefault(name, []).append(value)
        self._receive = receive
        self._send_message = send
        raw: bytes = scope["raw_path"]
        query: bytes = scope["query_string"]
        peer = scope["client"][0] if scope.get("client") else ""
        super().__init__(
            asked,
            common,
            verb=scope["method"],
            target=(raw + b"?" + query if query else raw).decode("ascii"),  # the server refuses what is not ASCII
            client_ip=client_address(peer, self.header(b"x-forwarded-for"), trusted_proxies),
            request_id=sane_request_id(self.header(b"x-request-id")),
        )

    @property
    def path(self) -> str:
        path: str = self._scope["path"]
        return path

    def header_values(self, name: bytes) -> Sequence[bytes]:
        return self._fields.get(name, [])

    def header(self, name: bytes) -> bytes | None:
        values = self._fields.get(name)
        return b", ".join(values) if values is not None else None

    def attended(self) -> Attending:
        extension = self._scope.get("extensions", {}).get(GONE)
        return Attending(self, extension["call"] if extension is not None else self._watch)

    def _watch(self, gone: Callable[[], None] | None) -> bool:
        """A `CallWhenGone`, where the server has none."""
        if gone is not None:
            self._watching = asyncio.create_task(self._until_gone(gone), name="attending")
        else:
            self._watching.cancel()
        return True

    async def _until_gone(self, gone: Callable[[], None]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        gone()

    def _put(self, answer: AtOnce) -> bool:
        extension = self._scope.get("extensions", {}).get(WHOLE)
        write: AnswerWhole | None = extension["answer"] if extension is not None else None
        return write is not None and write(self._scope, answer)

    async def _send(self, message: Message) -> None:
        await self._send_message(message)

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
                    message = await self._receive()
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
