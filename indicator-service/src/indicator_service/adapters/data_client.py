"""Bars from data-service, kept while they are the newest.

Every request asks data-service whether what is kept still holds (If-None-Match on the data version), so no value is ever computed
on bars that were already replaced; a 304 moves no bars. Requests that come while a call for the same bars is under way share the
next one: the call under way may have been answered before they came.
"""

import asyncio
import io
from collections import OrderedDict

import httpx
import numpy as np
import polars as pl

from indicator_service.domain.series import Bars
from shared.errors import InvalidInput, NotFound, Unavailable
from shared.http_client import ServiceClient

__all__ = ["DataClient"]

_Key = tuple[str, str, str]
_PRICES = ("open", "high", "low", "close", "volume")


class DataClient:
    def __init__(self, client: ServiceClient, max_bytes: int) -> None:
        self._client = client
        self._kept: OrderedDict[_Key, Bars] = OrderedDict()
        self._left = max_bytes
        self._under_way: dict[_Key, asyncio.Task[Bars]] = {}
        self._waiting: dict[_Key, asyncio.Task[Bars]] = {}

    async def bars(self, symbol: str, interval: str, adjustment: str) -> Bars:
        key = (symbol, interval, adjustment)
        call = self._waiting.get(key)
        if call is None:
            call = self._waiting[key] = asyncio.create_task(self._call(key, self._under_way.get(key)))
            call.add_done_callback(lambda task: self._ended(key, task))
        # shielded: one client that goes away must not take the answer from the others
        return await asyncio.shield(call)

    async def _call(self, key: _Key, before: "asyncio.Task[Bars] | None") -> Bars:
        if before is not None:
            await asyncio.wait({before})
        self._under_way[key] = self._waiting.pop(key)
        return await self._fetch(key)

    def _ended(self, key: _Key, call: "asyncio.Task[Bars]") -> None:
        if self._under_way.get(key) is call:
            del self._under_way[key]
        if not call.cancelled():
            call.exception()  # whoever still waits gets it

    async def _fetch(self, key: _Key) -> Bars:
        symbol, interval, adjustment = key
        kept = self._kept.get(key)
        response = await self._client.get(
            f"/internal/v1/bars/{symbol}",
            params={"interval": interval, "adjustment": adjustment},
            headers={"If-None-Match": f'"{kept.data_version}"'} if kept else None,
        )
        if kept is not None and response.status_code == 304:
            self._kept.move_to_end(key)
            return kept
        bars = _bars_of(symbol, _checked(response))
        self._keep(key, bars)
        return bars

    def _keep(self, key: _Key, bars: Bars) -> None:
        if (old := self._kept.pop(key, None)) is not None:
            self._left += old.nbytes
        self._kept[key] = bars
        self._left -= bars.nbytes
        while self._left < 0 and self._kept:
            _, oldest = self._kept.popitem(last=False)
            self._left += oldest.nbytes


def _checked(response: httpx.Response) -> httpx.Response:
    if response.status_code == 200:
        return response
    detail = str(response.json().get("detail", "")) if "json" in response.headers.get("content-type", "") else ""
    if response.status_code == 404:
        raise NotFound(detail)
    if response.status_code == 422:
        raise InvalidInput(detail, response.json()["errors"])
    raise Unavailable(f"data-service answered {response.status_code}")


def _bars_of(symbol: str, response: httpx.Response) -> Bars:
    frame = pl.read_ipc_stream(io.BytesIO(response.content))
    prices = {name: np.ascontiguousarray(frame[name].to_numpy(), dtype=np.float64) for name in _PRICES}
    dtype = frame.schema["date"]
    zone = dtype.time_zone if isinstance(dtype, pl.Datetime) else None
    return Bars(
        symbol=symbol,
        data_version=response.headers["etag"].strip('"'),
        date=frame["date"].to_numpy().astype("datetime64[D]" if zone is None else "datetime64[s]"),
        zone=zone,
        **prices,
    )
