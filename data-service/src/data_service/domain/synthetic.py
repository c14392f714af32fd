"""A universe that never was: plausible bars from a seed, the same ones for the same seed."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta

import numpy as np

from data_service.domain.bars import UNLISTED, Bars, Floats, Listing, Split
from data_service.domain.calendars import ALWAYS_OPEN, Calendar

__all__ = ["universe"]

_LAST_DAY = date(2025, 12, 31)
_TRADING_DAYS = 252
_SPLIT_ABOVE = 400.0


def universe(symbols: int, years: int, seed: int, calendar: Calendar | None = None) -> Iterator[Bars]:
    """SYN00001, SYN00002, …: the sessions of `years` years, or every weekday without a calendar; log returns with clustered
    volatility; 2:1 splits when a price runs away. With a calendar they are listed at its exchange, in US dollars.

    Each symbol has a random stream of its own (numpy's SeedSequence), so it does not depend on how many there are.
    """
    days = (calendar or ALWAYS_OPEN).sessions(_LAST_DAY - timedelta(days=round(365.25 * years)), _LAST_DAY)
    dates = days if calendar else days[np.is_busday(days)]
    listing = Listing(calendar.name, "USD") if calendar else UNLISTED
    for number in range(1, symbols + 1):
        yield replace(_symbol(f"SYN{number:05d}", dates, np.random.default_rng([seed, number])), listing=listing)


def _symbol(name: str, dates: np.ndarray, random: np.random.Generator) -> Bars:
    size = len(dates)
    yearly = random.uniform(0.15, 0.6)
    swing = 0.3 * np.sin(np.linspace(0, random.uniform(4, 40), size))
    sigma = yearly / np.sqrt(_TRADING_DAYS) * np.exp(swing)
    returns = random.standard_t(5, size) * np.sqrt(3 / 5) * sigma + random.uniform(-0.02, 0.12) / _TRADING_DAYS
    whole = random.uniform(10, 200) * np.exp(np.cumsum(np.clip(returns, -0.35, 0.35)))
    splits, factor = _splits(dates, whole)
    close = np.maximum(np.round(whole / factor, 2), 0.01)
    opened = np.maximum(
        np.round(np.append(close[0], close[:-1]) / _step(factor) * np.exp(sigma * random.normal(0, 0.3, size)), 2), 0.01
    )
    high = np.round(np.maximum(opened, close) * (1 + np.abs(random.normal(0, 0.5, size)) * sigma), 2)
    low = np.maximum(np.round(np.minimum(opened, close) * (1 - np.abs(random.normal(0, 0.5, size)) * sigma), 2), 0.01)
    volume = np.round(random.lognormal(13, 0.6, size) * (1 + 8 * np.abs(returns)) * factor)
    adj_close = close * factor / factor[-1]
    return Bars(name, dates, opened, np.maximum(high, np.maximum(opened, close)), low, close, volume, adj_close, splits)


def _splits(dates: np.ndarray, whole: Floats) -> tuple[tuple[Split, ...], Floats]:
    """A 2:1 split on the day after the traded price closes above the threshold; `factor` is the shares one has become."""
    splits: list[Split] = []
    factor = np.ones(len(whole))
    at = 0
    while True:
        above = np.flatnonzero(whole[at:] / factor[at:] > _SPLIT_ABOVE)
        at += int(above[0]) + 1 if len(above) else len(whole)
        if at >= len(whole):
            return tuple(splits), factor
        factor[at:] *= 2
        splits.append(Split(dates[at], 2.0))


def _step(factor: Floats) -> Floats:
    """By how much the shares multiplied overnight."""
    step: Floats = factor / np.append(factor[0], factor[:-1])
    return step
