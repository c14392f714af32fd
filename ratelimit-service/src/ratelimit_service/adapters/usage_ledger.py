"""What requests add to Postgres: one transaction at a time, of however many ratelimit-services there are.

An advisory lock keeps others out until the commit, so that two writers never wait for each other's rows, and names are counted
by one. The number of statements is the same whatever the number of requests.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Table, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import TextClause

from ratelimit_service.adapters.usage_tables import DEMAND, TRAFFIC, USE, caller_seen, request_log, usage_inbox, usage_units
from ratelimit_service.domain.intake import Batch
from ratelimit_service.domain.rollups import OTHER, Asked, Demand, Grain, Rollup, Spent, folded
from ratelimit_service.domain.sampling import LogEntry
from shared.postgres import Begin

__all__ = ["MOST_NAMES", "PostgresLedger"]

MOST_NAMES: Mapping[Grain, int] = {"minute": 1000, "hour": 10_000, "day": 10_000}
"""Symbols, and indicators, that have a row of their own; the others of that time are `other`."""
_REMEMBERED = 256
_MOST_SEEN = 50_000
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's own
_LOCK = text("SELECT pg_advisory_xact_lock(:lock)")
_LOCK_ID = int.from_bytes(b"usage")
_LOG_COLUMNS = [column.name for column in request_log.columns]


def _insert(table: Table, on_conflict: str) -> TextClause:
    columns = {column.name: column.type.compile(_DIALECT) for column in table.columns}
    arrays = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in columns.items())
    key = ", ".join(column.name for column in table.primary_key)
    return text(
        f"INSERT INTO {table.fullname} AS old ({', '.join(columns)}) SELECT * FROM unnest({arrays}) "  # noqa: S608 - our tables
        f"ON CONFLICT ({key}) {on_conflict}"
    )


def _adding(table: Table) -> TextClause:
    """Adds the measures, which are all that is not the key."""
    measures = [column.name for column in table.columns if column.name not in table.primary_key.columns]
    return _insert(table, f"DO UPDATE SET {', '.join(f'{name} = old.{name} + excluded.{name}' for name in measures)}")


_NOTE = text(f"{_insert(usage_inbox, 'DO NOTHING')} RETURNING batch_id")
_ADD = {table.name: _adding(table) for tables in (USE, TRAFFIC, DEMAND) for table in tables.values()}
_ADD_UNITS = _insert(usage_units, "DO UPDATE SET units = old.units + excluded.units, tier = excluded.tier")
_SEE = _insert(
    caller_seen,
    "DO UPDATE SET first_day = LEAST(old.first_day, excluded.first_day), last_day = GREATEST(old.last_day, excluded.last_day) "
    "WHERE excluded.first_day < old.first_day OR excluded.last_day > old.last_day",
)
_NAMES = {
    grain: text(f"SELECT name FROM {table.fullname} WHERE at = :at AND kind = :kind AND name <> '{OTHER}'")  # noqa: S608 - as above
    for grain, table in DEMAND.items()
}
_Names = OrderedDict[tuple[Grain, int, str], set[str]]
_Seen = tuple[tuple[UUID, UUID], tuple[date, date]]


class PostgresLedger:
    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._names: _Names = OrderedDict()
        self._seen: set[_Seen] = set()

    @asynccontextmanager
    async def entry(self) -> AsyncIterator["PostgresEntry"]:
        async with self._begin() as connection:
            await connection.execute(_LOCK, {"lock": _LOCK_ID})
            entry = PostgresEntry(connection, self._names, self._seen)
            yield entry
        if len(self._seen) + len(entry.saw) > _MOST_SEEN:
            self._seen.clear()
        self._seen |= entry.saw
        while len(self._names) > _REMEMBERED:
            self._names.popitem(last=False)


class PostgresEntry:
    """`names` are those that have rows, as far as was seen; a name is looked for again where it is not among them. `seen` is what
    was committed about users, `saw` what is to be."""

    def __init__(self, connection: AsyncConnection, names: _Names, seen: set[_Seen]) -> None:
        self._connection = connection
        self._names = names
        self._seen = seen
        self.saw: set[_Seen] = set()

    async def new(self, batches: Iterable[Batch]) -> set[UUID]:
        rows = [(one.day, one.id, len(one.requests), one.lost_events, one.lost_units) for one in batches]
        return set((await self._connection.execute(_NOTE, _columns(usage_inbox, rows))).scalars())

    async def add(self, added: Mapping[Grain, Rollup]) -> None:
        for grain, rollup in added.items():
            demand = await self._bounded(grain, rollup.demand)
            for table, rows in ((USE[grain], rollup.use), (TRAFFIC[grain], rollup.traffic), (DEMAND[grain], demand)):
                if rows:
                    whole = [(_moment(key.at), *key[1:], *measures) for key, measures in rows.items()]
                    await self._connection.execute(_ADD[table.name], _columns(table, whole))

    async def add_units(self, units: Mapping[tuple[int, str], Spent]) -> None:
        if units:
            rows = [(_moment(day).date(), subject, spent.tier, spent.units) for (day, subject), spent in units.items()]
            await self._connection.execute(_ADD_UNITS, _columns(usage_units, rows))

    async def log(self, entries: Sequence[LogEntry]) -> None:
        connection: Any = (await self._connection.get_raw_connection()).driver_connection
        await connection.copy_records_to_table(
            request_log.name, schema_name=request_log.schema, columns=_LOG_COLUMNS, records=map(_log_row, entries)
        )

    async def see(self, callers: Mapping[tuple[UUID, UUID], tuple[date, date]]) -> None:
        self.saw = callers.items() - self._seen
        if self.saw:
            await self._connection.execute(_SEE, _columns(caller_seen, [(*who, *days) for who, days in self.saw]))

    async def _bounded(self, grain: Grain, demand: Asked) -> Asked:
        """With new names taken, the most asked for first, while there is room for them."""
        asked: dict[tuple[int, str], list[Demand]] = {}
        for key in sorted(demand, key=lambda key: -demand[key][0]):
            if key.name != OTHER:
                asked.setdefault((key.at, key.kind), []).append(key)
        named: set[Demand] = set()
        for (at, kind), keys in asked.items():
            names = await self._names_with(grain, at, kind, {key.name for key in keys})
            for key in keys:
                if key.name in names or len(names) < MOST_NAMES[grain]:
                    names.add(key.name)
                    named.add(key)
        return folded(demand, named.__contains__)

    async def _names_with(self, grain: Grain, at: int, kind: str, wanted: set[str]) -> set[str]:
        names = self._names.setdefault((grain, at, kind), set())
        self._names.move_to_end((grain, at, kind))
        if len(names) < MOST_NAMES[grain] and not wanted <= names:
            names.update((await self._connection.execute(_NAMES[grain], {"at": _moment(at), "kind": kind})).scalars())
        return names


def _columns(table: Table, rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    return {column.name: list(values) for column, values in zip(table.columns, zip(*rows, strict=True), strict=True)}


def _log_row(entry: LogEntry) -> tuple[Any, ...]:
    request = entry.request
    at = datetime.fromtimestamp(request.at_ms / 1000, UTC)
    caller, call = request.caller, request.call
    whom = (caller.tenant_id, caller.user_id, caller.key_id, caller.session, caller.tier, caller.subject)
    what = (call.method, call.endpoint, call.indicator, call.symbol, call.status, call.cache)
    how = (request.latency_us, request.units, request.bytes_out, request.request_id, entry.kept)
    return (at.date(), request.id, at, *whom, *what, *how)


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
