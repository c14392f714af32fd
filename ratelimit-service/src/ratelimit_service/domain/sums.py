"""Requests of any number of batches added up, by the minute: who asked for what, and what was answered how fast.

Two sums and not one, for the product of callers and latencies is nearly as many rows as requests. Callers and calls are numbered
while it is done, so that what is done for each request is done with small numbers.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from ratelimit_service.domain.histograms import slot_of
from ratelimit_service.domain.requests import LONGEST_INT, Call, CallerOf, Requests, caller_of

__all__ = ["Answered", "Asking", "Sums", "added_up"]


class Asking(NamedTuple):
    """`at` is the beginning of the minute, in Unix seconds."""

    at: int
    caller: CallerOf
    call: Call


class Answered(NamedTuple):
    at: int
    tier: str
    call: Call
    slot: int


class Sums(NamedTuple):
    """Of each requests, units, bytes and microseconds."""

    asked: dict[Asking, list[int]]
    answered: dict[Answered, list[int]]


def added_up(batches: Iterable[Requests]) -> Sums:
    callers, tiers, calls = _Numbers(), _Numbers(), _Numbers()
    asked: dict[tuple[int, int, int], list[int]] = {}
    answered: dict[tuple[int, int, int, int], list[int]] = {}
    for batch in batches:
        told = batch.told
        its_callers = [(callers.of(row), tiers.of(row[4])) for row in told.callers]
        its_calls = [calls.of(row) for row in told.calls]
        rows = zip(told.at, told.caller, told.call, told.latency_us, told.units, told.bytes_out, strict=True)
        for at_ms, caller_at, call_at, latency_us, units, bytes_out in rows:
            minute, call = at_ms // 60_000, its_calls[call_at]
            caller, tier = its_callers[caller_at]
            microseconds = min(latency_us, LONGEST_INT)
            _add(asked, (minute, caller, call), units, bytes_out, microseconds)
            _add(answered, (minute, tier, call, slot_of(latency_us)), units, bytes_out, microseconds)
    who, what = [caller_of(row) for row in callers], [Call(*row) for row in calls]
    tier_names = list(tiers)
    return Sums(
        {Asking(minute * 60, who[caller], what[call]): sums for (minute, caller, call), sums in asked.items()},
        {
            Answered(minute * 60, tier_names[tier], what[call], slot): sums
            for (minute, tier, call, slot), sums in answered.items()
        },
    )


class _Numbers(dict[Any, int]):
    """In the order in which they came."""

    def of(self, one: Any) -> int:
        return self.setdefault(one, len(self))


def _add(sums: dict[Any, list[int]], key: tuple[int, ...], units: int, bytes_out: int, microseconds: int) -> None:
    added = sums.get(key)
    if added is None:
        sums[key] = [1, units, bytes_out, microseconds]
    else:
        added[0] += 1
        added[1] += units
        added[2] += bytes_out
        added[3] += microseconds
