"""What every provider of history is, what may go wrong with one, and how its symbols become Kalpi's.

ProviderError               ends a run; what is done stays done
├── MissingExtra            the optional package is not installed
├── UnknownSymbol           the provider has no such symbol, or no prices of it; the run goes on with the next
└── ProviderAway            tried again
    └── RateLimited         tried again, not before `retry_after_s`
"""

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from data_service.domain.bars import Bars
from shared.subjects import SYMBOL_PATTERN

__all__ = [
    "MissingExtra",
    "Provider",
    "ProviderAway",
    "ProviderError",
    "RateLimited",
    "UnknownSymbol",
    "between",
    "kalpi_symbol",
    "optional_package",
]

_SYMBOL = re.compile(SYMBOL_PATTERN)
# BTC/USDT, BTC/USDT:USDT (a perpetual of ccxt), EURUSD=X (a currency of Yahoo)
_MAPPED = str.maketrans({"/": "-", ":": "_", "=": "_", " ": "-"})


class ProviderError(Exception):
    """What the provider says is the message."""


class MissingExtra(ProviderError):
    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'kalpi-data-service[{extra}]'")


class UnknownSymbol(ProviderError):
    """Also for a symbol that was known once: providers do not tell the two apart."""


class ProviderAway(ProviderError):
    pass


class RateLimited(ProviderAway):
    """`retry_after_s`: how long the provider wants to be left alone; None when it did not say."""

    def __init__(self, detail: str, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Provider(Protocol):
    """Blocking. A symbol going in is the provider's own (`BTC/USDT`), the one in the bars is Kalpi's (`BTC-USDT`)."""

    @property
    def name(self) -> str:
        """Short and lower case; a journal remembers it, so it says all that makes answers differ (`ccxt:kraken`)."""
        ...

    def symbols(self) -> Sequence[str]:
        """The provider's names of all that it offers; none where it cannot tell."""
        ...

    def history(self, symbol: str, start: dt.date, end: dt.date) -> Bars:
        """Daily bars from `start` to `end`, both included, of days that are over; none when nothing was traded.

        Prices and volume as traded on their day, in the symbol's currency and in shares (or coins): a provider that serves them
        split-adjusted undoes it. `adj_close` is the close where the provider knows no other; `splits` those between the dates.
        Raises `ProviderError` and its kinds.
        """
        ...


def kalpi_symbol(native: str) -> str:
    """`brk-b` → `BRK-B`, `BTC/USDT` → `BTC-USDT`, `EURUSD=X` → `EURUSD_X`, `^GSPC` → `GSPC`; UnknownSymbol for what has no place.

    Two may become the same one (`^GSPC`, `GSPC`): whoever takes several looks out for that.
    """
    symbol = native.strip().removeprefix("^").upper().translate(_MAPPED)
    if not _SYMBOL.fullmatch(symbol):
        raise UnknownSymbol(f"{native[:40]!r} does not become a symbol of Kalpi's")
    return symbol


def between(bars: Bars, start: dt.date, end: dt.date) -> Bars:
    """The bars and splits from `start` to `end`, days (of UTC, for bars of less than one), both included."""
    first, last = np.datetime64(start, "D"), np.datetime64(end, "D")
    days = bars.date.astype("datetime64[D]")
    low, high = np.searchsorted(days, first, "left"), np.searchsorted(days, last, "right")
    names = ("date", "open", "high", "low", "close", "volume", "adj_close")
    columns: dict[str, Any] = {name: np.ascontiguousarray(getattr(bars, name)[low:high]) for name in names}
    return replace(bars, splits=tuple(split for split in bars.splits if first <= split.date <= last), **columns)


def optional_package(package: str, extra: str) -> ModuleType:
    """Imported when it is first needed: the service runs, and starts quickly, without it. Raises `MissingExtra`."""
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        raise MissingExtra(package, extra) from error
