"""What a request costs its caller, and whether that may still be spent."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Protocol

from gateway.domain.errors import NoPlan, OverLimit, TooManyAtOnce
from gateway.domain.slots import Holding, Slots, slots_of
from shared.clock import Clock
from shared.errors import KalpiError, RateLimited
from shared.ids import IdFactory
from shared.limits.batches import check_outline, check_series
from shared.limits.guards import Door
from shared.limits.limiter import Decision, Limiter, Purse
from shared.limits.plans import Guard, Limits, Plan, PlanBook
from shared.limits.sharing import address_of, plan_for, subject_of
from shared.principal import Principal

__all__ = ["Admission"]

_DOORS: Mapping[str, tuple[Door, frozenset[int]]] = {
    "/api/v1/auth/login": ("failed_logins", frozenset({401})),
    "/api/v1/auth/register": ("registrations", frozenset({200, 201, 202, 409})),
    "/api/v1/auth/password/forgot": ("mails", frozenset({200, 202, 204})),
}
"""What is counted by address, and the answers that count."""


class Plans(Protocol):
    @property
    def book(self) -> PlanBook:
        """Unavailable until one is known."""
        ...


class Admission:
    """Methods that spend raise OverLimit, and have then spent nothing; Unavailable where a policy is closed without the store.

    `client_ip` is counted where a plan has a limit by address.
    """

    def __init__(self, limiter: Limiter, plans: Plans, clock: Clock, new_id: IdFactory) -> None:
        self._limiter = limiter
        self._plans = plans
        self._clock = clock
        self.slots = Slots(limiter, new_id)

    def plan_of(self, principal: Principal, now: datetime | None = None) -> Plan:
        """What is the caller's of it, at this moment. NoPlan for a tier that the plan file does not have."""
        plan = plan_for(principal, self._plans.book, now or self._clock())
        if plan is None:
            raise NoPlan(principal.tier)
        return plan

    def check_outline(self, body: bytes, plan: Plan) -> None:
        """As `check_series`, of a body not read yet; InvalidInput too for one that can be no batch."""
        check_outline(body, plan.entitlements, self._plans)

    def check_series(self, series: int, plan: Plan) -> None:
        """TierRequired for a batch of more series than the plan allows, InvalidInput for more than any does."""
        check_series(series, plan.entitlements, self._plans)

    # ----- spending

    def spend_now(self, principal: Principal, plan: Plan, day_cost: int = 1, *, client_ip: str) -> Decision | None:
        """As `spend`, where nobody has to be asked; None where the store has."""
        decision = self._limiter.spend_now(self._purse(principal, plan, client_ip), day_cost)
        return decision if decision is None else _admitted(decision)

    async def spend(self, principal: Principal, plan: Plan, day_cost: int = 1, *, client_ip: str) -> Decision:
        """One request of each of the plan's quotas, of the day's `day_cost`."""
        return _admitted(await self._limiter.spend(self._purse(principal, plan, client_ip), day_cost))

    async def pay(self, principal: Principal, plan: Plan, day_cost: int = 1, *, client_ip: str) -> Decision:
        """`spend_now`, or else `spend`."""
        decision = self.spend_now(principal, plan, day_cost, client_ip=client_ip)
        return decision if decision is not None else await self.spend(principal, plan, day_cost, client_ip=client_ip)

    async def account(self, principal: Principal) -> Decision:
        """One request of those that spend no quota."""
        return await self._spend_alone(self._limiter.alone("account", f"account:{principal.user_id}", self._plans.book.account))

    def forwarding(self, principal: Principal, plan: Plan, day_cost: int = 1, *, client_ip: str) -> Holding[Decision]:
        """`spend`, and one of the requests that may be computed at a time, in one decision; TooManyAtOnce."""
        purse = self._purse(principal, plan, client_ip)
        return Holding(self.slots, purse, self._spend_with_slot(purse, day_cost))

    def slot(self, principal: Principal, plan: Plan) -> Holding[None]:
        """One of the requests that may be computed at a time, and no quota; TooManyAtOnce."""
        purse = self._purse(principal, plan, "")
        return Holding(self.slots, purse, self._take_slot(purse))

    # ----- by address

    async def anonymous(self, client_ip: str) -> None:
        """Counts one request without credentials against its address."""
        await self._spend_alone(self._anonymous(client_ip))

    async def check_address(self, client_ip: str) -> None:
        """RateLimited when the address has nothing left for requests without credentials; costs nothing."""
        purse = self._anonymous(client_ip)
        decision = await self._limiter.look(purse)
        if decision.outcomes[0].remaining < 1:
            raise RateLimited("too many requests without valid credentials", 1, ["ip"])

    @asynccontextmanager
    async def guarding(self, path: str, client_ip: str) -> AsyncIterator[Callable[[int], None]]:
        """What is tried at an auth route is paid for by its address, and taken back unless the status that is told of counts.

        RateLimited while the address has to wait; sessions and keys are not asked here.
        """
        door, counts = _DOORS.get(path, (None, frozenset()))
        if door is None:
            yield lambda _status: None
            return
        rule: Guard = getattr(self._plans.book.auth, door)
        attempt = await self._limiter.guards.enter(door, address_of(client_ip), rule)
        answered: list[int] = []
        try:
            yield answered.append
        except KalpiError as error:
            answered.append(error.status)
            raise
        finally:
            # who goes away before the answer has paid
            if attempt is not None and answered and answered[0] not in counts:
                self._limiter.guards.pardon(attempt)

    def _anonymous(self, client_ip: str) -> Purse:
        return self._limiter.alone("ip", f"ip:{address_of(client_ip)}", self._plans.book.anonymous_ip)

    # ----- inside

    def _purse(self, principal: Principal, plan: Plan, client_ip: str) -> Purse:
        limits: Limits = plan.limits
        address = address_of(client_ip) if limits.ip is not None else ""
        return self._limiter.purse(subject_of(principal), limits, tenant=principal.tenant_id, address=address)

    async def _spend_alone(self, purse: Purse) -> Decision:
        decision = self._limiter.spend_now(purse)
        return _admitted(decision if decision is not None else await self._limiter.spend(purse))

    async def _spend_with_slot(self, purse: Purse, day_cost: int) -> tuple[Decision, str]:
        decision = self._limiter.refused_now(purse, day_cost)
        if decision is not None:
            raise OverLimit(decision)
        if self._limiter.leases(purse):
            holder = await self.slots.take(purse)
            try:
                # last: what was spent from a lease cannot be put back
                decision = self._limiter.spend_now(purse, day_cost) or await self._limiter.spend(purse, day_cost)
                return _admitted(decision), holder
            except BaseException:
                self.slots.give_back(purse, holder)
                raise
        holder = self.slots.new_holder()
        try:
            decision = await self._limiter.spend(purse, day_cost, holder=holder)
        except BaseException:
            self._limiter.release_slot(purse, holder)  # who was cancelled or not answered may hold one
            raise
        _admitted(decision, purse)
        self.slots.hold(purse, holder)
        return decision, holder

    async def _take_slot(self, purse: Purse) -> tuple[None, str]:
        return None, await self.slots.take(purse)


def _admitted(decision: Decision, purse: Purse | None = None) -> Decision:
    if decision.admitted:
        return decision
    if purse is not None and decision.violated == ("concurrency",):
        raise TooManyAtOnce(slots_of(purse))
    raise OverLimit(decision)
