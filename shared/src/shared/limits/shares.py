"""Without the store: what a gateway may still admit by itself, and what it owes the counters afterwards (docs/adr/0017).

By the policy's `outage`:

    local-share   a day: ⌊what was left when this gateway last heard ÷ gateways alive then⌋, of the whole quota where it has heard
                  nothing of this counter today. A burst: its law with ⌊q ÷ gateways⌋. Slots: ⌊limit ÷ gateways⌋
    open          everything, counted where it is a day's
    closed        nothing

So all gateways together admit at most the sum of their shares: what was left, where each had heard of it last; never more than
another quota. What was spent so is added to the counters when the store is back.

Nothing in here waits. `now` is the wall clock, `ticks` one that only goes forward.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import datetime

from shared.errors import Unavailable
from shared.limits.counters import Restored
from shared.limits.keys import counter
from shared.limits.plans import SECONDS_A_DAY
from shared.limits.policies import Decision, Heading, Outcome, Policy

__all__ = ["Ledger", "Shares"]

_MOST_KNOWN = 50_000
_MOST_IN_OUTAGE = 100_000


class Ledger:
    """What this gateway has last heard of each counter of a day: (day, used). Of so many at most, the newest."""

    def __init__(self) -> None:
        self._heard: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def hear(self, key: str, day: int, used: int) -> None:
        self._heard[key] = day, used
        self._heard.move_to_end(key)
        if len(self._heard) > _MOST_KNOWN:
            self._heard.popitem(last=False)

    def used(self, key: str) -> tuple[int, int]:
        """(-1, 0) of what was never heard of."""
        return self._heard.get(key, (-1, 0))

    def forget(self, subject: str) -> None:
        self._heard.pop(counter("day", subject), None)

    def known(self) -> list[Restored]:
        """Of the newest day: the others are over."""
        newest = max((day for day, _ in self._heard.values()), default=-1)
        return [Restored(key, day, used) for key, (day, used) in self._heard.items() if day == newest]


class Shares:
    def __init__(self, ledger: Ledger, now: Callable[[], datetime], ticks: Callable[[], float]) -> None:
        self._ledger = ledger
        self._now = now
        self._ticks = ticks
        self._owed: dict[tuple[str, int], int] = {}
        self._left: dict[tuple[str, int], int] = {}
        self._tats: dict[str, float] = {}
        self._held: dict[str, set[str]] = {}

    def end(self) -> None:
        """The store is back: the next outage begins with new shares."""
        self._left.clear()
        self._tats.clear()
        self._held.clear()

    def owed(self) -> list[Restored]:
        """What was spent since this was last asked, to be added to the counters."""
        owed, self._owed = self._owed, {}
        return [Restored(key, day, more=units) for (key, day), units in owed.items()]

    def owe(self, unpaid: Iterable[Restored]) -> None:
        """It could not be added."""
        for each in unpaid:
            self._owed[each.key, each.day] = self._owed.get((each.key, each.day), 0) + each.more

    def release(self, key: str, holder: str) -> None:
        self._held.get(key, set()).discard(holder)

    def spend(self, heading: Heading, costs: Iterable[int], live: int | None, holder: str) -> Decision:
        """All or nothing, as ever. `live` gateways share; None where that was never heard.

        Unavailable where a policy is closed, where the share of a day is spent though its quota may not be, or is not known.
        """
        takers, outcomes = [], []
        for policy, cost in zip(heading.policies, costs, strict=True):
            if not policy.shadow and (policy.outage == "closed" or (live is None and policy.outage == "local-share")):
                raise Unavailable("the quota store does not answer")
            outcome, take = self._one(policy, cost, live or 1, holder)
            outcomes.append(outcome)
            if not outcome.violated:
                takers.append(take)
        admitted = not any(o.violated and not o.policy.shadow for o in outcomes)
        if admitted:
            for take in takers:
                take()
        return Decision.of(heading, outcomes, admitted=admitted)

    def _one(self, policy: Policy, cost: int, live: int, holder: str) -> tuple[Outcome, Callable[[], None]]:
        if policy.kind == "day":
            return self._day(policy, cost, live)
        if policy.outage == "open":
            return Outcome(policy, violated=False, remaining=policy.quota, reset_s=0, retry_s=0), lambda: None
        share = policy.quota // live
        return self._burst(policy, cost, share) if policy.kind == "burst" else self._slots(policy, share, holder)

    def _day(self, policy: Policy, cost: int, live: int) -> tuple[Outcome, Callable[[], None]]:
        key, seconds = policy.key, self._now().timestamp()
        heard_day, used = self._ledger.used(key)
        day = max(heard_day, int(seconds // SECONDS_A_DAY))
        remaining = max(policy.quota - used, 0) if heard_day == day else policy.quota
        left = self._left.get((key, day))
        if left is None:
            left = remaining // live if policy.outage == "local-share" else remaining
        violated = cost > left and policy.outage == "local-share"
        if violated and remaining >= cost and not policy.shadow:
            raise Unavailable("the quota store does not answer, and what this gateway may admit without it is used up")

        def take() -> None:
            self._bound(self._left, (key, day))
            self._left[key, day] = max(left - cost, 0)
            self._owed[key, day] = self._owed.get((key, day), 0) + cost

        reset_s = math.ceil((day + 1) * SECONDS_A_DAY - seconds)
        told = max(left - (0 if violated else cost), 0)
        return Outcome(policy, violated, told, reset_s, reset_s if violated else 0), take

    def _burst(self, policy: Policy, cost: int, share: int) -> tuple[Outcome, Callable[[], None]]:
        """GCRA, as in counters.lua."""
        if share < cost:
            raise Unavailable("the quota store does not answer, and what this gateway may admit without it is used up")
        now, interval = self._ticks(), policy.window_s / share
        span = interval * share
        tat = max(self._tats.get(policy.key, now), now)
        violated = tat + cost * interval - now > span + 1e-9
        after = tat if violated else tat + cost * interval

        def take() -> None:
            self._bound(self._tats, policy.key)
            self._tats[policy.key] = after

        remaining = max(int((span - (after - now)) / interval), 0)
        retry_s = math.ceil(tat + cost * interval - now - span) if violated else 0
        return Outcome(policy, violated, remaining, math.ceil(after - now), retry_s), take

    def _slots(self, policy: Policy, share: int, holder: str) -> tuple[Outcome, Callable[[], None]]:
        held = self._held.get(policy.key, set())
        violated = holder not in held and len(held) >= share

        def take() -> None:
            self._bound(self._held, policy.key)
            self._held.setdefault(policy.key, held).add(holder)

        return Outcome(policy, violated, max(share - len(held), 0), 0, int(violated)), take

    @staticmethod
    def _bound(kept: dict, key: object) -> None:  # type: ignore[type-arg]
        if key not in kept and len(kept) >= _MOST_IN_OUTAGE:
            raise Unavailable("the quota store does not answer, and too many have asked since")
