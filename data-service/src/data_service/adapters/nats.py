"""Live bars in, data versions out."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Annotated

import numpy as np
from nats.js.errors import NotFoundError
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from data_service.domain.bars import Bar
from data_service.domain.errors import UnfitBars
from data_service.domain.intervals import StoredInterval
from data_service.domain.live import LiveBars
from shared.errors import Unavailable
from shared.events import EventBus, Fact, RejectedFact
from shared.metrics import Metrics
from shared.subjects import BARS_SUBJECTS, FEED_STREAM, FEED_SUBJECTS, MARKET_STREAM, SYMBOL_PATTERN, bars_subject

__all__ = ["BarFacts", "Feed", "FeedData", "declare_market_streams"]

_WEEK_S = 7 * 86_400
_FEED_BYTES = 448 << 20
# one fact of some 300 bytes for each of 200,000 symbols
_BARS_BYTES = 64 << 20
_WORKER = "data-service-feed"
# a batch of 64 bars takes about a second; what a dead leader had taken is the next one's after this
_ACK_WAIT_S = 5


async def declare_market_streams(bus: EventBus, facts: "BarFacts") -> None:
    # in this order: KALPI_MARKET once held the feed's subjects too, and no two streams may hold the same
    await bus.streams.declare(
        MARKET_STREAM,
        [BARS_SUBJECTS],
        max_age_s=0,
        max_bytes=_BARS_BYTES,
        max_msgs_per_subject=1,
        on_new=facts.forget,
    )
    await bus.streams.declare(FEED_STREAM, [FEED_SUBJECTS], max_age_s=_WEEK_S, max_bytes=_FEED_BYTES)


class BarFacts:
    """`kalpi.market.bars.v1.<symbol>`: the newest data version of a symbol, told by the one process that leads."""

    def __init__(self, bus: EventBus, versions: Callable[[], Mapping[str, str]]) -> None:
        self._bus = bus
        self._versions = versions
        self._told: dict[str, str] = {}
        self._leads = False
        # one announcement at a time, so that the last one of a symbol is its newest
        self._turn = asyncio.Lock()

    async def lead(self) -> None:
        """From here on this process tells; what was told before it is read from NATS."""
        self._leads = True
        for symbol in self._versions():
            if (version := await self._last_told(symbol)) is not None:
                self._told[symbol] = version
        await self.announce_changed()

    async def forget(self) -> None:
        """NATS has lost what was told: tell it again."""
        self._told.clear()
        if self._leads:
            await self.announce_changed()

    async def announce_changed(self) -> None:
        """The symbols whose bars are not those last told."""
        for symbol in [symbol for symbol, version in self._versions().items() if self._told.get(symbol) != version]:
            await self.announce(symbol)

    async def announce(self, symbol: str) -> None:
        """Returns once the symbol's newest version is published; raises when it is not. Twice is harmless."""
        async with self._turn:
            version = self._versions().get(symbol)
            if version is None:  # gone since, with the source it stood in
                return
            data = {"symbol": symbol, "data_version": version}
            await self._bus.publish(bars_subject(symbol), data)
            self._told[symbol] = version

    async def _last_told(self, symbol: str) -> str | None:
        try:
            message = await self._bus.jetstream.get_last_msg(MARKET_STREAM, bars_subject(symbol))
        except NotFoundError:
            return None
        return str(Fact.model_validate_json(message.data or b"").data["data_version"])


_DAY: TypeAdapter[date] = TypeAdapter(date)
_MOMENT: TypeAdapter[datetime] = TypeAdapter(AwareDatetime)


class _FeedBar(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    date: str
    open: float
    high: float
    low: float
    close: float
    volume: float


class FeedData(BaseModel):
    model_config = ConfigDict(extra="forbid")
    symbol: str = Field(pattern=f"^{SYMBOL_PATTERN}$")
    interval: StoredInterval
    bar: _FeedBar
    final: bool
    sequence: Annotated[int | None, Field(ge=0, lt=1 << 63)] = None

    def date(self) -> np.datetime64:
        """Of a bar of a day its day, of a shorter one its beginning, which has an offset from UTC; ValidationError."""
        if self.interval == "1day":
            return np.datetime64(_DAY.validate_python(self.bar.date), "D")
        return np.datetime64(_MOMENT.validate_python(self.bar.date).astimezone(UTC).replace(tzinfo=None), "s")


class Feed:
    """`kalpi.market.feed.v1.*`: final bars are taken, forming and overtaken ones counted, unfit ones dead-lettered; while they
    cannot be stored or told of they wait."""

    def __init__(self, bus: EventBus, live: LiveBars, metrics: Metrics) -> None:
        self._bus = bus
        self._live = live
        self._bars = metrics.counter(
            "kalpi_data_feed_bars", "Bars of live feeds; one that waits each time it is tried", ("outcome",)
        )

    def start(self) -> None:
        self._bus.work(FEED_STREAM, [FEED_SUBJECTS], _WORKER, self._on_bar, ack_wait_s=_ACK_WAIT_S)

    async def _on_bar(self, fact: Fact) -> None:
        try:
            data = FeedData.model_validate(fact.data)
            if not data.final:
                self._bars.labels("forming").inc()
                return
            values = data.bar.model_dump(exclude={"date"})
            bar = Bar(date=data.date(), **values)
            taken = await self._live.take(fact.type, data.symbol, bar, data.sequence, data.interval)
        except (ValidationError, UnfitBars) as error:
            self._bars.labels("refused").inc()
            raise RejectedFact(str(error)) from error
        except (OSError, Unavailable) as error:  # a disk that is full or gone, or NATS
            self._bars.labels("waiting").inc()
            raise Unavailable(f"a bar cannot be stored or told of now ({type(error).__name__})") from error
        self._bars.labels("taken" if taken else "overtaken").inc()
