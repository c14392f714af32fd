"""Leases: units of a caller's quotas that one gateway has debited ahead, and spends without asking anybody (docs/adr/0022).

A lease is for a caller whose quotas are all large, asks often, and has more than a twentieth of each left. It lasts a tenth of
a second, and no longer than a tenth of a burst's window: what is spent from it was debited at most that long ago, so that a burst
of q in w admits at most q + qτ/w + q/10 in any τ. Of a day, what is left over is given back; of a burst it is not (it flows back
by itself, and what others did meanwhile makes its return inexact).

Times are of a clock that only goes forward, in seconds. A lease is counted from when it was asked for, which is before the store
debited it, so that it ends before the store would say so.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from shared.limits.counters import MICROSECOND, Block, Question
from shared.limits.plans import Limits
from shared.limits.policies import Decision, Heading, Policy

__all__ = ["LEASE_S", "SMALLEST_QUOTA", "Ask", "Purse"]

SMALLEST_QUOTA = 10_000
KEPT = 20
"""A twentieth of a quota is never leased."""
LEASE_S = 0.1
_SMALLEST_BLOCK = 16
_AHEAD = 2.0
"""How many times what was spent in the last `LEASE_S` is debited for the next."""
_LARGEST_PART = 100


class Ask:
    """What one request asks of the store, and how its answer is told. `days` are the policies of a day: place, counter, quota."""

    __slots__ = ("days", "heading", "question")

    def __init__(self, policies: Sequence[Policy]) -> None:
        self.heading = Heading(policies)
        self.question = Question(policies)
        self.days = [(at, policy.key, policy.quota) for at, policy in enumerate(policies) if policy.kind == "day"]


class _Lease:
    __slots__ = ("blocks", "ends_at", "known_at", "left")

    def __init__(self, blocks: Sequence[Block], known_at: float, ends_at: float) -> None:
        self.blocks = blocks
        self.left = [block.units for block in blocks]
        self.known_at = known_at
        self.ends_at = ends_at


class Purse:
    """One caller's policies: leases of them, what was last refused, and how often it asks. Nothing in here waits."""

    __slots__ = (
        "_asks",
        "_costs",
        "_day",
        "_leases",
        "_low",
        "_over",
        "_refused",
        "_refused_cost",
        "_refused_from",
        "_refused_until",
        "_requests",
        "_since",
        "_told",
        "_units",
        "asking",
        "heading",
        "leasable",
        "limits",
        "policies",
        "slot",
        "tenant",
        "term_s",
    )

    def __init__(
        self, policies: Sequence[Policy], slot: Policy | None = None, limits: Limits | None = None, tenant: str = ""
    ) -> None:
        self.policies = tuple(policies)
        self.slot = slot
        self.limits = limits
        self.tenant = tenant
        self.heading = Heading(policies)
        self._asks: dict[bool, Ask] = {}
        self.term_s = min([LEASE_S, *(p.window_s / 10 for p in policies if p.kind == "burst")])
        self.leasable = bool(policies) and all(self._may_lease(p) for p in policies)
        self.asking = False
        self._costs = [1] * len(self.policies)
        self._leases: list[_Lease] = []
        self._over: list[tuple[str, int]] = []
        self._low = [0] * len(self.policies)
        self._since, self._requests, self._units = 0.0, 0, 0
        self._day, self._told = -1, [math.inf] * len(self.policies)
        self._refused: Decision | None = None
        self._refused_cost, self._refused_from, self._refused_until = 0, 0.0, 0.0

    def _may_lease(self, policy: Policy) -> bool:
        return policy.quota >= SMALLEST_QUOTA and not policy.shadow and self._most(policy) >= _SMALLEST_BLOCK

    def _most(self, policy: Policy) -> int:
        """Of a burst, what flows back while the lease lasts: a tenth of it at most. Of a day, a hundredth."""
        if policy.kind == "burst":
            return int(policy.quota * self.term_s / policy.window_s)
        return policy.quota // _LARGEST_PART

    def costs(self, day_cost: int) -> list[int]:
        return self._costs if day_cost == 1 else [day_cost if p.kind == "day" else 1 for p in self.policies]

    def ask(self, day_cost: int, *, slot: bool) -> Ask:
        """`slot` asks for one of those that are computed at a time as well."""
        asked = self._asks.get(slot) if day_cost == 1 else None
        if asked is None:
            policies = [replace(p, cost=cost) for p, cost in zip(self.policies, self.costs(day_cost), strict=True)]
            asked = Ask([*policies, *([self.slot] if slot and self.slot is not None else [])])
            if day_cost == 1:
                self._asks[slot] = asked
        return asked

    # ----- spending

    def leased(self, now: float) -> bool:
        """Whether the next request can probably be spent here."""
        return bool(self._leases) and self._leases[-1].ends_at > now

    def spend(self, day_cost: int, now: float) -> Decision | None:
        """From a lease; None when it has to be asked for."""
        leases = self._leases
        while leases:
            lease = leases[0]
            if lease.ends_at > now:
                decision = self._take(lease, self._costs if day_cost == 1 else self.costs(day_cost), now)
                if decision is not None:
                    self._requests += 1
                    self._units += day_cost
                    return decision
            self._end(leases.pop(0))
        return None

    def _take(self, lease: _Lease, costs: Sequence[int], now: float) -> Decision | None:
        left = lease.left
        for at, cost in enumerate(costs):
            if left[at] < cost:
                return None
        others = self._leases[1:]
        elapsed = (now - lease.known_at) * MICROSECOND
        numbers: list[int] = []
        for at, block in enumerate(lease.blocks):
            left[at] -= costs[at]
            remaining = block.remaining
            # of a day, what was debited and not spent is still the caller's; of a burst, it may end unused
            if block.day:
                remaining += left[at]
                for other in others:
                    remaining += other.left[at]
                if block.day != self._day or remaining >= self._told[at]:
                    remaining = self.lowest(at, block.day, remaining)
                else:
                    self._told[at] = remaining
            ahead = block.reset - elapsed
            numbers += (remaining, int(ahead // MICROSECOND) + 1 if ahead > 0 else 0)
        return Decision(self.heading, tuple(numbers))

    def lowest(self, at: int, day: int, remaining: int) -> int:
        """What is told of a day never rises within it, though what others give back may make it more."""
        if day != self._day:
            self._day, self._told = day, [math.inf] * len(self.policies)
        told = self._told
        if remaining < told[at]:
            told[at] = remaining
            return remaining
        return int(told[at])

    def _end(self, lease: _Lease) -> None:
        self._over += [(block.record, left) for block, left in zip(lease.blocks, lease.left, strict=True) if block.record]

    # ----- leases

    def note(self, day_cost: int, now: float) -> None:
        """A request that was not spent from a lease."""
        if now - self._since > self.term_s:
            self._since, self._requests, self._units = now, 0, 0
        self._requests += 1
        self._units += day_cost

    def wants(self, now: float) -> bool:
        """Whether it is time to ask for a lease: the first for who asks often, the next well before the last one is used up."""
        if not self.leasable or self.asking:
            return False
        if not self._leases:
            return self._requests >= _SMALLEST_BLOCK
        last = self._leases[-1]
        if last.ends_at - now < self.term_s / 2:
            return True
        for left, low in zip(last.left, self._low, strict=True):  # noqa: SIM110 - a generator would take twice as long
            if left < low:
                return True
        return False

    def units(self, now: float) -> tuple[list[int], list[int]]:
        """What to ask for, and what must remain; counts afresh from now on."""
        ahead = _AHEAD * self.term_s / max(now - self._since, self.term_s / 10)
        wanted = [
            max(_SMALLEST_BLOCK, min(self._most(p), math.ceil((self._units if p.kind == "day" else self._requests) * ahead)))
            for p in self.policies
        ]
        self._since, self._requests, self._units = now, 0, 0
        self._low = [units // 2 for units in wanted]
        return wanted, [p.quota // KEPT for p in self.policies]

    def grant(self, blocks: Sequence[Block], asked_at: float, now: float) -> None:
        """A lease ends with its day at the latest."""
        ends = [block.reset / MICROSECOND for block in blocks if block.day]
        self._leases.append(_Lease(blocks, now, asked_at + min([self.term_s, *ends])))

    def over(self, now: float, *, all_of_them: bool = False) -> list[tuple[str, int]]:
        """Records to give back, with what is left of each: of leases that have ended."""
        while self._leases and (all_of_them or self._leases[0].ends_at <= now):
            self._end(self._leases.pop(0))
        over, self._over = self._over, []
        return over

    @property
    def idle(self) -> bool:
        return not self._leases and not self._over

    # ----- refusals

    def remember(self, refused: Decision, day_cost: int, asked_at: float, until: float) -> None:
        self._refused, self._refused_cost = refused, day_cost
        self._refused_from, self._refused_until = asked_at, until

    def refusal(self, day_cost: int, now: float) -> Decision | None:
        """What would be refused again, as it is by now."""
        if self._refused is None or now >= self._refused_until or day_cost < self._refused_cost:
            return None
        return self._refused.later(int(now - self._refused_from))

    def forget(self) -> None:
        """Somebody has changed the counters otherwise."""
        self._refused, self._day = None, -1
