"""What the limiter promises, in any order of what may happen, on the real store with a clock that is set by hand.

The sizes that leases begin at are small here: the laws hold for any.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterator
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from shared.errors import Unavailable
from shared.ids import new_id
from shared.limits import leases
from shared.limits.leases import LEASE_S
from shared.limits.limiter import Decision
from shared.limits.plans import Burst, Limits
from shared.limits.presence import SETTLING_S
from shared.scripts import Script, ScriptConnection
from tests.support.gateways import World
from tests.support.poll import until

T = TypeVar("T")
GATEWAYS = 3
BURST, WINDOW_S, DAY = 40, 1, 120
_EMPTY = Script('return redis.call("FLUSHDB")')
which = st.integers(0, GATEWAYS - 1)


@pytest.fixture(autouse=True)
def small_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "SMALLEST_QUOTA", 20)
    monkeypatch.setattr(leases, "_SMALLEST_BLOCK", 2)
    monkeypatch.setattr(leases, "_LARGEST_PART", 10)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


async def connected(scripts: ScriptConnection) -> bool:
    return scripts.connected


class Machine(RuleBasedStateMachine):
    """One subject, and gateways that are asked about it."""

    limits: Limits

    def __init__(self, runner: asyncio.Runner, scripts: ScriptConnection) -> None:
        super().__init__()
        self.runner = runner
        self.scripts = scripts
        self.world = World(scripts, self.limits, f"user:{new_id()}", GATEWAYS)

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(what)

    leased: ClassVar[int] = 0
    """Requests, over all examples, of who had a lease."""

    @initialize()
    def begin(self) -> None:
        self.run(self.world.open())
        self.start()

    def start(self) -> None:
        raise NotImplementedError

    def saw(self, at: int) -> None:
        type(self).leased += self.world.gateways[at].leases(self.world.purse(self.world.gateways[at]))


class Exact(Machine):
    """While the store keeps its data: a day admits its quota at most, and drains to exactly that but for what dead gateways held;
    any τ admits at most q + q·τ/w + q/10 of a burst."""

    limits = Limits(day=DAY, burst=Burst(quota=BURST, window_s=WINDOW_S))

    def start(self) -> None:
        self.bursts: list[tuple[int, int]] = []
        self.passed = self.carried = 0
        self.crashed = False

    @rule(at=which, times=st.integers(1, 12), day_cost=st.sampled_from([1, 1, 1, 3]))
    def ask(self, at: int, times: int, day_cost: int) -> None:
        for _ in range(times):
            self.note(at, self.run(self.world.spend(at, day_cost)))

    @rule(order=st.lists(which, min_size=2, max_size=20))
    def ask_all_at_once(self, order: list[int]) -> None:
        async def together() -> list[Decision]:
            return await asyncio.gather(*(self.world.spend(at) for at in order))

        for at, decision in zip(order, self.run(together()), strict=True):
            self.note(at, decision)

    def note(self, at: int, decision: Decision) -> None:
        self.saw(at)
        if decision.admitted:
            self.bursts.append((self.passed, 1))

    @rule(milliseconds=st.sampled_from([1, 10, 40, 60, 110, 500, 2000]))
    def wait(self, milliseconds: int) -> None:
        self.world.microseconds += milliseconds * 1000
        self.passed += milliseconds * 1000
        if self.carried and milliseconds > 1000 * LEASE_S:
            self.carried = 0
            self.bursts.clear()

    @rule(seconds=st.sampled_from([-90_000, -3600, -1, 1, 3600, 50_000, 90_000]))
    def set_the_clock(self, seconds: int) -> None:
        """Forward, a burst is whole again at once; what was leased before is still spent."""
        self.world.shift += timedelta(seconds=seconds)
        if seconds > 0:
            self.passed += seconds * 1_000_000
            self.bursts.clear()
            purses = map(self.world.purse, self.world.gateways)
            self.carried = sum(lease.left[0] for purse in purses for lease in purse._leases)

    @rule(at=which)
    def give_back(self, at: int) -> None:
        self.run(self.world.give_back(at))

    @rule(at=which)
    def crash(self, at: int) -> None:
        self.world.crash(at)
        self.run(self.world.look())
        self.crashed = True

    @rule()
    def lose_the_connection(self) -> None:
        async def lose() -> None:
            assert self.scripts._link is not None
            self.scripts._link.drop("a test")
            await until(lambda: connected(self.scripts), every_s=0.002, what="the store")
            await self.world.look()

        self.run(lose())

    @invariant()
    def no_day_admits_more_than_its_quota(self) -> None:
        assert all(units <= DAY for units in self.world.charged.values()), self.world.charged

    @invariant()
    def no_interval_admits_more_than_the_law(self) -> None:
        for first, (begin, _) in enumerate(self.bursts):
            units = 0
            for at, cost in self.bursts[first:]:
                units += cost
                assert units <= BURST + BURST * (at - begin) / 1_000_000 / WINDOW_S + BURST / 10 + self.carried
        self.bursts = self.bursts[-3 * BURST :]

    def teardown(self) -> None:
        if hasattr(self, "bursts"):
            self.run(self.drain())

    async def drain(self) -> None:
        world = self.world
        for at in range(GATEWAYS):
            await world.give_back(at, all_of_it=True)
        for day_cost in (10, 1):
            violated: tuple[str, ...] = ()
            while "day" not in violated:
                world.microseconds += 1_100_000
                decision = await world.spend(0, day_cost)
                self.note(0, decision)
                await world.give_back(0, all_of_it=True)
                violated = decision.violated
        day, used = await world.used()
        assert used == DAY, "it drains to exactly the limit"
        world.shift += timedelta(days=60)  # whatever the clock was set to when it was leased
        lost = await world.gateways[0].lost_leases()
        unspent = DAY - world.charged[day]
        told = sum(lease.units for lease in lost if lease.day == day and lease.counter.endswith(world.subject))
        assert 0 <= unspent <= told, "what is lost is told of"
        if not self.crashed:
            assert unspent == 0


class Client(Machine):
    """One client that obeys the fields, through any gateway. In a lease's time it asks for less than a twentieth, which is never
    leased: with more, what other gateways have spent meanwhile could be all that was told to be left."""

    limits = Limits(day=DAY, burst=Burst(quota=BURST, window_s=WINDOW_S))

    def start(self) -> None:
        self.last: dict[str, tuple[int, int, int]] = {}
        self.days: dict[int, int] = {}

    @rule(at=which, times=st.integers(1, 40))
    def ask(self, at: int, times: int) -> None:
        for _ in range(times):
            self.obey()
            decision = self.run(self.world.spend(at))
            assert decision.admitted, (decision.outcomes, self.last)
            for outcome in decision.outcomes:
                self.last[outcome.policy.name] = outcome.remaining, outcome.reset_s, self.world.microseconds
            self.never_rises(at, decision)
            self.saw(at)
            self.world.microseconds += 34_000

    def obey(self) -> None:
        for remaining, reset_s, at in self.last.values():
            if remaining < 1:
                self.world.microseconds = max(self.world.microseconds, at + reset_s * 1_000_000)

    def never_rises(self, at: int, decision: Decision) -> None:
        day = next(o for o in decision.outcomes if o.policy.name == "day")
        purse = self.world.purse(self.world.gateways[at])
        key = hash((at, purse._day))
        assert day.remaining <= self.days.get(key, DAY)
        self.days[key] = day.remaining

    @rule(at=which)
    def give_back(self, at: int) -> None:
        self.run(self.world.give_back(at))

    @rule(milliseconds=st.sampled_from([10, 50, 110, 1000, 20_000_000]))
    def wait(self, milliseconds: int) -> None:
        self.world.microseconds += milliseconds * 1000


class Outages(Machine):
    """With the store away, all gateways together admit at most the sum of their shares; once it is back it knows of all that was
    spent. Emptied, it is raised to what any gateway had heard, and more than the quota is admitted at most by what none had."""

    limits = Limits(day=DAY)

    def start(self) -> None:
        self.admitted: Counter[int] = Counter()
        self.over = 0
        self.promised = 0

    def day(self) -> int:
        return int(self.world.now().timestamp() // 86_400)

    @rule(at=which, times=st.integers(1, 40), day_cost=st.sampled_from([1, 1, 2]))
    def ask(self, at: int, times: int, day_cost: int) -> None:
        for _ in range(times):
            try:
                decision = self.run(self.world.spend(at, day_cost))
            except Unavailable:
                assert self.world.switch.away
                return
            self.saw(at)
            if decision.admitted:
                self.admitted[self.day()] += day_cost
                if self.world.switch.away:
                    self.promised -= day_cost
                    assert self.promised >= 0, "the sum of the shares"
            self.world.microseconds += 1000

    @precondition(lambda self: not self.world.switch.away)
    @rule()
    def go_away(self) -> None:
        async def settle() -> None:
            for at in range(GATEWAYS):
                await self.world.give_back(at, all_of_it=True)

        self.run(settle())
        heard = [gateway._ledger.used(f"limits:day:{self.world.subject}") for gateway in self.world.gateways]
        self.promised = sum((DAY - (used if day == self.day() else 0)) // GATEWAYS for day, used in heard)
        self.before = self.admitted[self.day()]
        self.world.switch.away = True

    @precondition(lambda self: self.world.switch.away)
    @rule()
    def come_back(self) -> None:
        self.world.switch.away = False
        self.run(self.world.look())
        day, used = self.run(self.world.used())
        if day == self.day():
            assert used >= self.admitted[day] - self.over, "the store knows of everything"
        # shares were of what each had heard: together they may be more than there was
        self.over = max(self.over, self.admitted[self.day()] - DAY)

    @precondition(lambda self: not self.world.switch.away)
    @rule()
    def empty_the_store(self) -> None:
        """After which nobody's leases count."""

        async def empty() -> None:
            for at in range(GATEWAYS):
                await self.world.give_back(at, all_of_it=True)
            heard = [gateway._ledger.used(f"limits:day:{self.world.subject}") for gateway in self.world.gateways]
            known = max((used for day, used in heard if day == self.day()), default=0)
            self.over += max(0, self.admitted[self.day()] - self.over - known)
            await self.scripts.call(_EMPTY, ["-"], [])
            await self.world.look()
            self.world.microseconds += round(SETTLING_S * 1_000_000)
            await self.world.look()
            await self.world.look()

        self.run(empty())
        day, used = self.run(self.world.used())
        assert used >= (self.admitted[day] - self.over if day == self.day() else 0)

    @precondition(lambda self: not self.world.switch.away)
    @rule(at=which)
    def crash(self, at: int) -> None:
        self.world.crash(at)
        self.run(self.world.look())

    @rule(seconds=st.sampled_from([1, 3600, 40_000]))
    def wait(self, seconds: int) -> None:
        day = self.day()
        self.world.microseconds += seconds * 1_000_000
        if self.day() != day:
            self.over = 0
            # a day that nobody has heard of is shared whole
            self.promised = DAY // GATEWAYS * GATEWAYS
        if not self.world.switch.away:
            self.run(self.world.look())

    @invariant()
    def no_day_admits_more_than_it_may(self) -> None:
        if hasattr(self, "over") and not self.world.switch.away:
            assert self.admitted[self.day()] <= DAY + self.over


@pytest.mark.parametrize("machine", [Exact, Client, Outages], ids=["exact", "a client that obeys", "outages"])
def test_the_law_holds_whatever_happens(machine: type[Machine], own_store: str, runner: asyncio.Runner) -> None:
    scripts = ScriptConnection(own_store, deadline_s=20.0)
    runner.run(scripts.__aenter__())
    try:
        run_state_machine_as_test(
            lambda: machine(runner, scripts),  # type: ignore[arg-type]  # it calls it
            settings=settings(max_examples=25, stateful_step_count=25, deadline=None),
        )
    finally:
        runner.run(scripts.__aexit__())
    assert machine.leased, "what was to be seen has happened"
