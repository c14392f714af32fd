"""What a gateway does by itself: leases, remembered refusals, policies in shadow, and deciding without the store."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest

from shared.errors import Unavailable
from shared.ids import new_id
from shared.limits.counters import Counters
from shared.limits.fields import ratelimit_fields
from shared.limits.keys import members_of
from shared.limits.limiter import Decision
from shared.limits.plans import Burst, Limits, Quota
from shared.limits.presence import SETTLING_S
from shared.scripts import Script, ScriptConnection
from tests.support.gateways import World

LARGE = Limits(day=50_000, burst=Burst(quota=20_000))
EMPTY = Script('return redis.call("FLUSHDB")')
MakeWorld = Callable[[Limits], Awaitable[World]]


@pytest.fixture
async def scripts(own_store: str) -> AsyncIterator[ScriptConnection]:
    async with ScriptConnection(own_store, deadline_s=20.0) as scripts:
        yield scripts


@pytest.fixture
def world_of(scripts: ScriptConnection) -> MakeWorld:
    async def make(limits: Limits) -> World:
        await scripts.call(EMPTY, ["-"], [])
        world = World(scripts, limits, f"user:{new_id()}", gateways=2)
        await world.open()
        return world

    return make


async def heat(world: World, at: int = 0, times: int = 40) -> list[Decision]:
    return [await world.spend(at) for _ in range(times)]


def remaining(decision: Decision, name: str = "day") -> int:
    return next(o.remaining for o in decision.outcomes if o.policy.name == name)


async def test_who_asks_often_spends_without_asking_and_is_told_what_the_whole_quota_has_left(world_of: MakeWorld) -> None:
    world = await world_of(LARGE)
    decisions = await heat(world)
    gateway, purse = world.gateways[0], world.purse(world.gateways[0])
    assert gateway.leases(purse)
    world.switch.away = True
    decision = gateway.spend_now(purse)
    assert decision is not None
    assert decision.admitted, "the store is not asked"
    assert [remaining(one) for one in [*decisions, decision]] == list(range(49_999, 49_999 - 41, -1))
    assert ratelimit_fields(decision)[0] == (b"ratelimit-policy", b'"burst";q=20000;w=1, "day";q=50000;w=86400')


@pytest.mark.parametrize(
    "limits",
    [
        Limits(day=9_999),
        Limits(day=50_000, burst=Burst(quota=100)),
        Limits(day=Quota(quota=50_000, shadow=True)),
        Limits(day=50_000, ip=Burst(quota=20_000)),
    ],
    ids=["small", "with a small burst", "in shadow", "by address"],
)
async def test_what_is_small_or_not_the_callers_alone_is_never_leased(world_of: MakeWorld, limits: Limits) -> None:
    world = await world_of(limits)
    await heat(world)
    assert not world.gateways[0].leases(world.purse(world.gateways[0]))


async def test_the_last_twentieth_is_never_leased(world_of: MakeWorld) -> None:
    world = await world_of(Limits(day=50_000))
    await world.spend(1, 47_490)
    await heat(world)
    assert not world.gateways[0].leases(world.purse(world.gateways[0])), "2,510 were left, and 2,500 are kept"


async def test_what_is_left_of_a_lease_that_has_ended_is_given_back(world_of: MakeWorld) -> None:
    world = await world_of(LARGE)
    await heat(world)
    assert (await world.used())[1] > 40
    world.microseconds += 200_000
    await world.give_back(0)
    assert (await world.used())[1] == 40


async def test_a_lease_is_given_back_once_and_to_its_own_day_alone(world_of: MakeWorld) -> None:
    world = await world_of(LARGE)
    await heat(world)
    ((record, left),) = world.purse(world.gateways[0]).over(world.ticks(), all_of_them=True)
    assert await world.counters.give_back(record, left) == left
    assert await world.counters.give_back(record, left) == 0
    await heat(world)
    ((record, left),) = world.purse(world.gateways[0]).over(world.ticks(), all_of_them=True)
    world.shift += timedelta(days=1)
    await world.spend(1)
    assert await world.counters.give_back(record, left) == 0
    assert (await world.used())[1] == 1


async def test_a_lease_does_nothing_in_a_store_that_was_emptied(world_of: MakeWorld, scripts: ScriptConnection) -> None:
    world = await world_of(LARGE)
    await heat(world)
    ((record, left),) = world.purse(world.gateways[0]).over(world.ticks(), all_of_them=True)
    await scripts.call(EMPTY, ["-"], [])
    assert await world.counters.give_back(record, left) == 0


async def test_a_lease_ends_with_its_day(world_of: MakeWorld) -> None:
    world = await world_of(Limits(day=50_000))
    to_midnight = timedelta(days=1) - timedelta(hours=world.now().hour, minutes=world.now().minute, milliseconds=50)
    world.shift += to_midnight
    await heat(world)
    gateway, purse = world.gateways[0], world.purse(world.gateways[0])
    assert gateway.leases(purse)
    world.microseconds += 50_000
    assert not gateway.leases(purse), "though it is not a tenth of a second old"


async def test_the_lease_of_a_dead_gateway_is_told_of_once(world_of: MakeWorld) -> None:
    world = await world_of(LARGE)
    await heat(world)
    held = sum(lease.left[1] for lease in world.purse(world.gateways[0])._leases)
    name = world.gateways[0]._name
    world.crash(0)
    assert await world.gateways[1].lost_leases() == []
    world.microseconds += 11_000_000
    (lost,) = await world.gateways[1].lost_leases()
    assert (lost.holder, lost.counter) == (name, f"limits:day:{world.subject}")
    assert lost.units >= held > 0
    assert await world.gateways[1].lost_leases() == []
    assert world.gateways[1]._told.lost._value.get() == lost.units


async def test_a_refusal_is_remembered_for_a_second_and_never_beyond_its_end(world_of: MakeWorld) -> None:
    world = await world_of(Limits(day=2))
    gateway, purse = world.gateways[0], world.purse(world.gateways[0])
    assert [d.admitted for d in await heat(world, times=3)] == [True, True, False]
    assert (refused := gateway.spend_now(purse)) is not None
    assert (refused.admitted, refused.violated) == (False, ("day",))
    world.microseconds += 1_000_000
    assert gateway.spend_now(purse) is None
    short = await world_of(Limits(burst=Burst(quota=5)))
    await heat(short, times=6)
    short.microseconds += 200_000
    assert (await short.spend(0)).admitted, "when it was told"


async def test_a_refusal_is_forgotten_with_a_larger_quota_and_when_told(world_of: MakeWorld) -> None:
    world = await world_of(Limits(day=2))
    await heat(world, times=3)
    gateway = world.gateways[0]
    larger = gateway.purse(world.subject, Limits(day=4))
    assert (await gateway.spend(larger)).admitted
    await gateway.spend(larger)
    assert not (await gateway.spend(larger)).admitted
    assert gateway.spend_now(larger) is not None
    gateway.forget(world.subject)
    assert gateway.spend_now(gateway.purse(world.subject, Limits(day=4))) is None


async def test_what_was_set_back_is_not_given_again_to_a_store_that_was_emptied(world_of: MakeWorld) -> None:
    """Of a user, and of all members of a tenant together."""
    world = await world_of(Limits(day=5))
    gateway, limits = world.gateways[0], Limits(day=5, tenant=9)
    await gateway.spend(gateway.purse(world.subject, limits, tenant="t"))
    assert len(gateway._ledger.known()) == 2
    gateway.forget(world.subject, "members:t")
    assert gateway._ledger.known() == []


async def test_who_goes_to_another_tenant_spends_of_that_ones(world_of: MakeWorld) -> None:
    world = await world_of(Limits())
    gateway, limits, subject = world.gateways[0], Limits(tenant=2), f"user:{new_id()}"
    tenants = [str(new_id()) for _ in range(2)]
    spent = [await gateway.spend(gateway.purse(subject, limits, tenant=tenant)) for tenant in (*tenants, *tenants)]
    assert [decision.numbers[0] for decision in spent] == [1, 1, 0, 0]


async def test_a_policy_in_shadow_counts_and_refuses_nobody_and_clients_do_not_see_it(world_of: MakeWorld) -> None:
    world = await world_of(Limits(day=5, burst=Burst(quota=2, shadow=True)))
    decisions = await heat(world, times=4)
    assert [d.admitted for d in decisions] == [True] * 4
    assert [d.shadowed for d in decisions] == [(), (), ("burst",), ("burst",)]
    assert ratelimit_fields(decisions[-1])[0] == (b"ratelimit-policy", b'"day";q=5;w=86400')
    assert world.gateways[0]._told.shadowed.labels("burst")._value.get() == 2


async def test_members_of_a_tenant_and_callers_of_an_address_spend_together_in_the_same_decision(world_of: MakeWorld) -> None:
    world = await world_of(Limits())
    gateway, limits = world.gateways[0], Limits(day=3, tenant=4, ip=Burst(quota=6))
    members = [gateway.purse(f"user:{new_id()}", limits, tenant="t", address="192.0.2.1") for _ in range(2)]
    stranger = gateway.purse(f"user:{new_id()}", limits, tenant="other", address="192.0.2.1")
    spent = [await gateway.spend(purse) for purse in (*members, *members, members[0], *[stranger] * 3)]
    assert [d.violated for d in spent] == [(), (), (), (), ("tenant",), (), (), ("ip",)]
    assert remaining(spent[-1]) == 1, "what was refused cost the day nothing"


# ----- without the store


async def test_a_closed_policy_admits_nothing_and_an_open_one_everything(world_of: MakeWorld) -> None:
    for rule, admitted in ((Quota(quota=6, outage="closed"), 0), (Quota(quota=6, outage="open"), 9)):
        world = await world_of(Limits(day=rule))
        world.switch.away = True
        assert await admitted_of(world, 9) == admitted


async def admitted_of(world: World, times: int, at: int = 0) -> int:
    """503 where it is not known, 429 where the quota is spent."""
    admitted = 0
    for _ in range(times):
        try:
            admitted += (await world.spend(at)).admitted
        except Unavailable:
            continue
    return admitted


async def test_each_gateway_spends_its_share_of_what_it_had_heard_was_left(world_of: MakeWorld) -> None:
    world = await world_of(Limits(day=20))
    await heat(world, times=6)
    await heat(world, at=1, times=4)
    world.switch.away = True
    assert await admitted_of(world, 20) == (20 - 6) // 2
    assert await admitted_of(world, 20, at=1) == (20 - 10) // 2
    world.switch.away = False
    await world.look()
    assert (await world.used())[1] == 10 + 7 + 5, "and the store is told, also of what was too much"


async def test_a_gateway_that_never_heard_of_the_store_admits_nothing(world_of: MakeWorld) -> None:
    world = await world_of(Limits(day=20))
    world.switch.away = True
    world.crash(0)
    assert await admitted_of(world, 3) == 0


async def test_bursts_and_slots_are_shared_too(world_of: MakeWorld) -> None:
    world = await world_of(Limits(burst=Burst(quota=10), concurrency=4))
    gateway, purse = world.gateways[0], world.purse(world.gateways[0])
    world.switch.away = True
    assert await admitted_of(world, 9) == 5
    world.microseconds += 200_000
    assert await admitted_of(world, 9) == 1
    assert [await gateway.take_slot(purse, holder) for holder in "abc"] == [True, True, False]
    gateway.release_slot(purse, "a")
    assert await gateway.take_slot(purse, "c")


async def test_an_emptied_store_is_raised_to_what_any_gateway_had_heard_before_anybody_decides_by_it(
    world_of: MakeWorld,
    scripts: ScriptConnection,
) -> None:
    world = await world_of(Limits(day=50))
    await heat(world, times=10)
    await heat(world, at=1, times=20)
    await scripts.call(EMPTY, ["-"], [])
    decision = await world.spend(0)
    assert decision.admitted, "of its share"
    await world.look()
    assert (await world.used())[1] == 30
    assert not world.gateways[0]._presence.settled
    world.microseconds += round(SETTLING_S * 1_000_000)
    await world.look()
    assert (await world.used())[1] == 31
    assert remaining(await world.spend(1)) == 18
    assert world.gateways[0]._told.restored._value.get() + world.gateways[1]._told.restored._value.get() == 30


async def test_a_counter_is_raised_to_at_least_what_somebody_else_knows(world_of: MakeWorld) -> None:
    world = await world_of(Limits(day=50))
    await heat(world, times=10)
    today = world.now().date()
    gateway = world.gateways[0]
    assert await gateway.raise_to(world.subject, today, 30) == 20
    assert await gateway.raise_to(world.subject, today, 5) == 0
    assert await gateway.raise_to(world.subject, today - timedelta(days=1), 49) == 0
    assert (await world.used())[1] == 30


async def test_a_tenants_total_in_an_emptied_store_is_raised_to_the_greater_of_what_was_heard_and_what_was_counted(
    world_of: MakeWorld, scripts: ScriptConnection
) -> None:
    """So its members spend no more of it than what was neither heard of nor counted."""
    world = await world_of(Limits())
    gateway, limits, tenant = world.gateways[0], Limits(day=50, tenant=30), new_id().hex
    one, other = (gateway.purse(f"user:{new_id()}", limits, tenant=tenant) for _ in range(2))
    for purse in (one, other, one, other):
        await gateway.spend(purse)
    await scripts.call(EMPTY, ["-"], [])
    await world.look()
    world.microseconds += round(SETTLING_S * 1_000_000)
    await world.look()
    assert [outcome.remaining for outcome in (await gateway.look(one)).outcomes] == [48, 26], "as it had heard"
    assert await gateway.raise_to(members_of(tenant), world.now().date(), 27) == 23
    admitted = [(await gateway.spend(purse)).admitted for purse in (one, other, one, other)]
    assert admitted == [True, True, True, False]


async def test_gateways_that_leave_are_not_counted(scripts: ScriptConnection) -> None:
    counters = Counters(scripts)
    await scripts.call(EMPTY, ["-"], [])
    assert [(await counters.heartbeat(name, "e", 5)).live for name in ("a", "b", "b")] == [1, 2, 2]
    assert (await counters.heartbeat("a", "e", 0)).live == 1


async def test_that_the_store_is_lost_is_told_before_anybody_asks_it_in_vain(world_of: MakeWorld) -> None:
    world = await world_of(LARGE)
    await world.gateways[0].check()
    world.switch.away = True
    with pytest.raises(Unavailable):
        await world.gateways[0].check()
    world.switch.away = False
    await world.gateways[0].check()
