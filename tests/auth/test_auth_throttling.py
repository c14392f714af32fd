"""Guessing is slow wherever it comes from, and never keeps the owner out."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from auth_service.adapters.postgres import PostgresDatabase
from auth_service.domain.throttling import Bucket, Counting, Pace, address_of, network_of
from shared.ids import new_id
from shared.scopes import SCOPES
from tests.auth.auth_store import audit_events
from tests.auth.auth_world import PASSWORD, MovableClock, Person, World, new_ip, running_world, settings_of

WRONG = "not the password"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def guess(world: World, name: str, times: int, *, client_ip: str) -> list[int]:
    return [(await world.try_login(name, WRONG, client_ip=client_ip)).status_code for _ in range(times)]


# ----- the owner at home


async def test_an_attacker_elsewhere_never_delays_the_owner_at_a_known_network(world: World, member: Person) -> None:
    key = await world.create_key(member)
    attackers = [new_ip() for _ in range(6)]
    for _ in range(3):
        statuses = [status for ip in attackers for status in await guess(world, member.name, 8, client_ip=ip)]
        assert 429 in statuses
        assert (await world.try_login(member.name)).status_code == 200, "at home, at once, with the attack under way"
        world.clock.forward(minutes=5)
    assert await world.is_alive(member.tokens["access_token"])
    assert (await world.refresh(member.refresh_token)).status_code == 200
    assert (await world.resolve_key(key["api_key"])).status_code == 200
    world.clock.forward(seconds=1)
    assert (await world.try_login(member.name, client_ip=attackers[0])).status_code in {200, 429}, (
        "elsewhere one may have to wait"
    )


async def test_another_address_of_the_same_network_is_home_too(world: World) -> None:
    world.client_ip = "203.0.113.7"
    owner = await world.register()
    await guess(world, owner.name, 20, client_ip=new_ip())
    for _ in range(13):
        await guess(world, owner.name, 1, client_ip=new_ip())
    assert (await world.try_login(owner.name, client_ip="203.0.113.200")).status_code == 200
    assert (await world.try_login(owner.name, client_ip="203.0.114.7")).status_code == 429


async def test_a_network_is_known_for_thirty_days_after_a_login_from_it(world: World, member: Person) -> None:
    async def held_up_by_others() -> bool:
        for _ in range(14):
            await guess(world, member.name, 1, client_ip=new_ip())
        return (await world.try_login(member.name)).status_code == 429

    world.clock.forward(days=29)
    assert not await held_up_by_others()
    world.clock.forward(days=30)
    assert await held_up_by_others()


async def test_guesses_from_many_networks_are_counted_together(world: World, member: Person) -> None:
    statuses = [(await guess(world, member.name, 1, client_ip=new_ip()))[0] for _ in range(20)]
    assert statuses == [401] * 13 + [429] * 7


async def test_who_gets_in_elsewhere_is_known_there_from_then_on(world: World, member: Person) -> None:
    travelling = new_ip()
    assert (await world.try_login(member.name, client_ip=travelling)).status_code == 200
    for _ in range(14):
        await guess(world, member.name, 1, client_ip=new_ip())
    assert (await world.try_login(member.name, client_ip=travelling)).status_code == 200


async def test_a_name_and_an_address_are_the_same_account(world: World, member: Person) -> None:
    names = [member.name, member.email, member.name.upper(), f" {member.email}".strip().upper(), member.name]
    assert [(await world.try_login(name, WRONG)).status_code for name in names] == [401, 401, 401, 401, 429]


# ----- by address


@pytest.fixture
async def strict(database_url: str, nats_url: str) -> AsyncIterator[World]:
    """Six failures and three registrations a minute."""
    limits = {"ip_failures_per_minute": 6, "ip_registrations_per_minute": 3}
    async with running_world(settings_of(database_url, nats_url, **limits)) as world:
        yield world


async def test_an_address_may_fail_so_often_a_minute_whoever_it_guesses_at(strict: World) -> None:
    ip = new_ip()
    for wait in (0, 0, 0, 0, 0, 0, 1, 2, 4):
        assert (await strict.try_login(f"nobody-{new_id().hex}", WRONG, client_ip=ip)).status_code == 401
        if wait:
            early = await strict.try_login(f"nobody-{new_id().hex}", WRONG, client_ip=ip)
            assert (early.status_code, early.headers["retry-after"]) == (429, str(wait))
            assert early.json()["violated-policies"] == ["ip"]
            strict.clock.forward(seconds=wait)
    strict.clock.forward(minutes=2)
    for _ in range(6):
        assert (await strict.try_login(f"nobody-{new_id().hex}", WRONG, client_ip=ip)).status_code == 401


async def test_slower_than_that_an_address_is_never_held_up(strict: World) -> None:
    ip = new_ip()
    for _ in range(40):
        assert (await strict.try_login(f"nobody-{new_id().hex}", WRONG, client_ip=ip)).status_code == 401
        strict.clock.forward(seconds=10)


async def test_successes_cost_an_address_nothing(strict: World) -> None:
    people = [await strict.register() for _ in range(3)]
    for _ in range(5):
        for person in people:
            assert (await strict.try_login(person.name, client_ip=strict.client_ip)).status_code == 200


async def test_a_success_takes_back_the_wait_that_it_made(strict: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that goes on, as clocks do."""

    def tick(clock: MovableClock) -> datetime:
        clock.forward(microseconds=1)
        return clock.now

    monkeypatch.setattr(MovableClock, "__call__", tick)
    people, ip = [await strict.register() for _ in range(3)], new_ip()
    for _ in range(6):
        await strict.try_login(f"nobody-{new_id().hex}", WRONG, client_ip=ip)
    for person in people:
        assert (await strict.try_login(person.name, client_ip=ip)).status_code == 200


async def test_failures_at_other_accounts_hold_up_nobody_who_is_known_at_the_address(strict: World) -> None:
    owner, other = await strict.register(), await strict.register()
    statuses = [(await strict.try_login(f"nobody-{new_id().hex}", WRONG)).status_code for _ in range(10)]
    assert statuses[-1] == 429
    assert (await strict.try_login(owner.name)).status_code == 200
    assert (await guess(strict, other.name, 5, client_ip=strict.client_ip))[-1] == 429, "one account at a time, as everywhere"


async def test_an_address_may_register_so_often_a_minute(strict: World) -> None:
    for _ in range(4):  # the fourth is taken and makes the fifth wait
        await strict.register()
    body = {"username": f"u{new_id().hex[8:]}", "email": f"u{new_id().hex}@example.com", "password": PASSWORD}
    refused = await strict.call("POST", "/api/v1/auth/register", json=body)
    assert (refused.status_code, refused.json()["violated-policies"], refused.headers["retry-after"]) == (429, ["ip"], "1")
    strict.clock.forward(minutes=1)
    assert (await strict.call("POST", "/api/v1/auth/register", json=body)).status_code == 201


# ----- unlocking


async def test_an_administrator_unlocks_an_account(world: World, member: Person) -> None:
    elsewhere = new_ip()
    await guess(world, member.name, 5, client_ip=elsewhere)
    assert (await world.try_login(member.name, client_ip=elsewhere)).status_code == 429
    admin = (await world.register()).principal.model_copy(update={"roles": ("admin",), "scopes": SCOPES})
    path = f"/api/v1/admin/users/{member.id}/unlock"
    assert (await world.call("POST", path, member.principal)).status_code == 403
    assert (await world.call("POST", path, admin)).status_code == 204
    assert (await world.try_login(member.name, client_ip=elsewhere)).status_code == 200
    assert (await world.call("POST", f"/api/v1/admin/users/{new_id()}/unlock", admin)).status_code == 404


async def test_the_longest_wait_and_its_end_by_hand_are_in_the_trail(world: World, member: Person, admin_url: str) -> None:
    for wait in (0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300):
        assert (await world.try_login(member.name, WRONG)).status_code == 401
        world.clock.forward(seconds=wait)
    admin = (await world.register()).principal.model_copy(update={"roles": ("admin",), "scopes": SCOPES})
    assert (await world.call("POST", f"/api/v1/admin/users/{member.id}/unlock", admin)).status_code == 204
    assert (await world.call("POST", f"/api/v1/admin/users/{member.id}/unlock", admin)).status_code == 204
    events = [f"{noun}.{name}" for noun, name in await audit_events(admin_url, member.id)]
    assert events[-2:] == ["guess.blocked", "guess.unlocked"], "and of what was not locked nothing"


# ----- the cost


@contextmanager
def statements() -> Iterator[list[str]]:
    """What is sent to Postgres meanwhile by this task, which a request runs in."""
    sent: list[str] = []
    task = asyncio.current_task()

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if asyncio.current_task() is task:
            sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_a_failed_login_sends_the_same_statements_for_a_user_and_for_nobody(world: World, member: Person) -> None:
    elsewhere = new_ip()
    for _ in range(6):
        sent = []
        for name in (member.name, member.email, f"nobody-{member.name}", f"nobody-{member.email}"):
            with statements() as these:
                await world.try_login(name, WRONG, client_ip=elsewhere)
            sent.append(these)
            world.clock.forward(seconds=300)
        assert sent[1] == sent[3] != []
        assert len({len(these) for these in sent}) == 1


# ----- the arithmetic


class Model:
    """What a bucket is, in as few words as it takes."""

    def __init__(self, pace: Pace) -> None:
        self.pace, self.level, self.last_at, self.until = pace, 0.0, NOW - timedelta(days=1), NOW

    def charge(self, now: datetime) -> bool:
        if self.until > now:
            return False
        drained = (now - self.until).total_seconds() * self.pace.per_minute / 60
        forgotten = now - self.last_at >= self.pace.forget_after
        self.level = 1 + (0 if forgotten else max(0.0, self.level - drained))
        over = ceil(self.level - self.pace.free)
        waits = self.pace.waits_s
        self.last_at, self.until = now, now + timedelta(seconds=waits[min(over, len(waits)) - 1] if over > 0 else 0)
        return True


async def test_a_bucket_counts_as_the_model_does(database: PostgresDatabase) -> None:
    chance = random.Random(7)  # noqa: S311 - the same examples each time
    for pace in (Pace(free=3), Pace(free=5, per_minute=5), Pace(free=1, longest=timedelta(seconds=10))):
        bucket, model, now = Bucket(os.urandom(32).hex(), None, pace, "ip"), Model(pace), NOW
        for _ in range(60):
            now += timedelta(seconds=chance.choice([0, 0, 0.5, 1, 2, 8, 64, 301, 3600]))
            charge = await database.throttle.charge([bucket], now)
            assert charge.admitted == model.charge(now)
            assert abs((charge.blocked_until[bucket.key] - model.until).total_seconds()) < 0.001


async def test_where_one_bucket_has_to_wait_none_is_charged(database: PostgresDatabase) -> None:
    waiting, free = (Bucket(os.urandom(32).hex(), None, Pace(free=1), "login") for _ in range(2))
    for _ in range(2):
        assert (await database.throttle.charge([waiting], NOW)).admitted
    for _ in range(3):
        refused = await database.throttle.charge([waiting, free], NOW)
        assert (refused.admitted, list(refused.blocked_until)) == (False, [waiting.key])
    for _ in range(2):
        assert (await database.throttle.charge([free], NOW)).admitted


async def test_charges_at_once_through_several_databases_are_counted_one_by_one(database_url: str, nats_url: str) -> None:
    settings = settings_of(database_url, nats_url)
    async with running_world(settings) as one, running_world(settings) as two:
        person, elsewhere = await one.register(), new_ip()
        logins = [world.try_login(person.name, WRONG, client_ip=elsewhere) for world in (one, two) for _ in range(10)]
        answers = await asyncio.gather(*logins)
    assert sorted(answer.status_code for answer in answers) == [401] * 4 + [429] * 16


@given(st.integers(min_value=1, max_value=3600))
def test_the_waits_double_up_to_the_longest(longest: int) -> None:
    waits = Pace(free=1, longest=timedelta(seconds=longest)).waits_s
    assert waits[0] == 1
    assert waits[-1] == longest
    assert all(after == min(2 * before, longest) for before, after in pairwise(waits))


@pytest.mark.parametrize(
    ("address", "network", "client"),
    [
        ("203.0.113.7", "203.0.113.0/24", "203.0.113.7/32"),
        ("::ffff:203.0.113.7", "203.0.113.0/24", "203.0.113.7/32"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64", "fe80::/64"),
        ("a socket", "a socket", "a socket"),
        (None, "", ""),
    ],
)
def test_a_network_is_what_a_household_has(address: str | None, network: str, client: str) -> None:
    assert (network_of(address), address_of(address)) == (network, client)


def test_what_is_counted_by_is_a_digest_under_the_servers_key() -> None:
    ours, theirs = (Counting(key * 32, failures_per_minute=30, registrations_per_minute=30) for key in (b"a", b"b"))
    assert ours.account(None, " Ada@Example.com ") == ours.account(None, "ada@example.com")
    assert ours.account(None, "ada") != theirs.account(None, "ada")
    keys = [bucket.key for bucket in ours.login(ours.account(None, "ada"), "203.0.113.7", known=False)]
    assert len(set(keys)) == 3
    assert all(len(key) == 64 for key in keys)
