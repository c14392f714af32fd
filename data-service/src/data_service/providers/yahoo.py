"""Histories of Yahoo Finance through yfinance (Apache-2.0; looked at: 1.7.0). Optional extra `yahoo`.

`Ticker.history(auto_adjust=False)` gives Open, High, Low, Close and Volume adjusted for every split up to today (not as traded!),
Adj Close adjusted for dividends as well, and Stock Splits: the ratio on its day, else 0. So a history is always fetched up to
today, whatever its end: the splits since then are in its prices, and must be known to be taken out.

Yahoo's prices are 32-bit floats (124.80750274658203 for 124.8075); 7 significant digits bring the decimal back.
"""

import datetime as dt
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from data_service.domain.bars import PRICES, Bars, Floats, Split
from data_service.providers.base import ProviderAway, RateLimited, UnknownSymbol, between, kalpi_symbol, optional_package

__all__ = ["Columns", "Fetch", "Yahoo", "fetch_with_yfinance"]

Columns = Mapping[str, Sequence[Any]]
"""The data frame of `history` as lists of one length: `Date` (ISO 8601, midnight at the exchange) and its own columns."""
Fetch = Callable[[str, dt.date], Columns]
"""Symbol and first day; up to today. Raises `ProviderError`s."""

_COLUMNS = {"open": "Open", "high": "High", "low": "Low", "close": "Close", "volume": "Volume", "adj_close": "Adj Close"}
_DIGITS = 7
# of Yahoo's own words for "no such symbol"; others mean that nothing was traded between the dates
_GONE = ("delisted", "not found")


class Yahoo:
    name = "yahoo"

    def __init__(self, fetch: Fetch | None = None) -> None:
        self._fetch = fetch or fetch_with_yfinance

    def symbols(self) -> Sequence[str]:
        """Yahoo has no list."""
        return ()

    def history(self, symbol: str, start: dt.date, end: dt.date) -> Bars:
        known = kalpi_symbol(symbol)
        return between(_bars_of(known, self._fetch(symbol, start)), start, end)


def _bars_of(symbol: str, columns: Columns) -> Bars:
    days = np.array([str(moment)[:10] for moment in columns["Date"]], dtype="datetime64[D]")
    if not len(days):
        return Bars.empty(symbol)
    ratios = np.nan_to_num(np.asarray(columns["Stock Splits"], np.float64))
    splits = tuple(Split(days[at], float(ratios[at])) for at in np.flatnonzero(ratios > 0))
    values = {name: np.asarray(columns[column], np.float64) for name, column in _COLUMNS.items()}
    factor = _shares_one_became(days, splits)
    for name in PRICES:
        values[name] = values[name] * factor
    values["volume"] = np.rint(np.nan_to_num(values["volume"]) / factor)
    # a row may be there for its split or dividend alone, and Yahoo has days with holes in them: a gap is a missing row
    whole = np.all([np.isfinite(values[name]) for name in (*PRICES, "adj_close")], axis=0)
    prices: dict[str, Any] = {name: _as_decimal(values[name][whole]) for name in (*PRICES, "adj_close")}
    return Bars(symbol, days[whole], volume=np.ascontiguousarray(values["volume"][whole]), splits=splits, **prices)


def _shares_one_became(days: Any, splits: Sequence[Split]) -> Floats:
    factor = np.ones(len(days))
    for split in splits:
        factor[days < split.date] *= split.ratio
    return factor


def _as_decimal(column: Floats) -> Floats:
    return np.array([float(f"{value:.{_DIGITS}g}") for value in column])


def fetch_with_yfinance(symbol: str, start: dt.date) -> Columns:
    yfinance = optional_package("yfinance", "yahoo")
    errors = optional_package("yfinance.exceptions", "yahoo")
    # else every failure is logged and looks like a symbol without prices
    yfinance.config.debug.hide_exceptions = False
    try:
        frame = yfinance.Ticker(symbol).history(start=start.isoformat(), interval="1d", auto_adjust=False, actions=True)
    except errors.YFRateLimitError as error:
        raise RateLimited(f"Yahoo: {error}") from error
    except errors.YFTzMissingError as error:
        raise UnknownSymbol(f"Yahoo: {error}") from error
    except errors.YFPricesMissingError as error:
        return _without_prices(error)
    except (errors.YFException, OSError, ValueError) as error:
        # curl_cffi's errors are OSErrors; a page of HTML in the place of JSON is a ValueError
        raise _failure(symbol, error) from error
    return {"Date": [str(moment) for moment in frame.index], **{name: frame[name].tolist() for name in frame.columns}}


def _without_prices(error: Any) -> Columns:
    """Nothing was traded between the dates, or there is no such symbol, or Yahoo is in trouble: only its words tell."""
    if (code := _server_error(str(error))) is not None:
        raise ProviderAway(f"Yahoo answered {code}") from error
    reason = error.yahoo_reason
    if reason is None or any(word in reason.lower() for word in _GONE):
        raise UnknownSymbol(f"Yahoo: {error}") from error
    return {name: [] for name in ("Date", "Stock Splits", *_COLUMNS.values())}


def _server_error(message: str) -> str | None:
    _, found, after = message.partition("status_code = ")
    return after[:3] if found and after.startswith("5") else None


def _failure(symbol: str, error: Exception) -> Exception:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status == 404:
        return UnknownSymbol(f"Yahoo knows no {symbol}")
    if status == 429:
        return RateLimited("Yahoo: too many requests", _seconds(response.headers.get("Retry-After")) if response else None)
    return ProviderAway(f"Yahoo: {type(error).__name__}: {error}")


def _seconds(header: str | None) -> float | None:
    try:
        seconds = float(header or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
