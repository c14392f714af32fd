"""Requests added up: by who asked, by what was answered, and by what was asked for; a minute, an hour and a day at a time.

Every request is in all three, whether its row is kept in the log or not. A minute's rows are made from requests, an hour's from
its minutes' and a day's from its hours', all in the transaction that takes the batch: so they are never apart.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple
from uuid import UUID

from ratelimit_service.domain.requests import NOBODY
from ratelimit_service.domain.sums import Sums
from shared.limits.keys import members_of

__all__ = ["GRAINS", "OTHER", "Asked", "Demand", "Grain", "Rollup", "Spent", "Traffic", "Use", "day_units", "folded", "rollups"]

Grain = Literal["minute", "hour", "day"]
GRAINS: Mapping[Grain, int] = {"minute": 60, "hour": 3600, "day": 86_400}
"""Seconds of each."""
OTHER = "other"
"""What is not counted under its own name."""
_NAMES_NOTHING = (404, 422)
"""What a service answers to a name that it does not know: clients may make up any number of them."""


class Use(NamedTuple):
    """Who asked what: the row of one caller. `at` is the beginning of the grain, in Unix seconds."""

    at: int
    tenant_id: UUID
    user_id: UUID
    key_id: UUID
    method: str
    endpoint: str
    status: int


class Traffic(NamedTuple):
    """What was answered, of everybody together; `slot` is that of the latency."""

    at: int
    method: str
    endpoint: str
    status: int
    cache: str
    tier: str
    slot: int


class Demand(NamedTuple):
    """What was asked for."""

    at: int
    kind: Literal["indicator", "symbol"]
    name: str


Asked = dict[Any, list[int]]
"""Measures by key, which add up. Use: requests, units, bytes, answers from the cache, microseconds. Traffic: requests, units,
bytes, microseconds. Demand: requests, units, those that failed."""


@dataclass(frozen=True, slots=True)
class Rollup:
    use: Asked = field(default_factory=dict)
    traffic: Asked = field(default_factory=dict)
    demand: Asked = field(default_factory=dict)

    def coarser(self, seconds: int) -> "Rollup":
        """Merged to a longer grain."""

        def whole(key: Any) -> Any:
            return key._replace(at=key.at - key.at % seconds)

        return Rollup(*(_merged(rows, whole) for rows in (self.use, self.traffic, self.demand)))


def rollups(sums: Sums) -> dict[Grain, Rollup]:
    minute = Rollup()
    for (at, caller, call), (requests, units, bytes_out, microseconds) in sums.asked.items():
        use = Use(at, caller.tenant_id, caller.user_id, caller.key_id, call.method, call.endpoint, call.status)
        _add(minute.use, use, (requests, units, bytes_out, requests if call.cache == "hit" else 0, microseconds))
        measures = requests, units, requests if call.status >= 400 else 0
        known = call.status not in _NAMES_NOTHING
        if call.indicator:
            _add(minute.demand, Demand(at, "indicator", call.indicator if known else OTHER), measures)
        if call.symbol:
            _add(minute.demand, Demand(at, "symbol", call.symbol if known else OTHER), measures)
    for (at, tier, call, slot), measured in sums.answered.items():
        _add(minute.traffic, Traffic(at, call.method, call.endpoint, call.status, call.cache, tier, slot), measured)
    hour = minute.coarser(GRAINS["hour"])
    return {"minute": minute, "hour": hour, "day": hour.coarser(GRAINS["day"])}


def folded(demand: Asked, is_named: Callable[[Demand], bool]) -> Asked:
    """With what is not to have a row of its own under `OTHER`."""
    return _merged(demand, lambda key: key if key.name == OTHER or is_named(key) else key._replace(name=OTHER))


class Spent(NamedTuple):
    """Units of a day's quota, by somebody of a tier."""

    units: int
    tier: str


def day_units(sums: Sums) -> dict[tuple[int, str], Spent]:
    """What each subject, and each tenant in all, has spent of its day's quota, by day (its beginning, in Unix seconds) and
    subject; what cost nothing is not there."""
    spent: dict[tuple[int, str], Spent] = {}
    for (at, caller, _), (_, units, *_) in sums.asked.items():
        if units:
            day = at - at % GRAINS["day"]
            together = [members_of(str(caller.tenant_id))] if caller.tenant_id != NOBODY else []
            for subject in (caller.subject, *together):
                before = spent.get((day, subject))
                spent[day, subject] = Spent(units + (before.units if before is not None else 0), caller.tier)
    return spent


def _merged(rows: Asked, key_of: Callable[[Any], Any]) -> Asked:
    merged: Asked = {}
    for key, measures in rows.items():
        _add(merged, key_of(key), measures)
    return merged


def _add(rows: Asked, key: Any, measures: Iterable[int]) -> None:
    before = rows.get(key)
    if before is None:
        rows[key] = list(measures)
    else:
        for place, measure in enumerate(measures):
            before[place] += measure
