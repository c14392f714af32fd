"""Usage as it is read: one statement a question, over rollups that their time and their key find; it may lag."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text

from ratelimit_service.domain.analytics import GrowthStep, LatencyBy, TopBy, TopOrder
from ratelimit_service.domain.history import HistoryFilter, Row, Window
from ratelimit_service.domain.requests import NOBODY
from ratelimit_service.domain.rollups import Grain
from shared.replica import Replicated

__all__ = ["PostgresAnalytics", "PostgresHistory"]

# tables and columns are named by this module alone; what is asked comes as a parameter
# ruff: noqa: S608


def _counts(hits: str) -> str:
    return f"""
        sum(requests)::bigint AS requests, sum(units)::bigint AS units,
        coalesce(sum(requests) FILTER (WHERE status < 400), 0)::bigint AS succeeded,
        coalesce(sum(requests) FILTER (WHERE status = 429), 0)::bigint AS rate_limited,
        coalesce(sum(requests) FILTER (WHERE status BETWEEN 400 AND 499 AND status <> 429), 0)::bigint AS client_errors,
        coalesce(sum(requests) FILTER (WHERE status >= 500), 0)::bigint AS server_errors,
        coalesce({hits}, 0)::bigint AS cache_hits, sum(bytes_out)::bigint AS bytes_out
    """


_DURING = "at >= :start AND at < :end"
_OF_DAYS = "day >= :first AND day <= :last"
_NAMES: Mapping[str, tuple[str, ...]] = {"endpoint": ("method", "endpoint"), "key": ("key_id",), "user": ("user_id",)}
_TOP = {"tenant": "tenant_id", "user": "user_id", "key": "key_id"}
_FAILED = "coalesce(sum(requests) FILTER (WHERE status >= 400), 0)::bigint"
_LATENCY = {"endpoint": "method || ' ' || endpoint", "cache": "cache", "tier": "tier", "status": "status::text"}


class PostgresHistory:
    def __init__(self, reads: Replicated) -> None:
        self._reads = reads

    async def rows(self, asked: HistoryFilter) -> Sequence[Row]:
        names = _NAMES[asked.by]
        given: dict[str, Any] = {"tenant": asked.tenant_id, **_moments(asked.window), "limit": asked.limit}
        wanted = ["tenant_id = :tenant", _DURING]
        for column, value in (("user_id", asked.user_id), ("key_id", asked.key_id)):
            if value is not None:
                wanted.append(f"{column} = :{column}")
                given[column] = value
        if asked.after is not None:
            at, values = asked.after
            given |= {"at": at, **dict(zip(names, values, strict=True))}
            casts = ", ".join(f"CAST(:{name} AS {'uuid' if name.endswith('_id') else 'text'})" for name in names)
            wanted.append(f"(at, {', '.join(names)}) > (CAST(:at AS timestamptz), {casts})")
        keys = ", ".join(("at", *names))
        query = f"""
            SELECT {keys}, {_counts("sum(hits)")}, round(sum(latency_us) / sum(requests) / 1000, 3)::float8 AS mean_ms
            FROM ratelimit.usage_{asked.grain} WHERE {" AND ".join(wanted)} GROUP BY {keys} ORDER BY {keys} LIMIT :limit
        """
        return await _rows(self._reads, query, given)


class PostgresAnalytics:
    def __init__(self, reads: Replicated) -> None:
        self._reads = reads

    async def traffic(self, window: Window, grain: Grain) -> Sequence[Row]:
        hits = "sum(requests) FILTER (WHERE cache = 'hit')"
        query = f"SELECT at, slot, {_counts(hits)} FROM ratelimit.traffic_{grain} WHERE {_DURING} GROUP BY at, slot"
        return await self._read(query, _moments(window))

    async def active(self, window: Window) -> Row:
        query = f"""
            SELECT * FROM (
                SELECT count(DISTINCT tenant_id) AS tenants, count(DISTINCT user_id) AS users,
                       count(DISTINCT key_id) FILTER (WHERE key_id <> :nobody) AS keys
                FROM ratelimit.usage_day WHERE {_DURING} AND user_id <> :nobody
            ) AS active, (
                SELECT coalesce(sum(lost_events), 0)::bigint AS lost_events, coalesce(sum(lost_units), 0)::bigint AS lost_units
                FROM ratelimit.usage_inbox WHERE {_OF_DAYS}
            ) AS lost
        """
        (row,) = await self._read(query, {**_moments(window), **_days(window), "nobody": NOBODY})
        return row

    async def top(self, window: Window, by: TopBy, order: TopOrder, limit: int) -> Sequence[Row]:
        measures = "sum(requests)::bigint AS requests, sum(units)::bigint AS units"
        given = {**_moments(window), "limit": limit}
        if by in {"indicator", "symbol"}:
            query = f"""
                SELECT name, {measures}, sum(failed)::bigint AS failed
                FROM ratelimit.demand_day WHERE {_DURING} AND kind = :kind
            """
            given["kind"] = by
        elif by == "endpoint":
            query = f"""
                SELECT method || ' ' || endpoint AS name, {measures}, {_FAILED} AS failed
                FROM ratelimit.traffic_day WHERE {_DURING}
            """
        else:
            query = f"""
                SELECT {_TOP[by]}::text AS name, {measures}, {_FAILED} AS failed
                FROM ratelimit.usage_day WHERE {_DURING} AND {_TOP[by]} <> :nobody
            """
            given["nobody"] = NOBODY
        return await self._read(f"{query} GROUP BY 1 ORDER BY {order} DESC, 1 LIMIT :limit", given)

    async def slots(self, window: Window, by: LatencyBy) -> Sequence[Row]:
        query = f"""
            SELECT {_LATENCY[by]} AS name, slot, sum(requests)::bigint AS requests, sum(latency_us)::bigint AS latency_us
            FROM ratelimit.traffic_day WHERE {_DURING} GROUP BY 1, slot
        """
        return await self._read(query, _moments(window))

    async def errors(self, window: Window, limit: int) -> Sequence[Row]:
        query = f"""
            SELECT status, method, endpoint, sum(requests)::bigint AS requests,
                   (sum(requests) / sum(sum(requests)) OVER ())::float8 AS share
            FROM ratelimit.traffic_day WHERE {_DURING} AND status >= 400
            GROUP BY status, method, endpoint ORDER BY 4 DESC, 1, 2, 3 LIMIT :limit
        """
        return await self._read(query, {**_moments(window), "limit": limit})

    async def newest_errors(self, window: Window, limit: int) -> Sequence[Row]:
        query = f"""
            SELECT at, request_id, status, method, endpoint, tenant_id::text, user_id::text, key_id::text
            FROM ratelimit.request_log WHERE {_OF_DAYS} AND status >= 400 ORDER BY day DESC, id DESC LIMIT :limit
        """
        return await self._read(query, {**_days(window), "limit": limit})

    async def growth(self, window: Window, step: GrowthStep) -> Sequence[Row]:
        query = f"""
            WITH asked AS (
                SELECT date_trunc(:step, at AT TIME ZONE 'UTC')::date AS day, sum(requests)::bigint AS requests,
                       sum(units)::bigint AS units, count(DISTINCT tenant_id) FILTER (WHERE user_id <> :nobody) AS tenants,
                       count(DISTINCT user_id) FILTER (WHERE user_id <> :nobody) AS users
                FROM ratelimit.usage_day WHERE {_DURING} GROUP BY 1
            ), came AS (
                SELECT date_trunc(:step, first_day::timestamp)::date AS day, count(*) AS new_users
                FROM ratelimit.caller_seen WHERE first_day >= :first AND first_day <= :last GROUP BY 1
            )
            SELECT day, requests, units, tenants, users, coalesce(new_users, 0) AS new_users
            FROM asked LEFT JOIN came USING (day) ORDER BY day
        """
        return await self._read(query, {**_moments(window), **_days(window), "step": step, "nobody": NOBODY})

    async def _read(self, query: str, given: Mapping[str, Any]) -> Sequence[Row]:
        return await _rows(self._reads, query, given)


async def _rows(reads: Replicated, query: str, given: Mapping[str, Any]) -> Sequence[Row]:
    return [dict(row) for row in await reads.fetch(text(query), given)]


def _moments(window: Window) -> dict[str, Any]:
    return {"start": window.start, "end": window.end}


def _days(window: Window) -> dict[str, Any]:
    return {"first": window.first, "last": window.last}
