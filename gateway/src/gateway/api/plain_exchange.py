"""A plain GET of somebody who is known, as the server asks for it to be answered soon: without a scope, a body and messages."""

from collections.abc import Sequence

from gateway.api.answers import CommonFields
from gateway.api.asked import Asked
from gateway.api.attending import Attending
from gateway.api.exchange import Exchange
from shared.at_once import AtOnce, Message, Send, Turn
from shared.context import sane_request_id
from shared.heads import Head

__all__ = ["PlainExchange"]


class PlainExchange(Exchange):
    """`answer` is there once it is whole; what does not come so goes out in messages."""

    def __init__(self, asked: Asked, common: CommonFields, head: Head, client_ip: str, turn: Turn) -> None:
        target, sent = head.target, head.sent
        raw, _, query = target.partition(b"?")
        super().__init__(
            asked,
            common,
            verb="GET",
            target=(target if query else raw).decode("ascii"),
            client_ip=client_ip,
            request_id=sane_request_id(sent.get(b"x-request-id")),
        )
        self._sent = sent
        self._turn = turn
        self._messages: Send | None = None
        self.answer: AtOnce | None = None

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]  # no route has anything escaped in it

    def header_values(self, name: bytes) -> Sequence[bytes]:
        value = self._sent.get(name)
        return [value] if value is not None else []

    def header(self, name: bytes) -> bytes | None:
        return self._sent.get(name)

    def attended(self) -> Attending:
        return Attending(self, self._turn.call_when_gone)

    def _put(self, answer: AtOnce) -> bool:
        if self._messages is not None:
            return False
        self.answer = answer
        return True

    async def _send(self, message: Message) -> None:
        if self._messages is None:
            self._messages = self._turn.messages()
        await self._messages(message)
