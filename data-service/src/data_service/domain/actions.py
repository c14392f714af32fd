"""What corporate actions do to adj_close, and what adj_close tells of them.

Before a split of s new shares for one, and a dividend of d for each new share, both effective with the opening of a day, adjusted
prices are (1/s) · (1 - d·s / c) of what they are from that day on, where c is the close before it as traded (the method of CRSP,
the Center for Research in Security Prices)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from data_service.domain.bars import Bars, Dates, Floats, Split

__all__ = ["found_splits", "told_splits", "with_steps"]

_SMALLEST_SPLIT = 1.5
_SPLIT_TOLERANCE = 0.05  # a dividend of the same day and rounded prices move a jump a little
_SAME = 1e-9  # of two steps: rounding of float64, and no cent of any dividend

Flags = npt.NDArray[np.bool_]


def with_steps(bars: Bars, split: Floats, dividend: Floats, free: Flags) -> tuple[Floats, Flags]:
    """adj_close with the step of each day of which a split or a dividend is told (not NaN; 0 for none, and 1 for no split), where
    it is `free` to follow; and which of these have none: their dividend is not below the close before.

    What is not told of such a day stays: the split that is known, the dividend that the step implies. The newest bar keeps its
    ratio, and so does every day after the last one that is told.
    """
    ratio = bars.adj_close / bars.close
    before = np.append(np.inf, bars.close[:-1])
    known = _shares(bars)
    shares = np.where(np.isnan(split), known, np.where(split > 0, split, 1.0))
    step = np.append(1.0, ratio[:-1] / ratio[1:])
    left = np.where(np.isnan(dividend), step * known, 1 - dividend * shares / before)
    told = (~np.isnan(split) | ~np.isnan(dividend)) & free
    unfit = told & (left <= 0)
    scale = np.ones(len(bars))
    for at in np.flatnonzero(told & ~unfit):
        factor = left[at] / shares[at] / step[at]
        if at and abs(factor - 1) > _SAME:  # nothing is before the first
            scale[:at] *= factor
    return bars.adj_close * scale, unfit


def _shares(bars: Bars) -> Floats:
    """What one share became on each day, by the splits that are known."""
    shares = np.ones(len(bars))
    for split in bars.splits:
        shares[bars.date == split.date] = split.ratio
    return shares


def told_splits(known: Sequence[Split], dates: Dates, split: Floats) -> tuple[Split, ...]:
    """The known splits, but of days of which a split is told (not NaN) those that are told; 0 and 1 are none."""
    told = ~np.isnan(split)
    kept = [one for one in known if not told[np.searchsorted(dates, one.date) % len(dates)] or one.date not in dates[told]]
    new = [Split(dates[at], float(split[at])) for at in np.flatnonzero(told & (split > 0) & (split != 1))]
    return tuple(sorted([*kept, *new], key=lambda one: one.date))


def found_splits(known: Sequence[Split], dates: Dates, ratio: Floats, told: Flags) -> tuple[Split, ...]:
    """Splits are where adj_close/close jumps by a whole ratio; a crash moves close alone.

    Only days on which adj_close was `told`, or on the day before, are judged. A known split that its jump bears out stays as it
    is, also one of 3 for 2; one that the jump denies goes."""
    jump = np.append(1.0, ratio[1:] / ratio[:-1])
    judged = told.copy()
    judged[1:] |= told[:-1]
    judged[:1] = False
    whole = np.round(jump)
    found = judged & (jump >= _SMALLEST_SPLIT) & (np.abs(jump / np.maximum(whole, 1) - 1) <= _SPLIT_TOLERANCE)
    splits = []
    for split in known:
        at = int(np.searchsorted(dates, split.date))
        if at < len(dates) and judged[at]:
            if abs(jump[at] / split.ratio - 1) > _SPLIT_TOLERANCE:
                continue
            found[at] = False
        splits.append(split)
    splits += [Split(dates[at], float(whole[at])) for at in np.flatnonzero(found)]
    return tuple(sorted(splits, key=lambda split: split.date))
