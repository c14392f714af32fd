"""What administrators ask of everybody's requests: how much, by whom, how fast, what failed, and whether it grows."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

from ratelimit_service.domain.histograms import percentile
from ratelimit_service.domain.history import COUNTS, Row, Window
from ratelimit_service.domain.rollups import Grain

__all__ = ["Analytics", "GrowthStep", "LatencyBy", "TopBy", "TopOrder", "changes", "latencies", "overview"]

TopBy = Literal["tenant", "user", "key", "endpoint", "indicator", "symbol"]
TopOrder = Literal["requests", "units", "failed"]
LatencyBy = Literal["endpoint", "cache", "tier", "status"]
GrowthStep = Literal["day", "week", "month"]
_PERCENTILES = {"p50_ms": 0.5, "p90_ms": 0.9, "p95_ms": 0.95, "p99_ms": 0.99}


class Analytics(Protocol):
    """Everything is Unavailable when it cannot be read."""

    async def traffic(self, window: Window, grain: Grain) -> Sequence[Row]:
        """Counts by `at` and by `slot` of the latency."""
        ...

    async def active(self, window: Window) -> Row:
        """How many tenants, users and keys asked; events that were lost on their way, and their units."""
        ...

    async def top(self, window: Window, by: TopBy, order: TopOrder, limit: int) -> Sequence[Row]: ...

    async def slots(self, window: Window, by: LatencyBy) -> Sequence[Row]:
        """Requests by `name` and by `slot` of the latency, with their microseconds."""
        ...

    async def errors(self, window: Window, limit: int) -> Sequence[Row]: ...

    async def newest_errors(self, window: Window, limit: int) -> Sequence[Row]: ...

    async def growth(self, window: Window, step: GrowthStep) -> Sequence[Row]: ...


def overview(traffic: Iterable[Row]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """All of it, and a row for each time there was any."""
    total: _Sum = _Sum()
    by_time: dict[Any, _Sum] = {}
    for row in traffic:
        total.add(row)
        by_time.setdefault(row["at"], _Sum()).add(row)
    return total.shown(), [{"at": at, **by_time[at].shown()} for at in sorted(by_time)]


def latencies(slots: Iterable[Row]) -> list[dict[str, Any]]:
    """A row for each name, the most asked first."""
    counts: dict[str, Counter[int]] = {}
    microseconds: Counter[str] = Counter()
    for row in slots:
        counts.setdefault(row["name"], Counter())[row["slot"]] += row["requests"]
        microseconds[row["name"]] += row["latency_us"]
    rows = [
        {
            "name": name,
            "requests": slots_of.total(),
            "mean_ms": _ms(microseconds[name] / slots_of.total()),
            **_percentiles(slots_of),
        }
        for name, slots_of in counts.items()
    ]
    return sorted(rows, key=lambda row: (-row["requests"], row["name"]))


def changes(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Each beside the one before it: `change` is how much more was asked, as a share; None after nothing."""
    shown = []
    before: int | None = None
    for row in rows:
        change = round(row["requests"] / before - 1, 4) if before else None
        shown.append({**row, "change": change})
        before = row["requests"]
    return shown


class _Sum:
    def __init__(self) -> None:
        self._counts = Counter(dict.fromkeys(COUNTS, 0))
        self._slots: Counter[int] = Counter()

    def add(self, row: Row) -> None:
        self._counts.update({name: row[name] for name in COUNTS})
        self._slots[row["slot"]] += row["requests"]

    def shown(self) -> dict[str, Any]:
        return {**self._counts, **_percentiles(self._slots)}


def _percentiles(slots: Mapping[int, int]) -> dict[str, float | None]:
    found = {name: percentile(slots, share) for name, share in _PERCENTILES.items()}
    return {name: _ms(value) if value is not None else None for name, value in found.items()}


def _ms(microseconds: float) -> float:
    return round(microseconds / 1000, 3)
