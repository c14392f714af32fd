"""How far back a tier sees: the one rule for bars and for indicators."""

from dataclasses import dataclass
from datetime import date, timedelta

__all__ = ["HistoryWindow", "clamp_history"]


@dataclass(frozen=True, slots=True)
class HistoryWindow:
    """`start` is where the answer begins (None: at the first bar); `earliest` the first day the tier sees (None: all of it).

    `clamped` says that the request reached further back than the answer does.
    """

    start: date | None
    earliest: date | None
    clamped: bool


def clamp_history(
    *, oldest: date, newest: date, history_days: int | None, start: date | None, end: date | None
) -> HistoryWindow | None:
    """The part of start..end (inclusive; None: open) that `history_days` calendar days back from `newest` allow.

    `oldest` and `newest` are the dates of the symbol's first and last bar. None when the request lies wholly before the window.
    """
    if history_days is None:
        return HistoryWindow(start, None, clamped=False)
    earliest = newest - timedelta(days=history_days)
    if end is not None and end < earliest:
        return None
    wanted = oldest if start is None else max(start, oldest)
    if wanted >= earliest:
        return HistoryWindow(start, earliest, clamped=False)
    return HistoryWindow(earliest, earliest, clamped=True)
