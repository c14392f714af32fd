"""What yfinance, ccxt and files give, and the bars that come of it.

The recorded answers were written by yfinance 1.7.0 and ccxt 4.5.90 themselves, from answers of their servers made up in those
servers' form: there is no network. Apple's split of 2020-08-31 and its prices around it are the real ones.
"""

import datetime as dt
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest

from data_service.adapters.parquet import sample_path
from data_service.domain.bars import Split
from data_service.domain.checks import faults_of
from data_service.providers.base import MissingExtra, ProviderAway, ProviderError, RateLimited, UnknownSymbol
from data_service.providers.crypto import Crypto, Exchange, Row
from data_service.providers.files import Files
from data_service.providers.yahoo import Columns, Yahoo, fetch_with_yfinance

RECORDED = Path(__file__).parent / "recorded"
AUGUST, SEPTEMBER = dt.date(2020, 8, 6), dt.date(2020, 9, 30)
SPLIT = Split(np.datetime64("2020-08-31", "D"), 4.0)
DAY_MS = 86_400_000


def yahoo_answer() -> dict[str, list[Any]]:
    answer: dict[str, list[Any]] = orjson.loads((RECORDED / "yahoo-aapl.json").read_bytes())
    return answer


def yahoo(answer: Columns | None = None) -> Yahoo:
    return Yahoo(lambda _symbol, _start: answer or yahoo_answer())


def test_yahoos_prices_become_those_that_were_traded() -> None:
    bars = yahoo().history("AAPL", AUGUST, SEPTEMBER)
    rows = {str(day): at for at, day in enumerate(bars.date)}
    before, after = rows["2020-08-28"], rows["2020-08-31"]
    assert [column[before] for column in (bars.open, bars.high, bars.low, bars.close)] == [504.05, 505.77, 498.31, 499.23]
    assert [column[after] for column in (bars.open, bars.high, bars.low, bars.close)] == [127.58, 131.0, 126.0, 129.04]
    assert (bars.volume[before], bars.volume[after]) == (46_907_479, 225_702_700)
    assert (bars.splits, faults_of(bars)) == ((SPLIT,), [])


def test_yahoos_dividend_shows_in_the_adjusted_close_alone() -> None:
    bars = yahoo().history("AAPL", AUGUST, SEPTEMBER)
    ratio = bars.adj_close / bars.close * np.where(bars.date < SPLIT.date, 4, 1)
    assert ratio == pytest.approx([0.9683, *[0.9701] * 7], rel=1e-6)


def test_a_split_after_the_end_is_taken_out_of_the_prices_too_and_is_not_among_the_splits() -> None:
    bars = yahoo().history("AAPL", AUGUST, dt.date(2020, 8, 28))
    assert (bars.close[-1], bars.splits) == (499.23, ())


def test_a_day_on_which_yahoo_has_a_hole_is_a_missing_day_and_its_split_is_kept() -> None:
    answer = yahoo_answer()
    answer["Close"][5] = None
    bars = yahoo(answer).history("AAPL", AUGUST, SEPTEMBER)
    assert SPLIT.date not in bars.date
    assert (len(bars), bars.splits, bars.close[4]) == (7, (SPLIT,), 499.23)


def test_yahoos_empty_frame_is_no_bars() -> None:
    empty: Columns = {name: [] for name in yahoo_answer()}
    assert len(yahoo(empty).history("brk-b", AUGUST, SEPTEMBER)) == 0
    assert yahoo(empty).history("brk-b", AUGUST, SEPTEMBER).symbol == "BRK-B"


class Frame:
    """As much of a data frame as the adapter touches."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self.index = columns.pop("Date")
        self._columns = columns
        self.columns = list(columns)

    def __getitem__(self, name: str) -> Any:
        return SimpleNamespace(tolist=lambda: self._columns[name])


class YFException(Exception):
    pass


class YFRateLimitError(YFException):
    pass


class YFTzMissingError(YFException):
    pass


class YFPricesMissingError(YFException):
    def __init__(self, message: str, yahoo_reason: str | None = None) -> None:
        super().__init__(message)
        self.yahoo_reason = yahoo_reason


class HttpError(OSError):
    def __init__(self, status: int, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"HTTP Error {status}")
        self.response = SimpleNamespace(status_code=status, headers=headers or {})


@pytest.fixture
def yfinance(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A stand-in for the package, which is not installed here: `answer` is what `history` returns, or raises."""
    asked: list[dict[str, Any]] = []
    package = SimpleNamespace(asked=asked, answer=None, config=SimpleNamespace(debug=SimpleNamespace(hide_exceptions=True)))

    def history(**arguments: Any) -> Any:
        asked.append(arguments)
        if isinstance(package.answer, Exception):
            raise package.answer
        return package.answer

    package.Ticker = lambda _symbol: SimpleNamespace(history=history)
    errors = SimpleNamespace(
        **{kind.__name__: kind for kind in (YFException, YFRateLimitError, YFTzMissingError, YFPricesMissingError)}
    )
    monkeypatch.setitem(sys.modules, "yfinance", package)
    monkeypatch.setitem(sys.modules, "yfinance.exceptions", errors)
    return package


def test_yfinance_is_asked_for_unadjusted_days_up_to_today_and_told_not_to_hide_failures(yfinance: SimpleNamespace) -> None:
    yfinance.answer = Frame(yahoo_answer())
    assert fetch_with_yfinance("AAPL", AUGUST) == yahoo_answer()
    assert yfinance.asked == [{"start": "2020-08-06", "interval": "1d", "auto_adjust": False, "actions": True}]
    assert yfinance.config.debug.hide_exceptions is False


@pytest.mark.parametrize(
    ("raised", "becomes"),
    [
        (YFRateLimitError("Too Many Requests"), RateLimited),
        (YFTzMissingError("$NOPE: possibly delisted; no timezone found"), UnknownSymbol),
        (YFPricesMissingError("$NOPE", "No data found, symbol may be delisted"), UnknownSymbol),
        (YFPricesMissingError("$NOPE: possibly delisted; no price data found"), UnknownSymbol),
        (YFPricesMissingError("$A: no price data found (1d) (Yahoo status_code = 502)"), ProviderAway),
        (YFException("*** YAHOO! FINANCE IS CURRENTLY DOWN! ***"), ProviderAway),
        (HttpError(404), UnknownSymbol),
        (HttpError(500), ProviderAway),
        (HttpError(429), RateLimited),
        (ConnectionError("no route"), ProviderAway),
        (ValueError("Expecting value: line 1 column 1"), ProviderAway),
    ],
)
def test_what_yfinance_raises_becomes_an_error_of_providers(
    yfinance: SimpleNamespace, raised: Exception, becomes: type[ProviderError]
) -> None:
    yfinance.answer = raised
    with pytest.raises(ProviderError) as caught:
        fetch_with_yfinance("NOPE", AUGUST)
    assert type(caught.value) is becomes


@pytest.mark.parametrize(("header", "seconds"), [("17", 17.0), ("soon", None), ("nan", None), ("-1", None), (None, None)])
def test_yahoos_retry_after_is_believed_when_it_is_seconds(
    yfinance: SimpleNamespace, header: str | None, seconds: float | None
) -> None:
    yfinance.answer = HttpError(429, {"Retry-After": header} if header else {})
    with pytest.raises(RateLimited) as caught:
        fetch_with_yfinance("AAPL", AUGUST)
    assert caught.value.retry_after_s == seconds


def test_a_symbol_that_was_not_traded_between_the_dates_is_not_an_unknown_one(yfinance: SimpleNamespace) -> None:
    yfinance.answer = YFPricesMissingError("$A", "Data doesn't exist for startDate = 1, endDate = 2")
    assert len(Yahoo().history("AAPL", AUGUST, SEPTEMBER)) == 0


def test_without_the_extra_it_says_what_to_install() -> None:
    with pytest.raises(MissingExtra, match=r"yfinance is not installed: pip install 'kalpi-data-service\[yahoo\]'"):
        fetch_with_yfinance("AAPL", AUGUST)
    with pytest.raises(MissingExtra, match=r"ccxt is not installed: pip install 'kalpi-data-service\[ccxt\]'"):
        Exchange("binance")


class Candles:
    """The recorded pages, by `since`; nothing for others."""

    def __init__(self, pages: dict[str, list[Row]] | None = None) -> None:
        self.pages = pages or orjson.loads((RECORDED / "ccxt-btc-usdt.json").read_bytes())["pages"]
        self.asked: list[int] = []

    def __call__(self, _symbol: str, since: int, _limit: int) -> Sequence[Row]:
        self.asked.append(since)
        return self.pages.get(str(since), [])


def crypto(candles: Candles, today: str = "2020-03-01") -> Crypto:
    return Crypto("binance", candles, clock=lambda: dt.datetime.fromisoformat(f"{today}T12:00:00+00:00"))


def test_pages_of_candles_become_days_in_utc() -> None:
    candles = Candles()
    bars = crypto(candles).history("BTC/USDT", dt.date(2020, 1, 1), dt.date(2020, 1, 4))
    assert (bars.symbol, [str(day) for day in bars.date]) == ("BTC-USDT", [f"2020-01-0{n}" for n in range(1, 5)])
    assert bars.close.tolist() == bars.adj_close.tolist() == [7200.85, 6965.71, 7344.96, 7354.11]
    assert (bars.volume[2], faults_of(bars), len(candles.asked)) == (68428.500451, [], 2)


def test_a_candle_of_a_day_that_is_not_over_is_not_a_bar() -> None:
    bars = crypto(Candles(), today="2020-01-04").history("BTC/USDT", dt.date(2020, 1, 1), dt.date(2020, 12, 31))
    assert str(bars.date[-1]) == "2020-01-03"


def test_candles_that_overlap_come_once_and_those_with_holes_not_at_all() -> None:
    day = [1.0, 2.0, 1.0, 1.5, 10.0]
    pages: dict[str, list[Row]] = {
        "0": [[0, *day], [DAY_MS, *day]],
        str(2 * DAY_MS): [[DAY_MS, *day], [2 * DAY_MS, 1.0, None, 1.0, 1.0, 1.0], [3 * DAY_MS, *day[:4], None]],
    }
    bars = crypto(Candles(pages)).history("X/Y", dt.date(1970, 1, 1), dt.date(1970, 1, 4))
    assert [str(moment) for moment in bars.date] == ["1970-01-01", "1970-01-02", "1970-01-04"]
    assert bars.volume.tolist() == [10.0, 10.0, 0.0]


def test_a_market_that_opened_later_is_found_beyond_the_empty_pages() -> None:
    opened = 600 * DAY_MS
    bars = crypto(Candles({str(opened): [[opened, 1, 1, 1, 1, 1]]})).history("X/Y", dt.date(1970, 1, 1), dt.date(1971, 8, 24))
    assert [str(moment) for moment in bars.date] == ["1971-08-24"]


def test_an_exchange_that_knows_only_the_newest_gives_those_and_is_asked_once() -> None:
    newest = 5000 * DAY_MS
    candles = Candles({"0": [[newest, 1, 1, 1, 1, 1]]})
    bars = crypto(candles).history("X/Y", dt.date(1970, 1, 1), dt.date(1983, 9, 10))
    assert (len(bars), len(candles.asked)) == (1, 1)


@pytest.fixture
def ccxt(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A stand-in with ccxt's tree of errors; `raises` is what the exchange does."""
    tree = [
        ("ExchangeError", "BaseError"),
        ("BadSymbol", "ExchangeError"),
        ("OperationFailed", "BaseError"),
        ("NetworkError", "OperationFailed"),
        ("RateLimitExceeded", "NetworkError"),
        ("DDoSProtection", "NetworkError"),
    ]
    names: dict[str, type] = {"BaseError": type("BaseError", (Exception,), {})}
    for name, base in tree:
        names[name] = type(name, (names[base],), {})
    package = SimpleNamespace(**names, exchanges=["kraken", "silent"], raises=None, options=[])

    def fetch_ohlcv(_symbol: str, timeframe: str, since: int, limit: int) -> list[list[float]]:
        if package.raises:
            raise package.raises
        return [[since, 1.0, 1.0, 1.0, 1.0, float(limit)]] if timeframe == "1d" else []

    def client(options: dict[str, Any], *, candles: bool) -> SimpleNamespace:
        package.options.append(options)
        markets = {
            "B/USD": {"spot": True, "active": True},
            "A/USD": {"spot": True, "active": None},
            "GONE/USD": {"spot": True, "active": False},
            "B/USD:USD": {"spot": False, "active": True},
        }
        return SimpleNamespace(
            has={"fetchOHLCV": candles},
            fetch_ohlcv=fetch_ohlcv,
            load_markets=lambda: markets,
            last_response_headers={"retry-after": "7"},
        )

    package.kraken = lambda options: client(options, candles=True)
    package.silent = lambda options: client(options, candles=False)
    monkeypatch.setitem(sys.modules, "ccxt", package)
    return package


def test_ccxt_is_asked_for_days_at_the_exchanges_own_rate(ccxt: SimpleNamespace) -> None:
    exchange = Exchange("kraken")
    assert exchange.fetch("B/USD", 5 * DAY_MS, 300) == [[5 * DAY_MS, 1.0, 1.0, 1.0, 1.0, 300.0]]
    assert exchange.listed() == ["A/USD", "B/USD"]
    assert ccxt.options == [{"enableRateLimit": True}]


@pytest.mark.parametrize(
    ("raised", "becomes"),
    [
        ("RateLimitExceeded", RateLimited),
        ("DDoSProtection", RateLimited),
        ("NetworkError", ProviderAway),
        ("BadSymbol", UnknownSymbol),
        ("ExchangeError", ProviderError),
    ],
)
def test_what_ccxt_raises_becomes_an_error_of_providers(ccxt: SimpleNamespace, raised: str, becomes: type[ProviderError]) -> None:
    ccxt.raises = getattr(ccxt, raised)("why")
    with pytest.raises(ProviderError, match="why") as caught:
        Exchange("kraken").fetch("B/USD", 0, 1)
    assert type(caught.value) is becomes
    assert getattr(caught.value, "retry_after_s", 7.0) == 7.0


@pytest.mark.parametrize(("name", "why"), [("nowhere", "knows no exchange"), ("silent", "gives no candles")])
def test_an_exchange_without_candles_is_refused(ccxt: SimpleNamespace, name: str, why: str) -> None:
    with pytest.raises(ProviderError, match=why):
        Exchange(name)


def test_the_sample_comes_through_as_it_is() -> None:
    with sample_path() as folder:
        provider = Files(folder)
        stored = {name: provider.history(name, dt.date.min, dt.date.max) for name in provider.symbols()}
    assert sorted(stored) == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]
    assert (len(stored["AAPL"]), [split.ratio for split in stored["AAPL"].splits]) == (3270, [2.0, 2.0])
    assert stored["AAPL"].adj_close[0] != stored["AAPL"].close[0]


def test_a_csv_is_of_the_symbol_it_is_named_after_and_its_columns_go_by_name(tmp_path: Path) -> None:
    (tmp_path / "brk-b.csv").write_text(
        "Date,Volume,Open,High,Low,Close,Adj Close\n2024-01-03,5,1,2,1,2,1.5\n2024-01-02,4,1,2,1,2,1.5\n"
    )
    provider = Files(tmp_path)
    bars = provider.history("BRK-B", dt.date(2024, 1, 1), dt.date(2024, 1, 3))
    assert provider.symbols() == ["BRK-B"]
    assert (bars.volume.tolist(), bars.adj_close.tolist()) == ([4.0, 5.0], [1.5, 1.5])


def test_a_symbol_in_several_files_is_one_history(tmp_path: Path) -> None:
    for year in (2024, 2023):
        row = {
            "symbol": ["X"],
            "date": [dt.date(year, 1, 2)],
            "open": [1],
            "high": [1],
            "low": [1],
            "close": [year],
            "volume": [1],
        }
        pl.DataFrame(row).write_parquet(tmp_path / f"{year}.parquet")
    assert Files(tmp_path).history("X", dt.date.min, dt.date.max).close.tolist() == [2023.0, 2024.0]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("date,open,high,low,close\n2024-01-02,1,1,1,1\n", "no column volume"),
        ("date,open,high,low,close,volume\n2024-01-02,1,1,,1,1\n", "nothing in row 1 of low"),
        ("date,open,high,low,close,volume\nyesterday,1,1,1,1,1\n", "X.csv"),
        ("date,open,high,low,close,volume,symbol\n2024-01-02,1,1,1,1,1,???\n", "does not become a symbol"),
        ("", "X.csv"),
    ],
)
def test_a_file_that_is_no_bars_is_named(tmp_path: Path, content: str, why: str) -> None:
    (tmp_path / "X.csv").write_text(content)
    with pytest.raises(ProviderError, match=why) as caught:
        Files(tmp_path).symbols()
    assert type(caught.value) is ProviderError


def test_a_folder_without_files_and_a_symbol_without_a_file_are_said(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="no CSV or Parquet file"):
        Files(tmp_path)
    with sample_path() as folder, pytest.raises(UnknownSymbol, match="no file has NOPE"):
        Files(folder).history("NOPE", dt.date.min, dt.date.max)
