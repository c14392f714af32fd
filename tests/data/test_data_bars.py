"""Bars, their versions, their adjustment, and ranges of them."""

import datetime as dt
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl
import pytest

from data_service.adapters.calendars import calendar_of
from data_service.adapters.parquet import sample_path, write_dataset
from data_service.domain.adjustment import Adjustment
from data_service.domain.bars import Bar, Bars, Listing, Split
from data_service.domain.checks import faults_of
from data_service.domain.errors import UnfitBars
from data_service.domain.intervals import Interval
from data_service.domain.symbols import SymbolBars
from data_service.domain.synthetic import universe
from shared.errors import InvalidInput
from tests.data.sources import read_bars

SYMBOLS = ["AAPL", "FB", "GOOG", "IBM", "MSFT"]


@pytest.fixture(scope="module")
def sample() -> dict[str, Bars]:
    with sample_path() as folder:
        return {bars.symbol: bars for bars in read_bars(folder)}


def at(bars: Bars, day: str) -> int:
    return int(np.searchsorted(bars.date, np.datetime64(day, "D")))


def bar(day: str, close: float) -> Bar:
    return Bar(np.datetime64(day, "D"), close, close + 1, close - 1, close, 100.0)


def test_the_shipped_files_are_those_of_the_provenance() -> None:
    with sample_path() as folder:
        said = (folder / "PROVENANCE.md").read_text()
        for name in ("bars.parquet", "splits.csv"):
            assert f"| {name} | {hashlib.sha256((folder / name).read_bytes()).hexdigest()} |" in said


def test_the_sample_is_fit_to_be_stored(sample: dict[str, Bars]) -> None:
    assert sorted(sample) == SYMBOLS
    assert not [fault for bars in sample.values() for fault in faults_of(bars)]


def adjusted_of(bars: Bars, mode: Adjustment) -> Bars:
    return SymbolBars.of([bars], calendar_of).view("1day", mode).bars


@pytest.mark.parametrize("mode", get_args(Adjustment))
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_the_newest_bar_is_as_traded_in_every_mode(sample: dict[str, Bars], symbol: str, mode: Adjustment) -> None:
    traded, adjusted = sample[symbol], adjusted_of(sample[symbol], mode)
    for name in ("open", "high", "low", "close", "volume"):
        assert getattr(adjusted, name)[-1] == getattr(traded, name)[-1]


@pytest.mark.parametrize(("symbol", "day"), [("AAPL", "2000-06-21"), ("AAPL", "2005-02-28"), ("MSFT", "2003-02-18")])
@pytest.mark.parametrize("mode", ["split", "split_dividend"])
def test_a_split_is_no_fall_in_adjusted_prices(sample: dict[str, Bars], symbol: str, day: str, mode: Adjustment) -> None:
    traded, adjusted = sample[symbol], adjusted_of(sample[symbol], mode)
    row = at(traded, day)
    assert traded.close[row] / traded.close[row - 1] < 0.6
    assert 0.9 < adjusted.close[row] / adjusted.close[row - 1] < 1.1
    assert adjusted.volume[row - 1] / traded.volume[row - 1] == pytest.approx(2 * adjusted.volume[row] / traded.volume[row])


def test_a_crash_stays_a_crash(sample: dict[str, Bars]) -> None:
    row = at(sample["AAPL"], "2000-09-29")
    for mode in get_args(Adjustment):
        close = adjusted_of(sample["AAPL"], mode).close
        assert close[row] / close[row - 1] == pytest.approx(0.48, abs=0.005)


def test_aapl_shows_the_price_it_traded_at_and_not_the_sources_rescaled_one(sample: dict[str, Bars]) -> None:
    adjusted = adjusted_of(sample["AAPL"], "split_dividend")
    assert adjusted.close[-1] == 430.47
    assert sample["AAPL"].adj_close[-1] < 60


def test_a_version_changes_exactly_when_the_bars_do(sample: dict[str, Bars]) -> None:
    ibm = sample["IBM"]
    assert ibm.with_bar(bar("2013-03-04", 200.0)).data_version != ibm.data_version
    same = Bar(ibm.date[5], *(float(getattr(ibm, name)[5]) for name in ("open", "high", "low", "close", "volume")))
    assert ibm.with_bar(same) is ibm
    corrected = ibm.with_bar(bar(str(ibm.date[5]), 1.5))
    assert len(corrected) == len(ibm)
    assert corrected.data_version != ibm.data_version
    with sample_path() as folder:
        assert {bars.symbol: bars.data_version for bars in read_bars(folder)}["IBM"] == ibm.data_version


def test_splits_are_part_of_the_version(sample: dict[str, Bars]) -> None:
    split = (Split(np.datetime64("2010-01-04", "D"), 2.0),)
    assert replace(sample["IBM"], splits=split).data_version != sample["IBM"].data_version


def test_a_new_newest_bar_moves_no_adjusted_value_of_the_past(sample: dict[str, Bars]) -> None:
    before = adjusted_of(sample["IBM"], "split_dividend")
    after = adjusted_of(sample["IBM"].with_bar(bar("2013-03-04", 205.0)), "split_dividend")
    np.testing.assert_allclose(after.close[:-1], before.close, rtol=1e-12)
    assert after.close[-1] == 205.0


def test_weeks_and_months_are_made_of_their_days(sample: dict[str, Bars]) -> None:
    daily = sample["AAPL"]
    frame = pl.DataFrame(
        {"date": daily.date, "open": daily.open, "high": daily.high, "close": daily.close, "volume": daily.volume}
    )
    periods: dict[Interval, str] = {"1week": "1w", "1month": "1mo"}
    for interval, every in periods.items():
        made = SymbolBars.of([daily], calendar_of).view(interval, "none").bars
        expected = frame.group_by_dynamic("date", every=every).agg(
            pl.col("date").last().alias("last"), pl.first("open"), pl.max("high"), pl.last("close"), pl.sum("volume")
        )
        assert made.date.astype(object).tolist() == expected["last"].to_list()
        for name in ("open", "high", "close", "volume"):
            np.testing.assert_array_equal(getattr(made, name), expected[name].to_numpy())


def test_daily_bars_cannot_be_refined(sample: dict[str, Bars]) -> None:
    with pytest.raises(InvalidInput, match="5min: finer than the bars of IBM; served: 1day, 1week, 1month"):
        SymbolBars.of([sample["IBM"]], calendar_of).view("5min", "none")


def frame(**changes: list[object]) -> pl.DataFrame:
    columns: dict[str, list[object]] = {
        "symbol": ["A", "A", "B"],
        "date": [dt.date(2020, 1, 2), dt.date(2020, 1, 3), dt.date(2020, 1, 2)],
        **{name: [10.0, 11.0, 12.0] for name in ("open", "high", "low", "close", "volume")},
        **changes,
    }
    return pl.DataFrame(columns, strict=False)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"close": [10.0, float("nan"), 12.0]}, "A 2020-01-03: close: not finite"),
        ({"low": [10.0, 0.0, 12.0]}, "A 2020-01-03: low: not positive"),
        ({"volume": [1.0, -1.0, 1.0]}, "A 2020-01-03: volume: negative"),
        ({"high": [10.0, 9.0, 12.0]}, "A 2020-01-03: high: below open or close"),
        ({"date": [dt.date(2020, 1, 2)] * 3}, "A 2020-01-02: date: twice"),
        ({"open": [10.0, None, 12.0]}, "open: null in row 1"),
        ({"open": ["x", "y", "z"]}, "another type"),
        ({"symbol": ["A", "A", None]}, "symbol: null"),
    ],
)
def test_an_unfit_file_is_refused_and_every_fault_named(tmp_path: Path, changes: dict[str, list[object]], fault: str) -> None:
    frame(**changes).write_parquet(tmp_path / "bars.parquet")
    with pytest.raises(UnfitBars, match=r"A|open|symbol") as refused:
        read_bars(tmp_path)
    assert any(fault in each for each in refused.value.faults), refused.value.faults


def test_a_file_without_a_column_or_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    frame().drop("close").write_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"not parquet")
    with pytest.raises(UnfitBars) as refused:
        read_bars(tmp_path)
    assert [fault.partition(":")[0] for fault in refused.value.faults] == ["a.parquet", "b.parquet"]


def test_rows_in_any_order_and_without_adj_close_are_taken(tmp_path: Path) -> None:
    frame().reverse().write_parquet(tmp_path / "bars.parquet")
    read = {bars.symbol: bars for bars in read_bars(tmp_path / "bars.parquet")}
    assert read["A"].date.astype(str).tolist() == ["2020-01-02", "2020-01-03"]
    np.testing.assert_array_equal(read["A"].adj_close, read["A"].close)


def test_a_synthetic_universe_is_the_same_for_the_same_seed_and_fit_to_be_stored(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_dataset(tmp_path / name, universe(20, 12, seed=7))
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
    made = {bars.symbol: bars for bars in read_bars(tmp_path / "one")}
    fewer = {bars.symbol: bars for bars in universe(3, 12, seed=7)}
    assert [made[name].data_version for name in fewer] == [bars.data_version for bars in fewer.values()]
    assert any(bars.splits for bars in made.values())
    assert next(universe(1, 12, seed=8)).data_version != made["SYN00001"].data_version


def test_a_synthetic_universe_keeps_the_holidays_of_its_exchange(tmp_path: Path) -> None:
    new_york = calendar_of("XNYS")
    write_dataset(tmp_path, universe(2, 12, 7, new_york))
    for bars in read_bars(tmp_path):
        assert bars.listing == Listing("XNYS", "USD")
        assert new_york.is_session(bars.date).all()
        assert not len(new_york.missing_between(bars.date)[0])
        assert (str(bars.date[0]), str(bars.date[-1])) == ("2013-12-31", "2025-12-31")


def test_a_synthetic_split_is_no_fall_in_adjusted_prices() -> None:
    splits = [(bars, split) for bars in universe(20, 12, seed=7) for split in bars.splits]
    assert splits
    for bars, split in splits:
        row = int(np.searchsorted(bars.date, split.date))
        close = adjusted_of(bars, "split_dividend").close
        assert close[row] / close[row - 1] == pytest.approx(2 * bars.close[row] / bars.close[row - 1], rel=1e-9)
