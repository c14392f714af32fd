"""Live bars: many in one commit, numbered ones in their order."""

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_service.domain.bars import Bars
from data_service.domain.errors import UnfitBars
from data_service.domain.live import LiveBars
from data_service.domain.ports import IndexedSnapshot
from tests.data.dataset_child import a_bar
from tests.data.memory import MemoryWriter

FEED = "kalpi.market.feed.v1.test"


class Writer(MemoryWriter):
    """While `held`, a commit waits."""

    def __init__(self) -> None:
        super().__init__()
        self.held: threading.Event | None = None
        self.fails = False

    def commit(self, change: Callable[[IndexedSnapshot], Sequence[Bars]]) -> Sequence[Bars]:
        if self.held is not None:
            self.held.wait(10)
        if self.fails:
            raise OSError(28, "full")
        return super().commit(change)


class Announced:
    def __init__(self) -> None:
        self.symbols: list[str] = []

    async def announce(self, symbol: str) -> None:
        self.symbols.append(symbol)


@pytest.fixture
def writer() -> Writer:
    return Writer()


@pytest.fixture
def announced() -> Announced:
    return Announced()


@pytest.fixture
def live(writer: Writer, announced: Announced) -> LiveBars:
    return LiveBars(writer, announced)


async def test_bars_that_come_during_a_commit_share_the_next_one(live: LiveBars, writer: Writer, announced: Announced) -> None:
    writer.held = threading.Event()
    first = asyncio.create_task(live.take(FEED, "A", a_bar("2020-01-01", 1.0)))
    await asyncio.sleep(0)
    others = [asyncio.create_task(live.take(FEED, "A", a_bar(f"2020-01-{day:02d}", day))) for day in range(2, 30)]
    await asyncio.sleep(0)
    writer.held.set()
    assert await asyncio.gather(first, *others) == [True] * 29
    assert writer.commits == 2
    assert writer.bars["A"].close.tolist() == [1.0, *map(float, range(2, 30))]
    assert announced.symbols == ["A", "A"]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 3)), min_size=1, max_size=12), st.booleans())
def test_of_one_day_the_bar_with_the_highest_number_stays(sent: list[tuple[int, int]], at_once: bool) -> None:
    """Whatever the order, one after the other or all in one batch."""
    writer = Writer()
    live = LiveBars(writer, Announced())
    takes = [(f"2020-01-0{day}", float(100 + sequence), sequence) for sequence, day in sent]

    async def run() -> None:
        if at_once:
            await asyncio.gather(*(live.take(FEED, "A", a_bar(day, close), sequence) for day, close, sequence in takes))
        else:
            for day, close, sequence in takes:
                await live.take(FEED, "A", a_bar(day, close), sequence)

    asyncio.run(run())
    expected = {day: max(close for other, close, _ in takes if other == day) for day, _, _ in takes}
    bars = writer.bars["A"]
    assert {str(day): close for day, close in zip(bars.date, bars.close.tolist(), strict=True)} == expected


async def test_a_number_counts_only_once_its_bar_is_kept(live: LiveBars, writer: Writer) -> None:
    writer.fails = True
    with pytest.raises(OSError, match="full"):
        await live.take(FEED, "A", a_bar("2020-01-01", 9.0), 9)
    writer.fails = False
    assert await live.take(FEED, "A", a_bar("2020-01-01", 5.0), 5), "nine was never kept"
    assert not await live.take(FEED, "A", a_bar("2020-01-01", 4.0), 4)
    assert await live.take("another feed", "A", a_bar("2020-01-01", 4.0), 4), "another feed counts for itself"


async def test_an_unfit_bar_is_refused_and_the_others_taken(live: LiveBars, writer: Writer) -> None:
    outcomes = await asyncio.gather(
        live.take(FEED, "A", a_bar("2020-01-01", 1.0)),
        live.take(FEED, "A", a_bar("2020-01-02", -1.0)),
        return_exceptions=True,
    )
    assert outcomes[0] is True
    assert isinstance(outcomes[1], UnfitBars)
    assert len(writer.bars["A"]) == 1
