"""A batch of requests as a gateway tells of it (docs/services.md), and each request of it by itself."""

from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

__all__ = ["NOBODY", "Call", "CallerOf", "Request", "RequestBatch", "event_id"]

NOBODY = UUID(int=0)
"""In the place of a tenant, a user or a key that there is not."""
_MOST = 4096
"""Requests in a batch: what twelve bits of an event's id can tell apart."""
_INT = (1 << 31) - 1


def _text(longest: int) -> object:
    return StringConstraints(max_length=longest, pattern=r"^[^\x00]*$")


_Id = UUID | Literal[""]
_Name = Annotated[str, _text(128)]
_Cache = Literal["hit", "miss", "bypass", "none"]
_Kind = Literal["key", "session", "none"]
_Place = Annotated[int, Field(ge=0, lt=_MOST)]
_Count = Annotated[int, Field(ge=0)]


class CallerOf(NamedTuple):
    """`subject` is whose counters are spent from; empty of nobody."""

    tenant_id: UUID
    user_id: UUID
    key_id: UUID
    session: str
    tier: str
    subject: str


class Call(NamedTuple):
    method: str
    endpoint: str
    indicator: str
    symbol: str
    status: int
    cache: str


class Request(NamedTuple):
    """`at_ms` in Unix milliseconds."""

    id: UUID
    at_ms: int
    caller: CallerOf
    call: Call
    latency_us: int
    units: int
    bytes_out: int
    request_id: str


class RequestBatch(BaseModel):
    """`lost` are events that the gateway dropped since the batch before, and their units. Other members are a later release's."""

    model_config = ConfigDict(frozen=True)
    lost: tuple[_Count, _Count] = (0, 0)
    callers: list[tuple[_Id, _Id, _Id, _Kind, _Name, _Name]]
    calls: list[tuple[_Name, _Name, _Name, _Name, Annotated[int, Field(ge=100, le=599)], _Cache]]
    caller: Annotated[list[_Place], Field(min_length=1, max_length=_MOST)]
    call: list[_Place]
    at: list[Annotated[int, Field(ge=0, lt=1 << 47)]]
    latency_us: list[_Count]
    units: list[Annotated[int, Field(ge=0, le=_INT)]]
    bytes_out: list[Annotated[int, Field(ge=0, lt=1 << 62)]]
    request_id: list[Annotated[str, _text(64)]]

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        columns = (self.caller, self.call, self.at, self.latency_us, self.units, self.bytes_out, self.request_id)
        if len({len(column) for column in columns}) > 1:
            raise ValueError("columns of different lengths")
        if max(self.caller) >= len(self.callers) or max(self.call) >= len(self.calls):
            raise ValueError("a place beyond its rows")
        return self

    def requests(self, batch_id: UUID) -> Iterator[Request]:
        callers = [CallerOf(tenant or NOBODY, user or NOBODY, key or NOBODY, *rest) for tenant, user, key, *rest in self.callers]
        calls = [Call(*row) for row in self.calls]
        columns = zip(self.caller, self.call, self.at, self.latency_us, self.units, self.bytes_out, self.request_id, strict=True)
        for place, (caller, call, at_ms, latency_us, units, bytes_out, request_id) in enumerate(columns):
            yield Request(
                event_id(batch_id, place, at_ms),
                at_ms,
                callers[caller],
                calls[call],
                min(latency_us, _INT),
                units,
                bytes_out,
                request_id,
            )


def event_id(batch_id: UUID, place: int, at_ms: int) -> UUID:
    """A UUIDv7 (RFC 9562, section 5.7) of the event's time, told from others by the batch's random bits and the event's place:
    the same however often the batch comes."""
    return UUID(int=at_ms << 80 | 0x7 << 76 | place << 64 | batch_id.int & ((1 << 64) - 1))
