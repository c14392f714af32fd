"""One request as the edge sees it, and the answer on its way out, however the server has handed it over."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from gateway.api.answers import CommonFields, Given
from gateway.api.asked import Asked
from gateway.api.attending import Attending
from gateway.domain.requests import NOBODY, CacheUse, CallerRecord, RequestRecord
from shared.at_once import AtOnce, Fields, Message, lines_of
from shared.limits.fields import ratelimit_fields
from shared.limits.limiter import Decision
from shared.principal import Principal

__all__ = ["Exchange"]


_X_CACHE: Mapping[CacheUse, tuple[bytes, bytes]] = {
    "hit": (b"x-cache", b"HIT"),
    "miss": (b"x-cache", b"MISS"),
    "bypass": (b"x-cache", b"BYPASS"),
}


class Exchange(ABC):
    """`add` puts a header on whatever will be answered. What becomes known of the request on its way is kept for its record.

    `verb` is the method as it was sent, `method` the one that a service is asked with. `target` is path and query as they were
    sent, `path` what the path says.
    """

    principal: Principal | None = None
    cache: CacheUse = "none"
    units = 0
    started = ended = False
    status = 500
    bytes_out = 0

    def __init__(self, asked: Asked, common: CommonFields, *, verb: str, target: str, client_ip: str, request_id: str) -> None:
        self.asked = asked
        self._common = common
        self._added: Fields = []
        self.verb = verb
        # RFC 9110, section 9.3.2: HEAD is GET without the body, which the server leaves out on the way
        self.method = "GET" if verb == "HEAD" else verb
        self.target = target
        self.client_ip = client_ip
        self.request_id = request_id

    @property
    @abstractmethod
    def path(self) -> str: ...

    @abstractmethod
    def header_values(self, name: bytes) -> Sequence[bytes]: ...

    @abstractmethod
    def header(self, name: bytes) -> bytes | None:
        """The values joined as RFC 9110, section 5.3, joins them; None when it was not sent."""
        ...

    @abstractmethod
    def attended(self) -> Attending:
        """For `async with`: whatever is waited for in there ends with the client's connection, in ClientGone. Once its body has
        come, if it has one."""
        ...

    @abstractmethod
    def _put(self, answer: AtOnce) -> bool:
        """In one write; False, and nothing done, where the server has to wait, or cannot do that."""
        ...

    @abstractmethod
    async def _send(self, message: Message) -> None:
        """Of ASGI."""
        ...

    def text(self, name: bytes) -> str | None:
        value = self.header(name)
        return value.decode("latin-1") if value is not None else None

    def add(self, headers: Mapping[str, str]) -> None:
        self._added += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]

    def paid(self, units: int, decision: Decision) -> None:
        """Of the day's quota, so many; the answer says what is left."""
        self.units = units
        self._added += ratelimit_fields(decision)

    def used(self, cache: CacheUse) -> None:
        """What the cache had to do with it; the answer says so."""
        self.cache = cache
        self._added.append(_X_CACHE[cache])

    def drop(self, *names: str) -> None:
        """What was to be added."""
        dropped = {name.lower().encode("latin-1") for name in names}
        self._added = [(name, value) for name, value in self._added if name not in dropped]

    async def give(self, answer: Given) -> None:
        await self.whole(answer.status, answer.fields, answer.body)

    async def whole(self, status: int, fields: Fields, body: bytes) -> None:
        if not self.at_once(status, fields, body):
            await self.start(status, fields)
            await self.piece(body, more=False)

    def at_once(self, status: int, fields: Fields, body: bytes) -> bool:
        """In one write; False, and nothing done, where the server has to wait, or cannot do that."""
        if not self._put(AtOnce(status, lines_of(self._complete(fields)), body)):
            return False
        self.started = self.ended = True
        self.status, self.bytes_out = status, len(body)
        return True

    async def start(self, status: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
        self.started = True
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": self._complete(fields)})

    async def piece(self, body: bytes, *, more: bool) -> None:
        self.bytes_out += len(body)
        self.ended = not more
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    def _complete(self, fields: Iterable[tuple[bytes, bytes]]) -> Fields:
        return [*self._common.complete([*fields, *self._added]), (b"x-request-id", self.request_id.encode("ascii"))]

    def record(self, at: datetime, seconds: float) -> RequestRecord:
        """Of a request that came at that moment, and has ended."""
        caller = CallerRecord.of(self.principal or NOBODY, spent=self.units > 0)
        call = self.asked.call(self.verb, self.status, self.cache)
        return RequestRecord(at, caller, call, round(seconds * 1_000_000), self.units, self.bytes_out, self.request_id)
