"""A batch of requests as a gateway tells of it (docs/services.md), what they add up to, and each of them by itself."""

from functools import lru_cache
from typing import Annotated, Literal, NamedTuple, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

__all__ = ["LONGEST_INT", "NOBODY", "Call", "CallerOf", "Request", "RequestBatch", "Requests", "caller_of", "event_id"]

NOBODY = UUID(int=0)
"""In the place of a tenant, a user or a key that there is not."""
_MOST = 4096
"""Requests in a batch: what twelve bits of an event's id can tell apart."""
LONGEST_INT = (1 << 31) - 1


def _text(longest: int) -> object:
    return StringConstraints(max_length=longest, pattern=r"^[^\x00]*$")


# as UUIDs are written: an object of each would take longer than all else that is done with the row
_Id = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?$")]
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


CallerRow = tuple[_Id, _Id, _Id, _Kind, _Name, _Name]
CallRow = tuple[_Name, _Name, _Name, _Name, Annotated[int, Field(ge=100, le=599)], _Cache]
"""A caller and a call, as a gateway tells of them."""


@lru_cache(maxsize=10_000)
def caller_of(row: CallerRow) -> CallerOf:
    """Most were in the last batch as well."""
    tenant, user, key = (UUID(one) if one else NOBODY for one in row[:3])
    return CallerOf(tenant, user, key, *row[3:])


class RequestBatch(BaseModel):
    """`lost` are events that the gateway dropped since the batch before, and their units. Other members are a later release's."""

    model_config = ConfigDict(frozen=True)
    lost: tuple[_Count, _Count] = (0, 0)
    callers: list[CallerRow]
    calls: list[CallRow]
    caller: Annotated[list[_Place], Field(min_length=1, max_length=_MOST)]
    call: list[_Place]
    at: list[Annotated[int, Field(ge=0, lt=1 << 47)]]
    latency_us: list[_Count]
    units: list[Annotated[int, Field(ge=0, le=LONGEST_INT)]]
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


class Requests:
    """Those of one batch. Each is made when it is asked for: of most, all that is wanted is what they add up to."""

    def __init__(self, batch_id: UUID, told: RequestBatch) -> None:
        self._batch_id = batch_id
        self.told = told

    def __len__(self) -> int:
        return len(self.told.at)

    def __getitem__(self, place: int) -> Request:
        told = self.told
        return Request(
            event_id(self._batch_id, place, told.at[place]),
            told.at[place],
            caller_of(told.callers[told.caller[place]]),
            Call(*told.calls[told.call[place]]),
            min(told.latency_us[place], LONGEST_INT),
            told.units[place],
            told.bytes_out[place],
            told.request_id[place],
        )

    @property
    def failed(self) -> list[bool]:
        """Of each, whether it was refused or failed."""
        of_calls = [Call(*call).status >= 400 for call in self.told.calls]
        return [of_calls[call] for call in self.told.call]


def event_id(batch_id: UUID, place: int, at_ms: int) -> UUID:
    """A UUIDv7 (RFC 9562, section 5.7) of the event's time, told from others by the batch's random bits and the event's place:
    the same however often the batch comes."""
    return UUID(int=at_ms << 80 | 0x7 << 76 | place << 64 | batch_id.int & ((1 << 64) - 1))
