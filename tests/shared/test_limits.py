"""The limiter's law, against a plain model, on the real store with an injected clock."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from shared.errors import Unavailable
from shared.ids import new_id
from shared.limits.fields import ratelimit_fields
from shared.limits.limiter import Limiter, Policy, policies_of
from shared.limits.plans import Burst, Limits
from shared.scripts import ScriptConnection
from shared.store import open_store
from tests.support.poll import until

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_store(redis_url) as redis:
        yield redis


@pytest.fixture
def limiter(scripts: ScriptConnection) -> Limiter:
    return Limiter(scripts)


def subject() -> str:
    return f"user:{new_id()}"


def burst(quota: int, *, window_s: int = 1, cost: int = 1, name: str | None = None) -> Policy:
    return Policy("burst", "burst", name or subject(), quota, window_s, cost)


def day(quota: int, *, cost: int = 1, name: str | None = None) -> Policy:
    return Policy("day", "day", name or subject(), quota, 86_400, cost)


async def test_a_thousand_at_once_admit_exactly_the_days_quota(limiter: Limiter) -> None:
    policies = [day(137)]
    decisions = await asyncio.gather(*(limiter.decide(policies) for _ in range(1000)))
    assert sum(decision.admitted for decision in decisions) == 137


async def test_a_days_quota_begins_again_at_midnight_utc(limiter: Limiter) -> None:
    policies = [day(2)]
    midnight = datetime(2026, 5, 5, tzinfo=UTC)
    last_second = midnight - timedelta(seconds=1)
    assert [(await limiter.decide(policies, last_second)).admitted for _ in range(3)] == [True, True, False]
    refused = (await limiter.decide(policies, last_second)).outcomes[0]
    assert (refused.retry_s, refused.reset_s, refused.remaining) == (1, 1, 0)
    fresh = await limiter.decide(policies, midnight)
    assert (fresh.admitted, fresh.outcomes[0].remaining) == (True, 1)


async def test_a_burst_is_whole_again_after_its_window(limiter: Limiter) -> None:
    policies = [burst(5)]
    assert [(await limiter.decide(policies, NOON)).admitted for _ in range(6)] == [True] * 5 + [False]
    assert [(await limiter.decide(policies, NOON + timedelta(seconds=1))).admitted for _ in range(6)] == [True] * 5 + [False]


async def test_who_waits_as_told_is_admitted_and_not_a_microsecond_later_than_needed(limiter: Limiter, redis: Redis) -> None:
    policies = [burst(4)]
    for _ in range(4):
        await limiter.decide(policies, NOON)
    interval = timedelta(milliseconds=250)
    assert not (await limiter.decide(policies, NOON + interval - timedelta(microseconds=1))).admitted
    assert (await limiter.decide(policies, NOON + interval)).admitted


async def test_a_refusal_spends_nothing_in_any_policy(limiter: Limiter) -> None:
    name = subject()
    spent_out, other = day(1, name=name), burst(3, name=name)
    await limiter.decide([spent_out], NOON)
    for _ in range(10):
        refused = await limiter.decide([other, spent_out], NOON)
        assert refused.violated == ("day",)
    assert (await limiter.decide([other], NOON)).outcomes[0].remaining == 2


async def test_looking_spends_nothing(limiter: Limiter, redis: Redis) -> None:
    looked = [burst(3, cost=0), day(3, cost=0)]
    for _ in range(5):
        assert [outcome.remaining for outcome in (await limiter.decide(looked)).outcomes] == [3, 3]
    assert not await redis.exists(*(policy.key for policy in looked))


async def test_every_counter_expires(limiter: Limiter, redis: Redis) -> None:
    policies = [burst(3), day(3)]
    await limiter.decide(policies)
    assert [await redis.pttl(policy.key) > 0 for policy in policies] == [True, True]


async def test_a_days_counter_is_kept_for_two_days_from_its_last_use_whatever_the_clock_does(
    limiter: Limiter, redis: Redis
) -> None:
    two_days, policy = 2 * 86_400_000, day(9)
    for at in (NOON, NOON + timedelta(hours=11), NOON - timedelta(days=3), NOON - timedelta(days=3)):
        await limiter.decide([policy], at)
        assert await redis.pttl(policy.key) > two_days
        passed = 11 * 3_600_000 if at >= NOON else two_days  # until the next use
        await redis.pexpire(policy.key, await redis.pttl(policy.key) - passed)


async def test_decisions_of_one_turn_are_made_in_turn_and_each_of_its_own_policies(limiter: Limiter) -> None:
    """Those over the same policies are one call; whose counters they are is each one's own."""
    name = subject()
    mine, other, dear = day(3), day(3, name=name), day(3, name=name, cost=2)
    asked = [[mine], [other], [mine], [dear], [mine], [mine], [burst(1), mine]]
    found = await asyncio.gather(*(limiter.decide(policies, NOON) for policies in asked))
    assert [one.admitted for one in found] == [True, True, True, True, True, False, False]
    assert [one.outcomes[-1].remaining for one in found] == [2, 2, 1, 0, 0, 0, 0]


@given(
    quota=st.integers(1, 20),
    window_s=st.integers(1, 10),
    steps=st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(1, 5)), min_size=1, max_size=60),
)
def test_no_interval_admits_more_than_the_law_says(
    redis_url: str, quota: int, window_s: int, steps: list[tuple[int, int]]
) -> None:
    """Any interval of τ seconds admits at most q + q·τ/w, whatever the arrivals and their costs."""

    async def run() -> list[tuple[int, int]]:
        name, now, admitted = subject(), 0, []
        async with ScriptConnection(redis_url) as scripts:
            limiter = Limiter(scripts)
            for wait, cost in steps:
                now += wait
                policy = burst(quota, window_s=window_s, cost=cost, name=name)
                if (await limiter.decide([policy], NOON + timedelta(microseconds=now))).admitted:
                    admitted.append((now, cost))
        return admitted

    admitted = asyncio.run(run())
    for first, (begin, _) in enumerate(admitted):
        total = 0
        for at, cost in admitted[first:]:
            total += cost
            assert total <= quota + quota * (at - begin) / 1_000_000 / window_s


@given(
    quota=st.integers(1, 50),
    steps=st.lists(st.tuples(st.integers(-3600, 50_000), st.integers(0, 7)), min_size=1, max_size=60),
)
def test_a_day_admits_exactly_its_quota(redis_url: str, quota: int, steps: list[tuple[int, int]]) -> None:
    """Against a plain counter per day; a clock that steps back within its day changes nothing."""

    async def run() -> None:
        name, now, used, counted_day = subject(), NOON, 0, NOON.date()
        async with ScriptConnection(redis_url) as scripts:
            limiter = Limiter(scripts)
            for wait, cost in steps:
                later = now + timedelta(seconds=wait)
                now = later if later.date() >= now.date() else now
                if now.date() != counted_day:
                    used, counted_day = 0, now.date()
                decision = await limiter.decide([day(quota, cost=cost, name=name)], now)
                assert decision.admitted == (used + cost <= quota)
                used += cost if decision.admitted else 0
                assert decision.outcomes[0].remaining == max(quota - used, 0)

    asyncio.run(run())


async def test_large_numbers_stay_exact(limiter: Limiter) -> None:
    name = subject()
    quota = 2**40
    assert (await limiter.decide([day(quota, cost=quota - 1, name=name)])).admitted
    assert (await limiter.decide([day(quota, name=name)])).outcomes[0].remaining == 0
    assert not (await limiter.decide([day(quota, name=name)])).admitted


async def test_slots_are_taken_up_to_their_limit_and_given_back(limiter: Limiter) -> None:
    purse = limiter.purse(subject(), Limits(concurrency=3))
    taken = await asyncio.gather(*(limiter.take_slot(purse, f"holder-{number}") for number in range(10)))
    assert sum(taken) == 3
    holder = f"holder-{taken.index(True)}"
    limiter.release_slot(purse, holder)
    assert await limiter.take_slot(purse, "another")
    assert not await limiter.take_slot(purse, "one more")
    assert await limiter.take_slot(purse, "another"), "its own is renewed"


async def test_a_slot_whose_holder_died_frees_itself(scripts: ScriptConnection) -> None:
    limiter = Limiter(scripts, slot_s=1)
    purse = limiter.purse(subject(), Limits(concurrency=1))
    assert await limiter.take_slot(purse, "gone")

    async def free() -> bool:
        return await limiter.take_slot(purse, "next")

    await until(free, what="the slot of the dead")


async def test_a_slot_and_the_quotas_are_one_decision_that_costs_nothing_when_refused(limiter: Limiter) -> None:
    purse = limiter.purse(subject(), Limits(day=2, concurrency=1))
    assert (await limiter.spend(purse, holder="a")).admitted
    assert (await limiter.spend(purse, holder="b")).violated == ("concurrency",)
    limiter.release_slot(purse, "a")
    assert (await limiter.spend(purse, holder="b")).admitted, "the day had one left"
    limiter.release_slot(purse, "b")
    assert (await limiter.spend(purse, holder="c")).violated == ("day",)
    assert await limiter.take_slot(purse, "d"), "who was refused for the day holds no slot"


async def test_without_the_store_nothing_is_admitted_by_one_that_keeps_nothing() -> None:
    async with ScriptConnection("redis://127.0.0.1:1") as away:
        limiter = Limiter(away)
        purse = limiter.purse(subject(), Limits(day=1, concurrency=1))
        for call in (limiter.decide([day(1)]), limiter.spend(purse), limiter.take_slot(purse, "h"), limiter.lost_leases()):
            with pytest.raises(Unavailable):
                await call
        limiter.release_slot(purse, "h")


def test_a_tiers_limits_become_policies_and_unlimited_ones_are_absent() -> None:
    limits = Limits(burst=Burst(quota=5), day=50)
    assert [(p.name, p.quota, p.window_s, p.cost) for p in policies_of(limits, "s", day_cost=3)] == [
        ("burst", 5, 1, 1),
        ("day", 50, 86_400, 3),
    ]
    assert policies_of(Limits(), "s") == []


async def test_the_fields_say_every_policy_and_what_is_left(limiter: Limiter) -> None:
    name = subject()
    decision = await limiter.decide([burst(25, name=name), day(500, name=name)], NOON)
    assert ratelimit_fields(decision) == (
        (b"ratelimit-policy", b'"burst";q=25;w=1, "day";q=500;w=86400'),
        (b"ratelimit", b'"burst";r=24;t=1, "day";r=499;t=43200'),
    )
    assert ratelimit_fields(await limiter.decide([])) == ()


@given(st.integers(1, 1_000_000), st.integers(1, 1_000_000), st.integers(1, 10_000), st.integers(1, 2_000))
def test_parts_of_a_quota_are_equal_never_nothing_and_together_no_more_than_the_whole(
    quota: int, day_quota: int, concurrency: int, members: int
) -> None:
    whole = Limits(burst=Burst(quota=quota, window_s=5), day=day_quota, concurrency=concurrency)
    part = whole.part(members)
    assert part.burst is not None
    assert part.day is not None
    assert part.concurrency is not None
    assert part.burst.window_s == 5
    parts = ((part.burst.quota, quota), (part.day.quota, day_quota), (part.concurrency.quota, concurrency))
    for one, all_of_it in parts:
        assert one == 1 if members > all_of_it else one * members <= all_of_it < (one + 1) * members


def test_what_is_unlimited_is_unlimited_for_each() -> None:
    assert Limits().part(7) == Limits()
