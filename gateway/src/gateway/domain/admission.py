"""What a request costs its caller, and whether that may still be spent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Protocol

from gateway.domain.errors import NoPlan, OverLimit, TooManyAtOnce
from shared.clock import Clock
from shared.errors import RateLimited, Unavailable
from shared.ids import IdFactory
from shared.limits.batches import check_outline, check_series
from shared.limits.limiter import Decision, Limiter, burst_policy, policies_of
from shared.limits.plans import Plan, PlanBook
from shared.limits.sharing import plan_for, subject_of
from shared.logging import get_logger
from shared.principal import Principal

__all__ = ["Admission"]

RENEW_SLOTS_S = 20.0
_UNLIMITED = Decision(admitted=True, outcomes=())
_log = get_logger("limits")


class Plans(Protocol):
    @property
    def book(self) -> PlanBook:
        """Unavailable until one is known."""
        ...


class Admission:
    """Every method raises Unavailable while the counters are away: without them nothing is admitted."""

    def __init__(self, limiter: Limiter, plans: Plans, clock: Clock, new_id: IdFactory) -> None:
        self._limiter = limiter
        self._plans = plans
        self._clock = clock
        self._new_id = new_id
        self._held: dict[str, tuple[str, int]] = {}

    def plan_of(self, principal: Principal) -> Plan:
        """What is the caller's of it, at this moment. NoPlan for a tier that the plan file does not have."""
        plan = plan_for(principal, self._plans.book, self._clock())
        if plan is None:
            raise NoPlan(principal.tier)
        return plan

    def check_outline(self, body: bytes, plan: Plan) -> None:
        """As `check_series`, of a body not read yet; InvalidInput too for one that can be no batch."""
        check_outline(body, plan.entitlements, self._plans)

    def check_series(self, series: int, plan: Plan) -> None:
        """TierRequired for a batch of more series than the plan allows, InvalidInput for more than any does."""
        check_series(series, plan.entitlements, self._plans)

    def spend_now(
        self,
        principal: Principal,  # noqa: ARG002 - as of `spend`
        plan: Plan,
        day_cost: int = 1,  # noqa: ARG002
        *,
        client_ip: str,  # noqa: ARG002
    ) -> Decision | None:
        """As `spend`, where nobody has to be asked; None where the store has."""
        return _UNLIMITED if plan.limits.burst is None and plan.limits.day is None else None

    async def spend(self, principal: Principal, plan: Plan, day_cost: int = 1, *, client_ip: str) -> Decision:  # noqa: ARG002
        """One request of each of the plan's quotas, of the day's `day_cost`, or OverLimit and none of any."""
        decision = await self._limiter.decide(policies_of(plan.limits, subject_of(principal), day_cost=day_cost))
        if not decision.admitted:
            raise OverLimit(decision)
        return decision

    @asynccontextmanager
    async def slot(self, principal: Principal, plan: Plan) -> AsyncIterator[None]:
        """One of the requests that may be computed at a time; TooManyAtOnce."""
        limit = plan.limits.concurrency
        if limit is None:
            yield
            return
        subject, holder = subject_of(principal), str(self._new_id())
        if not await self._limiter.take_slot(subject, limit, holder):
            raise TooManyAtOnce(limit)
        self._held[holder] = subject, limit
        try:
            yield
        finally:
            del self._held[holder]
            try:
                await self._limiter.release_slot(subject, holder)
            except Unavailable:
                _log.warning("a slot was not given back; its lease ends by itself")

    @asynccontextmanager
    async def forwarding(self, principal: Principal, plan: Plan, day_cost: int = 1, *, client_ip: str) -> AsyncIterator[Decision]:
        """`spend`, and one of the requests that may be computed at a time; TooManyAtOnce."""
        async with self.slot(principal, plan):
            yield await self.spend(principal, plan, day_cost, client_ip=client_ip)

    async def keep_slots(self) -> None:
        """For as long as it runs, a slot in use does not run out, however long its answer takes."""
        while True:
            await asyncio.sleep(RENEW_SLOTS_S)
            for holder, (subject, limit) in list(self._held.items()):
                try:
                    if holder in self._held:
                        await self._limiter.take_slot(subject, limit, holder)
                    if holder not in self._held:
                        # given back before it was renewed, which took it again
                        await self._limiter.release_slot(subject, holder)
                except Unavailable:
                    _log.warning("a slot was not renewed")

    async def anonymous(self, client_ip: str) -> None:
        """Counts one request without credentials against its address; OverLimit."""
        decision = await self._limiter.decide([burst_policy("ip", f"ip:{client_ip}", self._plans.book.anonymous_ip)])
        if not decision.admitted:
            raise OverLimit(decision)

    async def check_address(self, client_ip: str) -> None:
        """RateLimited when the address has nothing left for requests without credentials; costs nothing."""
        policy = burst_policy("ip", f"ip:{client_ip}", self._plans.book.anonymous_ip)
        (outcome,) = (await self._limiter.decide([replace(policy, cost=0)])).outcomes
        if outcome.remaining < 1:
            raise RateLimited("too many requests without valid credentials", 1, [policy.name])
