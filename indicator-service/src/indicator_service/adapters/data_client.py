"""Bars from data-service, kept while they are the newest.

Every request asks data-service whether what is kept still holds (its data versions), so no value is ever computed on bars that
were already replaced; for those that hold no bars are moved. Requests that come while a call for the same bars is under way share
the next one: the call under way may have been answered before they came.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import httpx

from indicator_service.adapters.kept_bars import Block, KeptBars, Key
from indicator_service.adapters.wire import Sent, many_of, one_of
from indicator_service.domain.ports import ManyBars, Versions
from indicator_service.domain.series import COLUMNS, Bars
from shared.errors import InvalidInput, NotFound, Unavailable
from shared.http_client import ServiceClient
from shared.tasks import end_task

__all__ = ["DataClient"]

_CHUNK = 256
"""Symbols in one call: 2.6 MB for five years of days and one column."""


class DataClient:
    def __init__(self, client: ServiceClient, max_bytes: int) -> None:
        self._client = client
        self._kept = KeptBars(max_bytes)
        self._versions: dict[str, tuple[str, Versions]] = {}
        self._under_way: dict[Key, asyncio.Task[Bars]] = {}
        self._waiting: dict[Key, asyncio.Task[Bars]] = {}

    async def bars(self, symbol: str, interval: str, adjustment: str, as_of: date | None = None) -> Bars:
        key = (symbol, interval, adjustment, as_of)
        call = self._waiting.get(key)
        if call is None:
            call = self._waiting[key] = asyncio.create_task(self._call(key, self._under_way.get(key)))
            call.add_done_callback(lambda task: self._ended(key, task))
        # shielded: one client that goes away must not take the answer from the others
        return await asyncio.shield(call)

    async def many(
        self,
        symbols: Sequence[str] | None,
        interval: str,
        adjustment: str,
        as_of: date | None = None,
        columns: Collection[str] = ("close",),
    ) -> AsyncIterator[ManyBars]:
        """A few symbols are one call. Of more it is first asked which versions there are, one small answer or none, and then for
        what is not kept."""
        asked = _Asked(interval, adjustment, as_of, frozenset(columns))
        names = None if symbols is None else list(dict.fromkeys(symbols))
        if names is None or len(names) > _CHUNK:
            now = (await self.versions(interval)).of(names)
            names, missing = names or list(now.known), now.missing
            held = self._fresh(asked, names, now.known)
            names = [name for name in names if name not in held and name not in missing]
        else:
            held, missing = {}, {}
        calls = [names[at : at + _CHUNK] for at in range(0, len(names), _CHUNK)]
        under_way = asyncio.create_task(self._part(asked, calls[0])) if calls else None
        try:
            if held or missing:
                yield ManyBars(held, missing)
            for later in [*calls[1:], []] if calls else []:
                assert under_way is not None  # noqa: S101 - there is one for each
                part = await under_way
                under_way = asyncio.create_task(self._part(asked, later)) if later else None
                yield part
        finally:
            if under_way is not None:
                await end_task(under_way)

    def _fresh(self, asked: "_Asked", names: Sequence[str], versions: Mapping[str, str]) -> dict[str, Bars]:
        """What is kept of these and holds."""
        get, key = self._kept.get, asked.key
        kept = [(name, bars) for name in names if (bars := get(key(name))) is not None]
        return {name: bars for name, bars in kept if bars.data_version == versions.get(name) and bars.has(asked.columns)}

    async def versions(self, interval: str) -> Versions:
        etag, before = self._versions.get(interval, (None, None))
        response = await self._client.get(
            "/internal/v1/versions", params={"interval": interval}, headers={"If-None-Match": etag} if etag else None
        )
        if before is not None and response.status_code == 304:
            return before
        told = _checked(response).json()
        now = Versions(dict(zip(told["symbols"], told["versions"], strict=True)), told["missing"])
        self._versions[interval] = response.headers["etag"], now
        return now

    async def _part(self, asked: "_Asked", names: Sequence[str]) -> ManyBars:
        kept = {name: bars for name in names if (bars := self._kept.get(asked.key(name))) is not None}
        known = {name: bars.data_version for name, bars in kept.items() if bars.has(asked.columns)}
        # with what is kept of them now, so that two that ask for different columns do not take turns
        more = {column for bars in kept.values() for column in COLUMNS if column not in asked.columns and bars.has([column])}
        wanted = [column for column in COLUMNS if column in asked.columns or column in more]
        question = {**asked.question, "symbols": names, "columns": wanted, "known": known}
        content = _checked(await self._client.post("/internal/v1/bars", json=question)).content
        sent: Sent = await asyncio.to_thread(many_of, content) if len(content) > 1 << 20 else many_of(content)
        block = Block(sent.nbytes)
        for name, bars in sent.bars.items():
            self._kept.keep(asked.key(name), bars, block)
        found = {**{name: kept[name] for name in sent.unchanged}, **sent.bars}
        return ManyBars({name: found[name] for name in names if name in found}, sent.missing)

    async def _call(self, key: Key, before: "asyncio.Task[Bars] | None") -> Bars:
        if before is not None:
            await asyncio.wait({before})
        self._under_way[key] = self._waiting.pop(key)
        return await self._fetch(key)

    def _ended(self, key: Key, call: "asyncio.Task[Bars]") -> None:
        if self._under_way.get(key) is call:
            del self._under_way[key]
        if not call.cancelled():
            call.exception()  # whoever still waits gets it

    async def _fetch(self, key: Key) -> Bars:
        symbol, interval, adjustment, as_of = key
        kept = self._kept.get(key)
        if kept is not None and not kept.has(COLUMNS):
            kept = None
        response = await self._client.get(
            f"/internal/v1/bars/{symbol}",
            params={"interval": interval, "adjustment": adjustment, **({"as_of": as_of.isoformat()} if as_of else {})},
            headers={"If-None-Match": f'"{kept.data_version}"'} if kept else None,
        )
        if kept is not None and response.status_code == 304:
            return kept
        bars = one_of(symbol, _checked(response))
        self._kept.keep(key, bars, Block(bars.nbytes))
        return bars


@dataclass(frozen=True, slots=True)
class _Asked:
    """Of many symbols alike."""

    interval: str
    adjustment: str
    as_of: date | None
    columns: frozenset[str]

    def key(self, symbol: str) -> Key:
        return symbol, self.interval, self.adjustment, self.as_of

    @property
    def question(self) -> dict[str, Any]:
        as_of = self.as_of.isoformat() if self.as_of else None
        return {"interval": self.interval, "adjustment": self.adjustment, "as_of": as_of}


def _checked(response: httpx.Response) -> httpx.Response:
    if response.status_code == 200:
        return response
    detail = str(response.json().get("detail", "")) if "json" in response.headers.get("content-type", "") else ""
    if response.status_code == 404:
        raise NotFound(detail)
    if response.status_code == 422:
        raise InvalidInput(detail, response.json()["errors"])
    raise Unavailable(f"data-service answered {response.status_code}")
