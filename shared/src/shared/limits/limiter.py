"""The limiter: every policy of a request in one decision, from a lease, by the store, or without it.

    spend_now   from a lease, or a refusal remembered from a moment ago; asks nobody (shared.limits.leases)
    spend       one script call decides, on the store's clock, all or nothing (decide.lua); while the store is away, what each
                policy says of that (shared.limits.shares)
    decide      the same script for callers that keep nothing here

Exact while the store keeps its data, through any gateway's end.
"""

import asyncio
import time
from asyncio import Future
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime
from functools import partial
from typing import Any, Self

from shared.clock import Clock, system_clock
from shared.errors import Unavailable
from shared.ids import new_id
from shared.limits.counters import MICROSECOND, Answer, Counters, Lost, Restored, Scripts
from shared.limits.guards import Guards
from shared.limits.keys import counter
from shared.limits.leases import LEASE_S, Ask, Purse
from shared.limits.plans import SECONDS_A_DAY, Burst, Limits
from shared.limits.policies import Decision, Outcome, Policy, burst_policy, policies_of, slots_policy
from shared.limits.presence import SETTLING_S, Presence
from shared.limits.shares import Ledger, Shares
from shared.limits.telling import LimiterMetrics
from shared.logging import get_logger
from shared.metrics import Metrics
from shared.tasks import end_task, log_failure

__all__ = ["Decision", "Limiter", "Outcome", "Policy", "Purse", "burst_policy", "policies_of"]

SLOT_S = 60
_MOST_PURSES = 50_000
_MOST_RETURNS = 10_000
_REMEMBERED_S = 1.0
_LOST_AFTER_S = 10.0
_CHUNK = 500
_DAY_US = SECONDS_A_DAY * MICROSECOND
_log = get_logger("limits")


class Limiter:
    """An async context manager where it is to lease, and to go on without the store; else it asks the store, or Unavailable.

    `name` tells the gateway; `now` replaces the store's clock, `ticks` is in seconds and only goes forward.
    """

    def __init__(
        self,
        scripts: Scripts,
        *,
        metrics: Metrics | None = None,
        name: str = "",
        clock: Clock = system_clock,
        ticks: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] | None = None,
        slot_s: int = SLOT_S,
    ) -> None:
        self._counters = Counters(scripts, now)
        self._told = LimiterMetrics(metrics)
        self.guards = Guards(scripts, metrics=self._told, now=now)
        self._ticks = ticks
        self._name = name or new_id().hex
        self._slot_s = slot_s
        self._ledger = Ledger()
        self._shares = Shares(self._ledger, now or clock, ticks)
        self._presence = Presence(self._counters, self._name, lambda: new_id().hex, self._restore)
        self._purses: OrderedDict[str, Purse] = OrderedDict()
        self._leasing: set[Purse] = set()
        self._returns: deque[tuple[str, int]] = deque(maxlen=_MOST_RETURNS)
        self._leases = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._asking: set[asyncio.Task[None]] = set()
        self._running = False

    async def __aenter__(self) -> Self:
        """Returns once the store has settled, or soon after that where it does not."""
        self._running = True
        self._tasks = [asyncio.create_task(work) for work in (self._presence.keep(), self._keep_returning())]
        for task in self._tasks:
            task.add_done_callback(log_failure)
        await self._presence.wait(2 * SETTLING_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        """What is leased is given back."""
        self._running = False
        await asyncio.gather(*map(end_task, self._tasks))
        await asyncio.gather(*self._asking, return_exceptions=True)
        returned = [self._return(*each) for purse in self._leasing for each in purse.over(self._ticks(), all_of_them=True)]
        returned += [self._return(*each) for each in list(self._returns)]
        await asyncio.gather(*(future for future in returned if future is not None), return_exceptions=True)
        await self._presence.leave()

    async def check(self) -> None:
        """For health: raises while decisions are made without the store."""
        # that a connection is lost is known before anybody has asked by it in vain
        if not (self._presence.settled and self._counters.connected):
            raise Unavailable("quotas are spent by share, without the store")

    # ----- deciding

    def purse(self, subject: str, limits: Limits, *, tenant: str = "", address: str = "") -> Purse:
        """The caller's of these limits. One with a limit by address is not kept, and so neither leases nor remembers."""
        purse = self._purses.get(subject)
        if purse is not None and purse.tenant == tenant and (purse.limits is limits or purse.limits == limits):
            self._purses.move_to_end(subject)
            return purse
        slot = slots_policy(subject, limits.concurrency, self._slot_s) if limits.concurrency is not None else None
        policies = policies_of(limits, subject, tenant=tenant, address=address)
        made = Purse(policies, slot, limits, tenant)
        if limits.ip is None:
            self._keep(subject, made)
        return made

    def alone(self, name: str, subject: str, burst: Burst) -> Purse:
        """Of a burst that is no part of a plan; clients read its name."""
        policy = burst_policy(name, subject, burst)
        purse = self._purses.get(policy.subject)
        if purse is None or purse.policies != (policy,):
            purse = Purse([policy])
            self._keep(policy.subject, purse)
        return purse

    def _keep(self, subject: str, purse: Purse) -> None:
        self._discard(subject)
        self._purses[subject] = purse
        if len(self._purses) > _MOST_PURSES:
            self._discard(next(iter(self._purses)))

    def _discard(self, subject: str) -> None:
        purse = self._purses.pop(subject, None)
        if purse is not None:
            for record, left in purse.over(self._ticks(), all_of_them=True):
                self._return(record, left)
            self._leasing.discard(purse)

    def forget(self, *subjects: str) -> None:
        """Somebody changed their counters, or what they may do: nothing that is remembered of them counts."""
        for subject in subjects:
            self._discard(subject)
            self._ledger.forget(subject)

    def spend_now(self, purse: Purse, day_cost: int = 1) -> Decision | None:
        """Admitted from a lease, or refused as a moment ago; None: it takes the store."""
        now = self._ticks()
        if not purse.policies:
            return Decision(purse.heading, ())
        decision = purse.spend(day_cost, now)
        if decision is None:
            return purse.refusal(day_cost, now)
        if purse.wants(now):
            self._ask_for_lease(purse)
        return decision

    async def spend(self, purse: Purse, day_cost: int = 1, *, holder: str = "") -> Decision:
        """With a `holder`, for a slot as well: all or nothing. Unavailable where a policy is closed without the store."""
        asked_at = self._ticks()
        purse.note(day_cost, asked_at)
        if not purse.idle:
            for record, left in purse.over(asked_at):
                self._return(record, left)
        ask = purse.ask(day_cost, slot=bool(holder))
        if not ask.heading.policies:
            return Decision(ask.heading, ())
        answer = await self._by_store(ask, holder)
        if answer is None:
            costs = [*purse.costs(day_cost), *([1] if ask.heading.policies[len(purse.policies) :] else [])]
            decision = self._without_store(ask, costs, holder)
        else:
            decision = self._told_by(answer, ask, purse)
            if self._running and purse.wants(self._ticks()):
                self._ask_for_lease(purse)
            if not answer.admitted:
                self._remember(purse, decision, answer, day_cost, asked_at)
        for name in decision.shadowed:
            self._told.shadowed.labels(name).inc()
        return decision

    def refused_now(self, purse: Purse, day_cost: int = 1) -> Decision | None:
        """As a moment ago."""
        return purse.refusal(day_cost, self._ticks())

    def leases(self, purse: Purse) -> bool:
        """Whether the next request can probably be spent from a lease."""
        return purse.leased(self._ticks())

    async def look(self, purse: Purse) -> Decision:
        """What is left; costs nothing. Unavailable as `spend`."""
        ask = Ask([replace(policy, cost=0) for policy in purse.policies])
        answer = await self._by_store(ask, "")
        return self._without_store(ask, [0] * len(purse.policies), "") if answer is None else self._told_by(answer, ask)

    async def decide(self, policies: Sequence[Policy], now: datetime | None = None) -> Decision:
        """Asks the store, and remembers nothing; `now` replaces its clock. Unavailable without it, whatever the policies say."""
        ask = Ask(policies)
        if not policies:
            return Decision(ask.heading, ())
        answer = Answer.of(await self._counters.decide(ask.question, now=now))
        assert answer is not None  # noqa: S101 - any epoch will do
        return self._told_by(answer, ask)

    async def take_slot(self, purse: Purse, holder: str) -> bool:
        """One of those that are computed at a time, or the holder's own renewed."""
        if purse.slot is None:
            return True
        ask = Ask([purse.slot])
        answer = await self._by_store(ask, holder)
        return self._without_store(ask, [1], holder).admitted if answer is None else answer.admitted

    def release_slot(self, purse: Purse, holder: str) -> None:
        """Nobody waits for it; one that is not given back ends by itself."""
        if purse.slot is not None:
            self._shares.release(purse.slot.key, holder)
            try:
                self._counters.release(purse.slot.key, holder).add_done_callback(self._released)
            except Unavailable:
                self._told.unreleased.inc()

    def _released(self, answer: "Future[Any]") -> None:
        if answer.cancelled() or answer.exception() is not None:
            self._told.unreleased.inc()

    async def _by_store(self, ask: Ask, holder: str) -> Answer | None:
        """None when it is to be decided without."""
        if not self._running:
            return Answer.of(await self._counters.decide(ask.question, holder=holder))
        if not self._presence.settled:
            return None
        try:
            answer = Answer.of(await self._counters.decide(ask.question, epoch=self._presence.epoch, holder=holder))
        except Unavailable:
            answer = None
        if answer is None:
            self._presence.lose()
        return answer

    def _without_store(self, ask: Ask, costs: Sequence[int], holder: str) -> Decision:
        # what was never heard of the store cannot be shared
        live = self._presence.live if self._presence.epoch else None
        try:
            decision = self._shares.spend(ask.heading, costs, live, holder)
        except Unavailable:
            self._told.without_store.labels("unavailable").inc()
            raise
        self._told.without_store.labels("admitted" if decision.admitted else "refused").inc()
        return decision

    def _told_by(self, answer: Answer, ask: Ask, purse: Purse | None = None) -> Decision:
        numbers = answer.numbers
        told: list[int] = []
        for at in range(1, len(numbers), 4):
            told += (numbers[at], -(-numbers[at + 1] // MICROSECOND))
        if purse is not None:
            for at, key, quota in ask.days:
                remaining = told[2 * at]
                day = (answer.now + numbers[4 * at + 2]) // _DAY_US - 1
                self._ledger.hear(key, day, quota - remaining)
                told[2 * at] = purse.lowest(at, day, remaining)
        violated = numbers[0::4]
        if 1 not in violated:
            return Decision(ask.heading, tuple(told))
        rows = zip(ask.heading.policies, violated, told[0::2], told[1::2], numbers[3::4], strict=True)
        outcomes = tuple(Outcome(p, over == 1, left, reset, -(-retry // MICROSECOND)) for p, over, left, reset, retry in rows)
        return Decision(ask.heading, tuple(told), admitted=answer.admitted, outcomes=outcomes)

    @staticmethod
    def _remember(purse: Purse, decision: Decision, answer: Answer, day_cost: int, asked_at: float) -> None:
        """Not for want of a slot, which may be free in a moment."""
        refusing = [
            (o, retry)
            for o, retry in zip(decision.outcomes, answer.numbers[3::4], strict=True)
            if o.policy.name in decision.violated
        ]
        if all(o.policy.kind != "slots" for o, _ in refusing):
            seconds = min([_REMEMBERED_S, *(retry / MICROSECOND for _, retry in refusing)])
            purse.remember(decision, day_cost, asked_at, asked_at + seconds)

    # ----- leases

    def _ask_for_lease(self, purse: Purse) -> None:
        """In the background: who spends does not wait for it."""
        purse.asking = True
        task = asyncio.create_task(self._lease(purse))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        task.add_done_callback(log_failure)

    async def _lease(self, purse: Purse) -> None:
        asked_at = self._ticks()
        units, keep = purse.units(asked_at)
        self._leases += 1
        name, epoch = f"{self._name}/{self._leases}", self._presence.epoch
        try:
            blocks = await self._counters.lease(purse.policies, units, keep, epoch=epoch, name=name, lost_after_s=_LOST_AFTER_S)
        except Unavailable:
            self._presence.lose()
            return
        finally:
            purse.asking = False
        if blocks is not None:
            purse.grant(blocks, asked_at, self._ticks())
            self._leasing.add(purse)
            for policy, block in zip(purse.policies, blocks, strict=True):
                if block.day:
                    self._ledger.hear(policy.key, block.day, policy.quota - block.remaining)

    async def _keep_returning(self) -> None:
        while True:
            await asyncio.sleep(LEASE_S)
            self.give_back()

    def give_back(self) -> None:
        """What is left of leases that have ended, and of those that could not be given back before."""
        now = self._ticks()
        for _ in range(len(self._returns)):
            self._return(*self._returns.popleft())
        for purse in list(self._leasing):
            for record, left in purse.over(now):
                self._return(record, left)
            if purse.idle:
                self._leasing.discard(purse)

    def _return(self, record: str, left: int) -> "Future[Any] | None":
        try:
            returned = self._counters.give_back(record, left)
        except Unavailable:
            self._returns.append((record, left))
            return None
        returned.add_done_callback(partial(self._returned, record, left))
        return returned

    def _returned(self, record: str, left: int, answer: "Future[Any]") -> None:
        """Asked again, it credits once all the same."""
        if answer.cancelled() or answer.exception() is not None:
            self._returns.append((record, left))

    async def lost_leases(self) -> list[Lost]:
        """Those that nobody gave back, each told once: what was not spent of it is lost to the caller. Unavailable."""
        lost = await self._counters.lost_leases()
        for lease in lost:
            self._told.lost.inc(lease.units)
            _log.warning("a lease was lost", gateway=lease.holder, counter=lease.counter, units=lease.units)
        return lost

    # ----- an emptied store

    async def raise_to(self, subject: str, day: date, used: int) -> int:
        """At least so many units of that day's quota count as used; how many were added."""
        return await self._counters.restore([Restored(counter("day", subject), (day - date(1970, 1, 1)).days, used)])

    async def _restore(self, everything: bool) -> bool:  # noqa: FBT001 - Presence's
        """Raises the counters of an emptied store to what was heard of them, or else pays what was spent without one."""
        if everything:
            self._told.restored.inc(await self._pay(self._ledger.known()))
            self._told.emptied.inc()
            return True
        owed = self._shares.owed()
        try:
            self._told.owed.inc(await self._pay(owed))
        except Unavailable:
            self._shares.owe(owed)
            raise
        if not owed:
            self._shares.end()
        return bool(owed)

    async def _pay(self, counters: Sequence[Restored]) -> int:
        added = 0
        for at in range(0, len(counters), _CHUNK):
            added += await self._counters.restore(counters[at : at + _CHUNK])
        return added
