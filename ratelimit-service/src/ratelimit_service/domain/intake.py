"""Batches of requests are taken: each once, however often it comes, and what it adds to every table in one transaction."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Protocol
from uuid import UUID

from pydantic import ValidationError

from ratelimit_service.domain.partitions import LATEST, OLDEST
from ratelimit_service.domain.requests import NOBODY, RequestBatch, Requests
from ratelimit_service.domain.rollups import Grain, Rollup, Spent, day_units, rollups
from ratelimit_service.domain.sampling import LogEntry, Sampler
from ratelimit_service.domain.sums import Sums, added_up
from shared.clock import Clock
from shared.errors import Unavailable

__all__ = ["Batch", "Intake", "Ledger", "LedgerEntry", "UnfitBatch"]


class UnfitBatch(Exception):
    """It can never be taken."""


@dataclass(frozen=True, slots=True)
class Batch:
    """`day` is the one its id was made on, which is where it is looked for when it comes again."""

    id: UUID
    day: date
    requests: Requests = field(repr=False)
    lost_events: int
    lost_units: int


class LedgerEntry(Protocol):
    """One transaction."""

    async def new(self, batches: Iterable[Batch]) -> set[UUID]:
        """Notes them, and says which had not been noted before."""
        ...

    async def add(self, added: Mapping[Grain, Rollup]) -> None: ...

    async def add_units(self, units: Mapping[tuple[int, str], Spent]) -> None: ...

    async def log(self, entries: Sequence[LogEntry]) -> None: ...

    async def see(self, callers: Mapping[tuple[UUID, UUID], tuple[date, date]]) -> None:
        """Tenant and user, with the first and the last day of theirs."""
        ...


class Ledger(Protocol):
    def entry(self) -> AbstractAsyncContextManager[LedgerEntry]:
        """One at a time, of all processes; commits at the end. Unavailable."""
        ...


_Waiting = tuple[Batch, "asyncio.Future[None]"]


class Intake:
    """Batches that come together, or while others are being written, are one transaction."""

    def __init__(self, ledger: Ledger, sampler: Sampler, clock: Clock, *, taken: Callable[[int], None]) -> None:
        self._ledger = ledger
        self._sampler = sampler
        self._clock = clock
        self._taken = taken
        self._waiting: list[_Waiting] = []
        self._writing = asyncio.Lock()

    async def take(self, batch_id: UUID, data: Mapping[str, Any]) -> None:
        """Returns once it is committed, or was before. UnfitBatch; Unavailable."""
        batch = self._read(batch_id, data)
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((batch, done))
        async with self._writing:
            if not done.done():
                await asyncio.sleep(0)  # for those that come in the same turn
                await self._write_waiting()
        await done

    def _read(self, batch_id: UUID, data: Mapping[str, Any]) -> Batch:
        try:
            told = RequestBatch.model_validate(data)
        except ValidationError as error:
            raise UnfitBatch(str(error.errors(include_input=False, include_url=False)[:3])) from None
        made_ms, now = batch_id.int >> 80, self._clock()
        first, last = now - OLDEST, now + LATEST
        if min(made_ms, *told.at) < first.timestamp() * 1000 or max(made_ms, *told.at) > last.timestamp() * 1000:
            raise UnfitBatch(f"its times are not between {first:%Y-%m-%d %H:%M} and {last:%Y-%m-%d %H:%M}")
        return Batch(batch_id, _day_of(made_ms // 1000), Requests(batch_id, told), *told.lost)

    async def _write_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            await self._write([batch for batch, _ in waiting])
        except Unavailable as error:
            _settle(waiting, error)
        except Exception as error:  # noqa: BLE001 - it is raised again to whoever brought the batch that is to blame
            if len(waiting) == 1:
                _settle(waiting, error)
            else:
                await self._write_each(waiting)
        else:
            _settle(waiting, None)

    async def _write_each(self, waiting: Sequence[_Waiting]) -> None:
        """One of them cannot be written; the others can."""
        for one in waiting:
            try:
                await self._write([one[0]])
            except Exception as error:  # noqa: BLE001 - see above
                _settle([one], error)
            else:
                _settle([one], None)

    async def _write(self, batches: Sequence[Batch]) -> None:
        by_id = {batch.id: batch for batch in batches}
        async with self._ledger.entry() as entry:
            new = await entry.new(by_id.values())
            fresh = [batch for batch_id, batch in by_id.items() if batch_id in new]
            if fresh:
                sums = added_up(batch.requests for batch in fresh)
                await entry.add(rollups(sums))
                await entry.add_units(day_units(sums))
                await entry.see(_seen(sums))
                await entry.log(self._sampler.sample([batch.requests for batch in fresh]))
        self._taken(sum(len(batch.requests) for batch in fresh))


def _settle(waiting: Iterable[_Waiting], error: Exception | None) -> None:
    for _, done in waiting:
        if done.done():  # whoever waited for it has gone
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)


def _seen(sums: Sums) -> dict[tuple[UUID, UUID], tuple[date, date]]:
    spans: dict[tuple[UUID, UUID], tuple[int, int]] = {}
    for at, caller, _ in sums.asked:
        who = caller.tenant_id, caller.user_id
        first, last = spans.get(who, (at, at))
        spans[who] = min(first, at), max(last, at)
    return {who: (_day_of(first), _day_of(last)) for who, (first, last) in spans.items() if who[1] != NOBODY}


def _day_of(seconds: int) -> date:
    return datetime.fromtimestamp(seconds, UTC).date()
