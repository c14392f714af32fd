"""How long requests took, in slots that add up: counts of a minute, an hour and a day merge by addition.

Slot i holds whole microseconds from above γ^(i-1) up to γ^i, with γ = (1+ε)/(1-ε), and stands for the value whose relative
distance to both its ends is the same. So a percentile read from slots is within ε = 5 % of the exact one, the nearest rank
(C. Masson, J. Rim, H. Lee: DDSketch, VLDB 2019, section 2). What takes longer than ten minutes counts as ten minutes.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping

__all__ = ["ERROR", "LONGEST_US", "percentile", "slot_of", "value_of"]

ERROR = 0.05
"""Relative, of any percentile."""
LONGEST_US = 600_000_000
_GAMMA = (1 + ERROR) / (1 - ERROR)


def _upper_bounds() -> list[int]:
    bounds = {math.floor(_GAMMA**power) for power in range(math.ceil(math.log(LONGEST_US, _GAMMA)))}
    return [*sorted(bounds), LONGEST_US]


_BOUNDS = _upper_bounds()


def slot_of(latency_us: int) -> int:
    return bisect_left(_BOUNDS, min(latency_us, LONGEST_US))


def value_of(slot: int) -> float:
    """Microseconds."""
    low = _BOUNDS[slot - 1] + 1 if slot else 1
    high = _BOUNDS[slot]
    return 2 * low * high / (low + high)


def percentile(counts: Mapping[int, int], share: float) -> float | None:
    """The nearest rank: the least value that at least `share` of all are not above, in microseconds; None of nothing."""
    total = sum(counts.values())
    rank, seen = max(1, math.ceil(share * total)), 0
    for slot in sorted(counts):
        seen += counts[slot]
        if counts[slot] and seen >= rank:
            return value_of(slot)
    return None
