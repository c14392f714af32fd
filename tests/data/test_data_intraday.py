"""Bars of less than a day: made coarser by the sessions of their exchange, adjusted by the daily ones, stored by the month."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_service.adapters.calendars import calendar_of
from data_service.adapters.dataset import Dataset
from data_service.adapters.parquet import sample_path
from data_service.domain.adjustment import Adjustment
from data_service.domain.bars import NUMBERS, Bar, Bars, Listing, Split, key_of
from data_service.domain.errors import UnfitBars
from data_service.domain.intervals import SECONDS, Interval
from data_service.domain.live import LiveBars
from data_service.domain.store import BarStore
from data_service.domain.symbols import SymbolBars
from shared.local_time import zoned
from tests.data.memory import MemoryWriter, snapshot_of
from tests.data.sources import read_bars

NEW_YORK = "America/New_York"


def moments(*texts: str, zone: str = NEW_YORK) -> np.ndarray:
    """Local times as datetime64[s] in UTC."""
    utc = [dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(dt.UTC) for text in texts]
    return np.array([moment.replace(tzinfo=None) for moment in utc], "datetime64[s]")


def local(dates: np.ndarray, zone: str = NEW_YORK) -> list[str]:
    utc = [moment.replace(tzinfo=dt.UTC) for moment in dates.tolist()]
    return [moment.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M") for moment in utc]


def minutes(first: str, last: str, zone: str = NEW_YORK, step: int = 60) -> np.ndarray:
    """Of one session, both included."""
    return np.arange(moments(first, zone=zone)[0], moments(last, zone=zone)[0] + 1, np.timedelta64(step, "s"))


def series(dates: np.ndarray, symbol: str = "AAPL", interval: str = "1min") -> list[Bars]:
    """Plausible bars on these dates, by month."""
    random = np.random.default_rng(len(dates))
    opened = 100 + np.cumsum(random.normal(0, 0.1, len(dates)))
    close = opened + random.normal(0, 0.1, len(dates))
    high, low = np.maximum(opened, close) + 0.05, np.minimum(opened, close) - 0.05
    volume = np.round(random.lognormal(5, 1, len(dates)))
    columns = {"open": opened, "high": high, "low": low, "close": close, "volume": volume, "adj_close": close}
    months = dates.astype("datetime64[M]")
    return [
        Bars(key_of(symbol, interval, month), dates[months == month], **{n: c[months == month] for n, c in columns.items()})
        for month in np.unique(months)
    ]


def head(symbol: str = "AAPL", exchange: str | None = "XNYS", splits: Sequence[Split] = ()) -> Bars:
    none = Bars.empty(symbol)
    return Bars(**{**vars(none), "listing": Listing(exchange, "USD"), "splits": tuple(splits)})


def symbol_of(*bars: Bars) -> SymbolBars:
    return SymbolBars.of(bars, calendar_of)


def joined(parts: Sequence[Bars]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([getattr(part, name) for part in parts]) for name in ("date", *NUMBERS)}


DAYS = [(f"{day} 09:30", f"{day} 15:59") for day in ("2024-03-07", "2024-03-08", "2024-03-11")]
"""The clocks of New York were put forward between the second and the third."""
SESSIONS = np.concatenate([minutes(*day) for day in DAYS])


@pytest.mark.parametrize("interval", [name for name in SECONDS if name != "1min"])
def test_bars_of_less_than_a_day_are_counted_from_the_opening_of_their_session(interval: Interval) -> None:
    parts = series(SESSIONS)
    made = symbol_of(head(), *parts).view(interval, "none")
    whole = joined(parts)
    for first, _ in DAYS:
        opened = moments(first)[0]
        of_day = (whole["date"] >= opened) & (whole["date"] < opened + np.timedelta64(8, "h"))
        number = (whole["date"][of_day] - opened).astype(np.int64) // SECONDS[interval]
        for at in np.unique(number):
            row = np.flatnonzero(made.bars.date == opened + np.timedelta64(int(at) * SECONDS[interval], "s"))
            assert len(row) == 1
            inside = {name: column[of_day][number == at] for name, column in whole.items()}
            expected = (inside["open"][0], inside["high"].max(), inside["low"].min(), inside["close"][-1], inside["volume"].sum())
            assert tuple(getattr(made.bars, name)[row[0]] for name in NUMBERS[:5]) == expected
    assert len(made.bars) == 3 * -(-390 * 60 // SECONDS[interval])
    assert (made.zone, made.partial) == (NEW_YORK, False)


def test_a_coarser_bar_is_the_same_whichever_finer_ones_it_is_made_of() -> None:
    parts = series(SESSIONS)
    hours = symbol_of(head(), *parts).view("1h", "none").bars
    fives = symbol_of(head(), *parts).view("5min", "none").bars
    months = fives.date.astype("datetime64[M]")
    stored = [
        Bars(key_of("AAPL", "5min", month), *(getattr(fives, name)[months == month] for name in ("date", *NUMBERS)))
        for month in np.unique(months)
    ]
    again = symbol_of(head(), *stored).view("1h", "none").bars
    for name in ("date", "open", "high", "low", "close"):
        np.testing.assert_array_equal(getattr(hours, name), getattr(again, name))
    np.testing.assert_allclose(hours.volume, again.volume, rtol=1e-15)


def test_a_day_is_its_session() -> None:
    parts = series(SESSIONS)
    view = symbol_of(head(), *parts).view("1day", "none")
    assert view.bars.date.astype(str).tolist() == ["2024-03-07", "2024-03-08", "2024-03-11"]
    assert (view.zone, view.partial, view.bars.key) == (None, False, "AAPL")
    whole = joined(parts)
    assert view.bars.open[1] == whole["open"][390]
    assert view.bars.high[1] == whole["high"][390:780].max()
    assert view.bars.volume.tolist() == [whole["volume"][at : at + 390].sum() for at in (0, 390, 780)]
    assert symbol_of(head(), *parts).view("1week", "none").bars.date.astype(str).tolist() == ["2024-03-08", "2024-03-11"]


def test_a_session_that_opens_on_the_evening_before_is_one_day() -> None:
    chicago = "America/Chicago"
    dates = np.concatenate(
        [minutes("2024-01-09 17:00", "2024-01-09 23:59", chicago), minutes("2024-01-10 00:00", "2024-01-10 15:59", chicago)]
    )
    view = symbol_of(head(exchange="CMES"), *series(dates)).view("1day", "none")
    assert view.bars.date.astype(str).tolist() == ["2024-01-10"]
    assert local(symbol_of(head(exchange="CMES"), *series(dates)).view("4h", "none").bars.date, chicago)[:2] == [
        "2024-01-09 17:00",
        "2024-01-09 21:00",
    ]


def test_bars_before_the_opening_stand_on_the_same_grid() -> None:
    dates = minutes("2024-03-07 08:00", "2024-03-07 10:59")
    made = symbol_of(head(), *series(dates)).view("1h", "none").bars
    assert local(made.date) == [f"2024-03-07 {time}" for time in ("07:30", "08:30", "09:30", "10:30")]


def test_without_an_exchange_the_clock_is_utc_and_every_day_is_open() -> None:
    dates = minutes("2024-03-09 22:00", "2024-03-10 01:59", "UTC")
    of_coin = symbol_of(*series(dates, "BTC-USD"))
    assert local(of_coin.view("4h", "none").bars.date, "UTC") == ["2024-03-09 20:00", "2024-03-10 00:00"]
    assert of_coin.view("1day", "none").bars.date.astype(str).tolist() == ["2024-03-09", "2024-03-10"]
    assert of_coin.view("1h", "none").zone == "UTC"


@pytest.mark.parametrize(
    ("last", "interval", "partial"),
    [
        ("2024-03-07 10:03", "5min", True),
        ("2024-03-07 10:04", "5min", False),
        ("2024-03-07 10:04", "1h", True),
        ("2024-03-07 15:58", "1h", True),
        ("2024-03-07 15:59", "1h", False),
        ("2024-03-07 15:59", "4h", False),
        ("2024-03-07 15:58", "1day", True),
        ("2024-03-07 15:59", "1day", False),
        ("2024-03-07 15:59", "1week", True),
        ("2024-03-08 15:59", "1week", False),
        ("2024-03-08 15:59", "1month", True),
        ("2024-03-07 15:58", "1min", False),
        ("2023-11-24 12:58", "1day", True),
        ("2023-11-24 12:59", "1day", False),  # a half day
        ("2024-03-28 15:59", "1week", False),  # Good Friday follows
        ("2024-03-28 15:59", "1month", False),
        ("2024-03-07 16:30", "1h", True),  # after the close
        ("2024-03-07 17:29", "1h", False),
    ],
)
def test_the_newest_bar_is_partial_until_the_last_of_its_own_is_there(last: str, interval: Interval, partial: bool) -> None:
    dates = minutes(f"{last[:10]} 09:30", last)
    assert symbol_of(head(), *series(dates)).view(interval, "none").partial is partial


@pytest.mark.parametrize(
    ("last", "interval", "partial"),
    [
        ("2024-03-27", "1week", True),
        ("2024-03-28", "1week", False),
        ("2024-03-28", "1month", False),
        ("2023-12-29", "1month", False),
        ("2024-05-23", "1week", True),
        ("2030-03-27", "1week", True),  # beyond the calendar: by weekdays
        ("2030-03-29", "1week", False),
    ],
)
def test_a_week_or_month_of_days_ends_with_its_last_session(last: str, interval: Interval, partial: bool) -> None:
    day = np.array([last], "datetime64[D]")
    one = np.ones(1)
    daily = Bars("AAPL", day, one, one, one, one, one, one, listing=Listing("XNYS"))
    assert symbol_of(daily).view(interval, "none").partial is partial


def daily_with_split() -> Bars:
    """A split of 2 for 1 on the third day, and a dividend of 1 % on the second."""
    dates = np.array(["2024-03-06", "2024-03-07", "2024-03-08", "2024-03-11"], "datetime64[D]")
    close = np.array([200.0, 200.0, 100.0, 100.0])
    ratio = np.array([0.495, 0.5, 1.0, 1.0])
    splits = (Split(np.datetime64("2024-03-08", "D"), 2.0),)
    return Bars("AAPL", dates, close, close, close, close, close, close * ratio, splits, Listing("XNYS"))


def test_bars_of_less_than_a_day_are_adjusted_by_the_daily_ones() -> None:
    parts = series(SESSIONS)
    whole = joined(parts)
    stock = symbol_of(daily_with_split(), *parts)
    for mode in ("split", "split_dividend"):
        shown = stock.view("1min", mode).bars
        np.testing.assert_array_equal(shown.close[:390], whole["close"][:390] * 0.5)
        np.testing.assert_array_equal(shown.close[390:], whole["close"][390:])
        np.testing.assert_array_equal(shown.volume[:390], whole["volume"][:390] * 2)
    assert stock.view("1min", "none").bars.close[0] == whole["close"][0]


def test_a_day_that_is_stored_is_not_made_of_minutes() -> None:
    stock = symbol_of(daily_with_split(), *series(SESSIONS))
    assert stock.view("1day", "none").bars is stock.head
    assert stock.stored == ("1min", "1day")
    assert stock.served[0] == "1min"


def test_without_daily_bars_nothing_is_adjusted_but_for_known_splits() -> None:
    parts = series(SESSIONS)
    whole = joined(parts)
    stock = symbol_of(head(splits=[Split(np.datetime64("2024-03-11", "D"), 4.0)]), *parts)
    for mode in ("split", "split_dividend"):
        shown = stock.view("1min", mode).bars
        np.testing.assert_array_equal(shown.close[:780], whole["close"][:780] * 0.25)
        np.testing.assert_array_equal(shown.close[780:], whole["close"][780:])
        np.testing.assert_array_equal(shown.volume[:780], whole["volume"][:780] * 4)


def sample() -> dict[str, Bars]:
    with sample_path() as folder:
        return {bars.symbol: bars for bars in read_bars(folder)}


SAMPLE = sample()


@given(
    symbol=st.sampled_from(sorted(SAMPLE)),
    at=st.integers(0, 3_300),
    interval=st.sampled_from(["1day", "1week", "1month"]),
    mode=st.sampled_from(["split_dividend", "split", "none"]),
)
def test_as_of_a_day_is_what_a_store_shows_that_never_saw_what_came_later(
    symbol: str, at: int, interval: Interval, mode: Adjustment
) -> None:
    bars = SAMPLE[symbol]
    day = bars.date[at % len(bars)]
    seen = bars.date <= day
    splits = tuple(split for split in bars.splits if split.date <= day)
    columns: dict[str, Any] = {name: getattr(bars, name)[seen] for name in ("date", *NUMBERS)}
    early = Bars(symbol, splits=splits, listing=bars.listing, **columns)
    then, now = symbol_of(early).view(interval, mode), symbol_of(bars).view(interval, mode, day.item())
    for name in ("date", *NUMBERS[:5]):
        np.testing.assert_array_equal(getattr(then.bars, name), getattr(now.bars, name))
    assert then.partial == now.partial


@pytest.mark.parametrize("interval", ["1min", "5min", "1day", "1week"])
def test_before_the_first_of_the_minutes_there_is_nothing(interval: Interval) -> None:
    view = symbol_of(*series(SESSIONS)).view(interval, "split_dividend", dt.date(2020, 1, 1))
    assert len(view.bars) == 0
    assert view.bars.date.dtype == ("datetime64[D]" if view.zone is None else "datetime64[s]")


def test_an_hour_that_ends_with_the_break_is_over_then() -> None:
    dates = minutes("2024-03-07 09:30", "2024-03-07 11:59", "Asia/Hong_Kong")
    assert not symbol_of(head(exchange="XHKG"), *series(dates)).view("1h", "none").partial
    assert symbol_of(head(exchange="XHKG"), *series(dates[:-1])).view("1h", "none").partial


def test_as_of_a_day_minutes_of_later_days_are_absent() -> None:
    parts = series(SESSIONS)
    stock = symbol_of(daily_with_split(), *parts)
    then = stock.view("1h", "split_dividend", dt.date(2024, 3, 7))
    assert local(then.bars.date[-1:]) == ["2024-03-07 15:30"]
    assert then.bars.close[-1] == joined(parts)["close"][389], "as it traded, for the split was still to come"
    assert not len(stock.view("1h", "split", dt.date(2020, 1, 1)).bars)


def test_views_are_kept_as_long_as_there_is_room() -> None:
    parts = series(SESSIONS)
    snapshot = snapshot_of([head(), *parts])
    one = symbol_of(head(), *parts).view("1min", "none").nbytes
    store = BarStore(lambda: snapshot, views_bytes=int(2.5 * one))
    stored = store.stored("AAPL")
    first, second = store.view(stored, "1min", "none"), store.view(stored, "1min", "split")
    assert store.view(stored, "1min", "none") is first
    store.view(stored, "1min", "split_dividend")
    assert store.view(stored, "1min", "none") is first
    assert store.view(stored, "1min", "split") is not second, "the one that was asked for least lately has gone"


@pytest.mark.parametrize("interval", ["1min", "15min", "1day"])
@pytest.mark.parametrize("mode", ["none", "split", "split_dividend"])
def test_of_very_many_bars_the_months_that_are_asked_for_are_looked_at(interval: Interval, mode: Adjustment) -> None:
    """And show what the whole would, also where a session crosses the end of a month."""
    chicago = "America/Chicago"
    evenings = [(f"2024-{day} 17:00", f"2024-{day} 23:59") for day in ("01-30", "01-31", "02-28", "02-29", "03-28", "04-29")]
    parts = series(np.concatenate([minutes(*evening, zone=chicago) for evening in evenings]))
    splits = [Split(np.datetime64("2024-03-01", "D"), 2.0)]
    snapshot = snapshot_of([head(exchange="CMES", splits=splits), *parts])
    whole = BarStore(lambda: snapshot).view(snapshot.of("AAPL"), interval, mode)
    days = dt.date(2024, 2, 1), dt.date(2024, 2, 29)
    part = BarStore(lambda: snapshot, views_bytes=1000).view(snapshot.of("AAPL"), interval, mode, None, days)
    first, last = np.datetime64(days[0], "D"), np.datetime64(days[1], "D")
    for name in ("date", *NUMBERS[:5]):
        shown = [
            getattr(view.bars, name)[(view.bars.date >= first) & (view.bars.date.astype("datetime64[D]") <= last)]
            for view in (whole, part)
        ]
        assert len(shown[0])
        np.testing.assert_array_equal(*shown)
    assert len(part.bars) < len(whole.bars) or interval == "1day"
    assert not part.partial or interval == "1day"


class Nobody:
    async def announce(self, symbol: str) -> None:
        """Nobody listens."""


async def test_live_bars_of_a_minute_come_to_stand_in_their_month() -> None:
    writer = MemoryWriter([head()])
    live = LiveBars(writer, Nobody())
    for moment in moments("2024-02-29 15:59", "2024-03-01 09:30", "2024-03-01 09:31"):
        assert await live.take("feed", "AAPL", Bar(moment, 1.0, 1.0, 1.0, 1.0, 5.0), interval="1min")
    assert sorted(writer.bars) == ["AAPL", "AAPL:1min:2024-02", "AAPL:1min:2024-03"]
    before = writer.snapshot().of("AAPL").data_version
    await live.take("feed", "AAPL", Bar(moments("2024-03-01 09:31")[0], 1.0, 1.0, 1.0, 1.0, 5.0), interval="1min")
    assert writer.snapshot().of("AAPL").data_version == before, "the same bar again"
    await live.take("feed", "AAPL", Bar(moments("2024-03-01 09:31")[0], 1.0, 2.0, 1.0, 2.0, 9.0), interval="1min")
    assert writer.bars["AAPL:1min:2024-03"].close.tolist() == [1.0, 2.0]
    assert writer.snapshot().of("AAPL").data_version != before
    with pytest.raises(UnfitBars, match="whole minute"):
        await live.take("feed", "AAPL", Bar(np.datetime64("2024-03-01T14:30:30", "s"), 1.0, 1.0, 1.0, 1.0, 5.0), interval="1min")


def same(one: Bars, other: Bars) -> bool:
    again = Bars(**{name: value for name, value in vars(other).items() if name != "data_version"})
    return one.data_version == other.data_version == again.data_version


def test_bars_of_less_than_a_day_are_kept_and_one_more_rewrites_little(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path, None)
    dataset.open()
    parts = series(np.concatenate([SESSIONS, minutes("2024-04-01 09:30", "2024-04-01 15:59")]), "NEW")
    dataset.commit(lambda _now: [head("NEW", "XNAS"), *parts])
    before = {path.name for path in tmp_path.rglob("*.npy")}
    more = parts[-1].with_bar(Bar(moments("2024-04-02 09:30")[0], 5.0, 5.0, 5.0, 5.0, 1.0))
    dataset.commit(lambda _now: [more])
    (written,) = [path for path in tmp_path.rglob("*.npy") if path.name not in before]
    assert written.stat().st_size < len(more) * 56 + 200
    for path in (tmp_path / "segments").iterdir():
        path.unlink()
    again = Dataset(tmp_path, None)
    again.open()
    for one in (dataset.snapshot(), again.snapshot()):
        assert same(one["NEW:1min:2024-03"], parts[0])
        assert same(one["NEW:1min:2024-04"], more)
        assert one["NEW"].listing == Listing("XNAS", "USD")
        assert one.of("NEW").data_version == symbol_of(head("NEW", "XNAS"), parts[0], more).data_version
    assert again.versions()["NEW"] == again.snapshot().of("NEW").data_version
    assert again.snapshot().symbols == [*SAMPLE, "NEW"]


def test_a_listing_alone_is_kept(tmp_path: Path) -> None:
    """Also of a symbol without daily bars, in a commit of its own."""
    dataset = Dataset(tmp_path, None)
    dataset.open()
    dataset.commit(lambda _now: series(SESSIONS, "NEW"))
    assert dataset.snapshot().of("NEW").listing == Listing()
    dataset.commit(lambda _now: [head("NEW", "XLON")])
    again = Dataset(tmp_path, None)
    again.open()
    assert again.snapshot().of("NEW").calendar is calendar_of("XLON")
    assert len(again.snapshot().of("NEW").head) == 0


def test_a_source_has_minutes_in_a_folder_of_their_own_and_listings_beside(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "1min").mkdir(parents=True)
    whole = joined(series(SESSIONS))
    columns = {
        "symbol": ["MIN"] * len(SESSIONS),
        "date": zoned(SESSIONS, NEW_YORK),
        **{name: whole[name] for name in NUMBERS[:5]},
    }
    pl.DataFrame(columns).write_parquet(source / "1min" / "bars.parquet")
    (source / "symbols.csv").write_text("symbol,exchange,currency\nMIN,XNYS,USD\n")
    dataset = Dataset(tmp_path / "state", source)
    dataset.open()
    stock = dataset.snapshot().of("MIN")
    np.testing.assert_array_equal(stock.view("1min", "none").bars.date, SESSIONS)
    assert (stock.listing, stock.rows, stock.stored) == (Listing("XNYS", "USD"), len(SESSIONS), ("1min",))
    assert (stock.first_day, stock.last_day) == (dt.date(2024, 3, 7), dt.date(2024, 3, 11))
    (source / "symbols.csv").write_text("symbol,exchange,currency\nMIN,NYSE2,USD\n")
    with pytest.raises(UnfitBars, match="no calendar of NYSE2"):
        Dataset(tmp_path / "state", source).open()
