"""Live bars in, data versions out."""

from datetime import date
from typing import Literal

import numpy as np
from nats.js.errors import NotFoundError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_service.domain.bars import Bar, Bars
from data_service.domain.errors import UnfitBars
from data_service.domain.live import LiveBars
from data_service.domain.store import BarStore
from shared.events import EventBus, Fact, RejectedFact
from shared.metrics import Metrics
from shared.subjects import BARS_SUBJECTS, FEED_SUBJECTS, MARKET_STREAM, SYMBOL_PATTERN, bars_subject

__all__ = ["BarFacts", "Feed", "declare_market_stream"]

_WEEK_S = 7 * 86_400
_STREAM_BYTES = 512 << 20
_WORKER = "data-service-feed"


async def declare_market_stream(bus: EventBus) -> None:
    await bus.declare(MARKET_STREAM, [FEED_SUBJECTS, BARS_SUBJECTS], max_age_s=_WEEK_S, max_bytes=_STREAM_BYTES)


class BarFacts:
    """`kalpi.market.bars.v1.<symbol>`: the newest data version of a symbol."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    async def announce(self, bars: Bars) -> None:
        data = {"symbol": bars.symbol, "data_version": bars.data_version, "interval": "1day"}
        await self._bus.publish(bars_subject(bars.symbol), data)

    async def announce_changed(self, store: BarStore) -> None:
        """At start: the symbols whose bars are not those last announced, for caches that outlived the change."""
        for bars in store:
            if await self._last_announced(bars.symbol) != bars.data_version:
                await self.announce(bars)

    async def _last_announced(self, symbol: str) -> str | None:
        try:
            message = await self._bus.jetstream.get_last_msg(MARKET_STREAM, bars_subject(symbol))
        except NotFoundError:
            return None
        return str(Fact.model_validate_json(message.data or b"").data["data_version"])


class _FeedBar(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    date: date
    open: float
    high: float
    low: float
    close: float
    volume: float


class _FeedData(BaseModel):
    model_config = ConfigDict(extra="forbid")
    symbol: str = Field(pattern=f"^{SYMBOL_PATTERN}$")
    interval: Literal["1day"]
    bar: _FeedBar
    final: bool


class Feed:
    """`kalpi.market.feed.v1.*`: final bars are taken, forming ones counted, unfit ones dead-lettered."""

    def __init__(self, bus: EventBus, live: LiveBars, metrics: Metrics) -> None:
        self._bus = bus
        self._live = live
        self._taken = metrics.counter("kalpi_data_feed_bars", "Bars of live feeds", ("outcome",))

    def start(self) -> None:
        self._bus.work(MARKET_STREAM, [FEED_SUBJECTS], _WORKER, self._on_bar)

    async def _on_bar(self, fact: Fact) -> None:
        try:
            data = _FeedData.model_validate(fact.data)
            if not data.final:
                self._taken.labels("forming").inc()
                return
            values = data.bar.model_dump(exclude={"date"})
            await self._live.take(data.symbol, Bar(date=np.datetime64(data.bar.date, "D"), **values))
        except (ValidationError, UnfitBars) as error:
            self._taken.labels("refused").inc()
            raise RejectedFact(str(error)) from error
        self._taken.labels("taken").inc()
