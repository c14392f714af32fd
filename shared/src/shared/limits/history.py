"""How far back a tier sees: the one rule for bars and for indicators."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol

from shared.errors import TierRequired
from shared.limits.plans import Entitlements, PlanBook

__all__ = ["HistoryWindow", "history_window"]


@dataclass(frozen=True, slots=True)
class HistoryWindow:
    """`start` is where the answer begins (None: at the first bar); `earliest` the first day the tier sees (None: all of it).

    `clamped` says that the request reached further back than the answer does.
    """

    start: date | None
    earliest: date | None
    clamped: bool


class Plans(Protocol):
    """Asked only when a request is refused; a `PlanWatcher` is one."""

    @property
    def book(self) -> PlanBook: ...


def history_window(
    entitlements: Entitlements, plans: Plans, *, oldest: date, newest: date, start: date | None, end: date | None
) -> HistoryWindow:
    """The part of start..end (inclusive; None: open) that the entitlements reach, in calendar days back from `newest`.

    `oldest` and `newest` are the dates of the symbol's first and last bar. Raises TierRequired, naming the lowest tier that
    would do, when the request lies wholly before the window.
    """
    days = entitlements.history_days
    if days is None:
        return HistoryWindow(start, None, clamped=False)
    earliest = newest - timedelta(days=days)
    if end is not None and end < earliest:
        required = plans.book.first_tier_reaching((newest - end).days)
        raise TierRequired(f"this tier sees {days} days of history, back from {newest}", required)
    wanted = oldest if start is None else max(start, oldest)
    if wanted >= earliest:
        return HistoryWindow(start, earliest, clamped=False)
    return HistoryWindow(earliest, earliest, clamped=True)
