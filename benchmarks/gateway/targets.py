"""The targets of the gateway, and whether the run has met them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.gateway.clients import Measured
from benchmarks.gateway.contenders import BARE, CACHED, CACHED_KEYS, ENVOY, FORWARDED
from benchmarks.gateway.throughput import Row, ratio
from tests.support.abandoning import AT_ONCE, Abandoned

__all__ = ["STEADY", "Verdict", "of_connections", "of_disconnects", "of_latency", "of_throughput"]

MOST_CPU_US = 60.0
MOST_ADDED_MS = 1.5
STEADY = 0.9
"""Throughput that is at least this much of that before it has not fallen: two runs of the same differ as much."""
_RATIOS = ((CACHED, BARE, 1.0), (CACHED, ENVOY, 3.0), (CACHED_KEYS, BARE, 0.6), (FORWARDED, BARE, 0.35), (FORWARDED, ENVOY, 1.0))


@dataclass(frozen=True)
class Verdict:
    """`met` is None where something that it takes is missing."""

    path: str
    target: str
    figure: str
    met: bool | None

    @property
    def word(self) -> str:
        return "not measured" if self.met is None else "met" if self.met else "MISSED"


def of_throughput(rows: Mapping[str, Row]) -> Iterator[Verdict]:
    for ours, theirs, least in _RATIOS:
        figure = ratio(rows[ours], rows[theirs])
        why = rows[ours].missing or rows[theirs].missing
        told = why if figure is None else f"{figure:.2f} ×"
        yield Verdict(ours, f"≥ {least} × {theirs}", told, None if figure is None else figure >= least)
    cached = rows[CACHED]
    if cached.missing:
        yield Verdict(CACHED, f"≤ {MOST_CPU_US:.0f} µs of the processor each", cached.missing, None)
    else:
        yield Verdict(CACHED, f"≤ {MOST_CPU_US:.0f} µs of the processor each", f"{cached.cpu:.0f} µs", cached.cpu <= MOST_CPU_US)


def of_latency(added_ms: float, unanswered: int) -> Verdict:
    told = f"{added_ms:.2f} ms" + (f", {unanswered:,} unanswered" if unanswered else "")
    met = added_ms <= MOST_ADDED_MS and not unanswered
    return Verdict("a miss, open loop at 2,000 requests/s", f"p50 grows by ≤ {MOST_ADDED_MS} ms", told, met)


def of_disconnects(found: Abandoned) -> Verdict:
    left = found.after.upstream + found.after.slots
    told = f"{found.after.upstream} upstream, {found.after.slots} in the store; {found.through} of {AT_ONCE} pass at once after"
    return Verdict(
        f"{found.clients:,} disconnects in mid-request", "0 slots leaked", told, left == 0 and found.through == AT_ONCE
    )


def of_connections(measured: Sequence[tuple[int, Measured]]) -> Iterator[Verdict]:
    """Each number of connections against the best of fewer, and p99 against that of one connection times their number."""
    path = f"{measured[0][0]} → {measured[-1][0]} connections"
    kept = [
        measured[place][1].per_second / max(one.per_second for _, one in measured[:place]) for place in range(1, len(measured))
    ]
    yield Verdict(path, "throughput does not fall", f"at worst {min(kept):.2f} × the best of fewer", min(kept) >= STEADY)
    first = measured[0][1].p99_ms
    grown = max(one.p99_ms / (first * number) for number, one in measured[1:])
    yield Verdict(path, "p99 grows no faster than linear", f"at most {grown:.2f} × as fast", grown <= 1)
