"""What an address may try: so many at once, then ever longer waits, and what did not fail is taken back."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from shared.errors import RateLimited, Unavailable
from shared.ids import new_id
from shared.limits.guards import Attempt, Guards
from shared.limits.plans import Guard
from shared.scripts import ScriptConnection
from tests.support.gateways import Switch

RULE = Guard(quota=3, window_s=600, longest_s=8, forget_s=1200)


class Gate:
    """One address, and a clock that is set by hand."""

    def __init__(self, scripts: ScriptConnection, rule: Guard = RULE) -> None:
        self.switch = Switch(scripts)
        self.now = datetime(2026, 5, 4, 12, tzinfo=UTC)
        self.guards = Guards(self.switch, now=lambda: self.now)
        self.address = str(new_id())
        self.rule = rule

    async def attempt(self) -> Attempt | None:
        return await self.guards.enter("failed_logins", self.address, self.rule)

    async def wait_of(self) -> int:
        """Seconds that it would have to wait; 0 where it passes (and is paid for)."""
        try:
            await self.attempt()
        except RateLimited as refused:
            return refused.retry_after_s
        return 0

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def gate(scripts: ScriptConnection) -> Gate:
    return Gate(scripts)


async def test_beyond_the_quota_each_try_makes_the_next_one_wait_twice_as_long_up_to_a_block(gate: Gate) -> None:
    for _ in range(3):
        assert await gate.wait_of() == 0
    waits = []
    for _ in range(6):
        assert await gate.wait_of() == 0, "who has waited may try"
        waits.append(await gate.wait_of())
        gate.forward(waits[-1])
    assert waits == [1, 2, 4, 8, 8, 8]


async def test_what_comes_too_early_does_not_make_the_wait_longer(gate: Gate) -> None:
    for _ in range(4):
        await gate.attempt()
    assert [await gate.wait_of() for _ in range(5)] == [1] * 5
    gate.forward(1)
    assert await gate.wait_of() == 0


async def test_many_at_once_are_counted_before_any_has_failed(gate: Gate) -> None:
    answers = await asyncio.gather(*(gate.wait_of() for _ in range(50)))
    assert answers.count(0) == 4, "three, and the strike that makes the others wait"


async def test_what_did_not_fail_has_cost_nothing(gate: Gate) -> None:
    for _ in range(20):
        attempt = await gate.attempt()
        assert attempt is not None
        gate.guards.pardon(attempt)
    for _ in range(4):
        await gate.attempt()
    gate.forward(1)
    attempt = await gate.attempt()
    assert attempt is not None
    gate.guards.pardon(attempt)
    assert await gate.wait_of() == 0, "nor a wait"
    assert await gate.wait_of() == 2, "but what had failed before counts"


async def test_tries_flow_back_and_strikes_are_forgotten(gate: Gate) -> None:
    for _ in range(4):
        await gate.attempt()
    gate.forward(200)
    assert await gate.wait_of() == 0, "one in two hundred seconds"
    gate.forward(2000)
    for _ in range(4):
        await gate.attempt()
    assert await gate.wait_of() == 1, "from the beginning"


async def test_a_clock_that_is_set_back_makes_nobody_wait_longer_than_the_longest(gate: Gate) -> None:
    for _ in range(4):
        await gate.attempt()
    gate.forward(-86_400)
    assert await gate.wait_of() == 8
    gate.forward(8)
    assert await gate.wait_of() == 0


async def test_addresses_and_doors_do_not_wait_for_each_other(gate: Gate) -> None:
    for _ in range(4):
        await gate.attempt()
    assert await gate.guards.enter("registrations", gate.address, RULE) is not None
    gate.address = str(new_id())
    assert await gate.wait_of() == 0


async def test_without_the_store_it_is_closed_unless_the_rule_is_open(scripts: ScriptConnection) -> None:
    for changes, closed in (({}, True), ({"outage": "open"}, False), ({"shadow": True}, False)):
        gate = Gate(scripts, RULE.model_copy(update=changes))
        gate.switch.away = True
        if closed:
            with pytest.raises(Unavailable):
                await gate.attempt()
        else:
            assert await gate.attempt() is None


async def test_in_shadow_nobody_waits(scripts: ScriptConnection) -> None:
    gate = Gate(scripts, RULE.model_copy(update={"shadow": True}))
    assert [await gate.wait_of() for _ in range(20)] == [0] * 20
    assert gate.guards._told.shadowed.labels("failed_logins")._value.get() == 16


def test_an_auth_rule_is_never_shared() -> None:
    with pytest.raises(ValueError, match="closed or open"):
        Guard(outage="local-share")
