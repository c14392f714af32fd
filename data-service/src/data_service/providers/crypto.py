"""Daily candles of crypto exchanges through ccxt (MIT; looked at: 4.5.90). Optional extra `ccxt`.

`fetch_ohlcv(symbol, "1d", since, limit)` gives rows of [ms since 1970 of the candle's opening in UTC, open, high, low, close,
volume in the base coin], ascending, any value but the first possibly null; at most `limit` of them or the exchange's own limit,
and the last one may still be forming. What the exchanges share ends there: before a market opened, some give its first candles
and others nothing; some (Kraken) never give more than the newest 720, whatever `since` says.
"""

import datetime as dt
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from data_service.domain.bars import Bars
from data_service.providers.base import (
    ProviderAway,
    ProviderError,
    RateLimited,
    UnknownSymbol,
    between,
    kalpi_symbol,
    optional_package,
)
from shared.clock import Clock, system_clock

__all__ = ["Crypto", "Exchange", "Fetch", "Row"]

Row = Sequence[float | None]
Fetch = Callable[[str, int, int], Sequence[Row]]
"""Symbol, since (ms) and limit, as `fetch_ohlcv`. Raises `ProviderError`s."""

_DAY_MS = 86_400_000
_PAGE = 300
"""What nearly every exchange gives in one answer; asking for more makes some refuse, and others give less without a word."""


class Crypto:
    """Candles of days that are over, in UTC. `fetch` and `listed` are those of an `Exchange`."""

    def __init__(
        self, exchange: str, fetch: Fetch, listed: Callable[[], Sequence[str]] = tuple, *, clock: Clock = system_clock
    ) -> None:
        self.name = f"ccxt:{exchange}"
        self._fetch = fetch
        self._listed = listed
        self._clock = clock

    def symbols(self) -> Sequence[str]:
        return self._listed()

    def history(self, symbol: str, start: dt.date, end: dt.date) -> Bars:
        known = kalpi_symbol(symbol)
        yesterday = self._clock().date() - dt.timedelta(days=1)
        last = min(end, yesterday)
        return between(_bars_of(known, self._rows(symbol, _ms(start), _ms(last))), start, last)

    def _rows(self, symbol: str, since: int, last: int) -> dict[int, Row]:
        """By their opening in ms: pages may overlap."""
        rows: dict[int, Row] = {}
        while since <= last:
            page = self._fetch(symbol, since, _PAGE)
            rows.update({int(row[0]): row for row in page if row[0] is not None})
            newest = max((int(row[0]) for row in page if row[0] is not None), default=since - 1)
            # an answer without anything newer may lie before the market opened: over that window, not the end
            since = newest + _DAY_MS if newest >= since else since + _PAGE * _DAY_MS
        return rows


def _ms(day: dt.date) -> int:
    return (day - dt.date(1970, 1, 1)).days * _DAY_MS


def _bars_of(symbol: str, rows: Mapping[int, Row]) -> Bars:
    whole = [rows[moment] for moment in sorted(rows) if None not in rows[moment][1:5]]
    if not whole:
        return Bars.empty(symbol)
    table = np.array([[math.nan if value is None else float(value) for value in row[:6]] for row in whole])
    days = table[:, 0].astype("int64").astype("datetime64[ms]").astype("datetime64[D]")
    opened, high, low, close = (np.ascontiguousarray(table[:, at]) for at in range(1, 5))
    return Bars(symbol, days, opened, high, low, close, np.nan_to_num(table[:, 5]), close)


class Exchange:
    """ccxt's client of one exchange; it keeps to the exchange's rate by itself. ProviderError for an unknown `name`."""

    def __init__(self, name: str) -> None:
        ccxt = optional_package("ccxt", "ccxt")
        if name not in ccxt.exchanges:
            raise ProviderError(f"ccxt knows no exchange {name!r}")
        self._client = getattr(ccxt, name)({"enableRateLimit": True})
        self._errors = ccxt
        if not self._client.has.get("fetchOHLCV"):
            raise ProviderError(f"{name} gives no candles")

    def fetch(self, symbol: str, since: int, limit: int) -> Sequence[Row]:
        rows: Sequence[Row] = self._asked(lambda: self._client.fetch_ohlcv(symbol, "1d", since=since, limit=limit))
        return rows

    def listed(self) -> Sequence[str]:
        """The spot markets that trade now."""
        markets = self._asked(self._client.load_markets)
        return sorted(name for name, market in markets.items() if market.get("spot") and market.get("active") is not False)

    def _asked(self, call: Callable[[], Any]) -> Any:
        errors = self._errors
        try:
            return call()
        except (errors.RateLimitExceeded, errors.DDoSProtection) as error:
            raise RateLimited(str(error), _retry_after(self._client.last_response_headers)) from error
        except errors.BadSymbol as error:
            raise UnknownSymbol(str(error)) from error
        except errors.OperationFailed as error:
            raise ProviderAway(str(error)) from error
        except errors.BaseError as error:
            raise ProviderError(str(error)) from error


def _retry_after(headers: Mapping[str, str] | None) -> float | None:
    """Seconds; exchanges do not send dates."""
    for name, value in (headers or {}).items():
        if name.lower() == "retry-after":
            try:
                return max(0.0, float(value))
            except ValueError:
                return None
    return None
