"""Guessing passwords is slow, costs the same whoever is guessed at, and never overloads the process."""

import asyncio
import hashlib
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from auth_service.adapters.argon2 import BEGIN_WITHIN_S, Argon2Hasher
from auth_service.domain.errors import HashingBusy
from shared.ids import new_id
from shared.scopes import SCOPES
from tests.auth.auth_world import PASSWORD, Person, World, running_world, settings_of
from tests.support.poll import until

WRONG = "not the password"


def cheap(
    *,
    threads: int = 1,
    waiting: int = 10,
    time_cost: int = 1,
    begin_within_s: float = 60.0,
    clock: Callable[[], float] = time.monotonic,
) -> Argon2Hasher:
    return Argon2Hasher(
        time_cost=time_cost,
        memory_kib=8,
        parallelism=1,
        threads=threads,
        waiting=waiting,
        begin_within_s=begin_within_s,
        clock=clock,
    )


class Verifications:
    """Counts what argon2 is asked to do, where it is asked: in the hasher's threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count: Counter[str] = Counter()
        self.niceness: set[int] = set()
        self.threads: set[str] = set()
        self.hold = threading.Event()
        self.hold.set()
        self.inside = threading.Semaphore(0)
        matches = Argon2Hasher._matches

        def counted(hasher: Argon2Hasher, hashed: str, password: str) -> bool:
            self.count[hashed.rsplit("$", 2)[0]] += 1
            self.niceness.add(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            self.threads.add(threading.current_thread().name)
            self.inside.release()
            self.hold.wait(10)
            return matches(hasher, hashed, password)

        monkeypatch.setattr(Argon2Hasher, "_matches", counted)

    def take(self) -> int:
        total, self.count = self.count.total(), Counter()
        return total


@pytest.fixture
def verifications(monkeypatch: pytest.MonkeyPatch) -> Verifications:
    return Verifications(monkeypatch)


async def test_a_login_costs_one_verification_whether_or_not_there_is_such_a_user(
    world: World, verifications: Verifications
) -> None:
    person, disabled = await world.register(), await world.register()
    admin = person.principal.model_copy(update={"roles": ("admin",), "scopes": SCOPES})
    await world.call("PATCH", f"/api/v1/admin/users/{disabled.id}", admin, json={"is_active": False})
    for name in (person.name, person.email, disabled.name, disabled.email, f"nobody-{person.name}", f"nobody-{person.email}"):
        for password in (PASSWORD, WRONG):
            await world.try_login(name, password)
            assert verifications.take() == 1, name
    assert all(name.startswith("argon2") for name in verifications.threads), "never on the event loop"


async def test_the_fourth_failure_and_those_after_it_delay_the_next_attempt(world: World, verifications: Verifications) -> None:
    person = await world.register()
    for wait in (0, 0, 0, 1, 2, 4, 8):
        assert (await world.try_login(person.name, WRONG)).status_code == 401
        verifications.take()
        if wait:
            early = await world.try_login(person.name, PASSWORD)
            assert (early.status_code, early.headers["retry-after"]) == (429, str(wait))
            assert early.json()["violated-policies"] == ["login"]
            assert verifications.take() == 0, "nothing is hashed for who must wait"
            world.clock.forward(seconds=wait)
    assert (await world.try_login(person.name, PASSWORD)).status_code == 200
    assert (await world.try_login(person.name, WRONG)).status_code == 401, "a success forgets the failures"
    assert (await world.try_login(person.name, PASSWORD)).status_code == 200


async def test_a_name_nobody_has_is_delayed_alike(world: World, member: Person) -> None:
    nobody = f"nobody-{member.name}"
    statuses = [(await world.try_login(nobody, WRONG)).status_code for _ in range(5)]
    assert statuses == [401, 401, 401, 401, 429]


async def test_an_hour_without_failure_forgets(world: World) -> None:
    person = await world.register()
    for _ in range(4):
        await world.try_login(person.name, WRONG)
    world.clock.forward(hours=1)
    statuses = [(await world.try_login(person.name, WRONG)).status_code for _ in range(5)]
    assert statuses == [401, 401, 401, 401, 429]


async def test_guesses_sent_all_at_once_are_counted_one_by_one(world: World) -> None:
    person = await world.register()
    answers = await asyncio.gather(*(world.try_login(person.name.upper(), WRONG) for _ in range(20)))
    assert Counter(answer.status_code for answer in answers) == {401: 4, 429: 16}


async def test_who_is_guessed_at_keeps_their_session_and_may_change_the_password(world: World, member: Person) -> None:
    for _ in range(5):
        await world.try_login(member.name, WRONG)
    assert (await world.try_login(member.name)).status_code == 429
    assert await world.is_alive(member.tokens["access_token"])
    assert (await world.refresh(member.refresh_token)).status_code == 200
    body = {"current_password": PASSWORD, "new_password": "another horse battery"}
    assert (await world.call("POST", "/api/v1/auth/password", member.principal, json=body)).status_code == 204


async def test_guessing_at_the_current_password_is_delayed_too(world: World, member: Person) -> None:
    body = {"current_password": WRONG, "new_password": "another horse battery"}
    statuses = [(await world.call("POST", "/api/v1/auth/password", member.principal, json=body)).status_code for _ in range(5)]
    assert statuses == [403, 403, 403, 403, 429]
    assert (await world.try_login(member.name)).status_code == 200


async def test_a_login_rehashes_a_password_of_other_parameters(database_url: str, admin_url: str, nats_url: str) -> None:
    settings = settings_of(database_url, nats_url)
    async with running_world(settings) as world:
        person = await world.register()
    async with running_world(settings.model_copy(update={"argon2_time_cost": 2})) as world:
        before = await password_hash(admin_url, person)
        for _ in range(2):
            assert (await world.try_login(person.name)).status_code == 200
        after = await password_hash(admin_url, person)
        assert ("t=1" in before, "t=2" in after) == (True, True)
        assert (await world.try_login(person.name)).status_code == 200
        assert await password_hash(admin_url, person) == after, "once is enough"


async def test_nobody_is_looked_at_with_the_parameters_that_users_have(
    own_database_url: str, nats_url: str, verifications: Verifications
) -> None:
    settings = settings_of(own_database_url, nats_url)
    async with running_world(settings) as world:
        await world.register()
    async with running_world(settings.model_copy(update={"argon2_time_cost": 2})) as world:

        async def learned() -> bool:
            verifications.count.clear()
            await world.try_login(f"nobody-{new_id().hex}", WRONG)
            return list(verifications.count) == ["$argon2id$v=19$m=8,t=1,p=1"]

        await until(learned, what="that every user's hash is of before")


async def test_nobody_has_each_set_of_parameters_as_often_as_users_do(verifications: Verifications) -> None:
    async with cheap() as hasher:
        await hasher.learn({"$argon2id$v=19$m=8,t=2,p=1": 30, "$argon2id$v=19$m=8,t=1,p=1": 10, "$2b$12": 1000})
        accounts = [hashlib.sha256(bytes([number])).hexdigest() for number in range(200)]
        for account in accounts:
            await hasher.verify(None, WRONG, nobody=account)
        assert 130 <= verifications.count["$argon2id$v=19$m=8,t=2,p=1"] <= 170
        assert verifications.take() == 200
        for _ in range(5):
            await hasher.verify(None, WRONG, nobody=accounts[0])
        assert len(verifications.count) == 1, "a name has always the same"


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has a priority of its own on Linux alone")
async def test_hashing_comes_after_everything_else_that_wants_the_processor(verifications: Verifications) -> None:
    async with cheap() as hasher:
        await hasher.verify(None, WRONG, nobody="0" * 64)
    assert verifications.niceness == {19}
    assert os.getpriority(os.PRIO_PROCESS, 0) < 19


async def password_hash(admin_url: str, person: Person) -> str:
    connection = await asyncpg.connect(admin_url)
    found = await connection.fetchval("SELECT password_hash FROM auth.user_account WHERE id = $1", person.id)
    await connection.close()
    return str(found)


@pytest.fixture
async def narrow(database_url: str, nats_url: str) -> AsyncIterator[World]:
    """One password at a time, one waiting."""
    async with running_world(settings_of(database_url, nats_url, hashing_threads=1, hashing_waiting=1)) as world:
        yield world


async def test_more_passwords_than_may_wait_are_a_503_at_once(narrow: World, verifications: Verifications) -> None:
    people = [await narrow.register() for _ in range(3)]
    verifications.hold.clear()
    logins = [asyncio.create_task(narrow.try_login(person.name)) for person in people]
    done, waiting = await asyncio.wait(logins, return_when=asyncio.FIRST_COMPLETED, timeout=10)
    refused = [login.result() for login in done]
    assert [(answer.status_code, answer.headers["retry-after"]) for answer in refused] == [(503, "1")]
    verifications.hold.set()
    assert {(await login).status_code for login in waiting} == {200}


async def test_who_was_turned_away_has_not_guessed(narrow: World, verifications: Verifications) -> None:
    person, *others = [await narrow.register() for _ in range(4)]
    assert [(await narrow.try_login(person.name, WRONG)).status_code for _ in range(2)] == [401, 401]
    verifications.hold.clear()
    logins = [asyncio.create_task(narrow.try_login(other.name)) for other in others]
    _, waiting = await asyncio.wait(logins, return_when=asyncio.FIRST_COMPLETED, timeout=10)  # one of them finds no place
    assert {(await narrow.try_login(person.name)).status_code for _ in range(10)} == {503}
    verifications.hold.set()
    assert {(await login).status_code for login in waiting} == {200}
    assert [(await narrow.try_login(person.name, WRONG)).status_code for _ in range(3)] == [401, 401, 429], "two before, two now"


@pytest.mark.parametrize(("waited_s", "outcomes", "hashed"), [(1.5, [False, False], 2), (1.51, [False, HashingBusy], 1)])
async def test_a_turn_that_comes_too_late_for_whoever_waited_is_not_taken(
    verifications: Verifications, waited_s: float, outcomes: list[object], hashed: int
) -> None:
    now = 100.0
    async with cheap(begin_within_s=BEGIN_WITHIN_S, clock=lambda: now) as hasher:
        verifications.hold.clear()
        checks = [asyncio.create_task(hasher.verify(None, WRONG, nobody="0" * 64)) for _ in range(2)]
        assert await asyncio.to_thread(verifications.inside.acquire, timeout=10), "the first is slow, the second waits"
        now += waited_s
        verifications.hold.set()
        results = await asyncio.gather(*checks, return_exceptions=True)
        assert [type(result) if isinstance(result, Exception) else result for result in results] == outcomes
        assert verifications.take() == hashed
        assert not await hasher.verify(None, WRONG, nobody="0" * 64), "its place is free again"


async def test_hashes_are_argon2id_with_their_own_salts() -> None:
    async with cheap() as hasher:
        first, second = await hasher.hash("a password"), await hasher.hash("a password")
        assert first != second
        assert first.startswith("$argon2id$v=19$m=8,t=1,p=1$")
        assert await hasher.verify(first, "a password", nobody="0" * 64)
        assert not await hasher.verify(first, "another", nobody="0" * 64)
        assert not await hasher.verify(None, "nobody has this password", nobody="0" * 64), "nobody's password is nobody's"
        assert not hasher.is_outdated(first)
    async with cheap(time_cost=2) as stronger:
        assert stronger.is_outdated(first)
        assert await stronger.verify(first, "a password", nobody="0" * 64)


async def test_a_caller_who_has_gone_gives_up_the_place_when_the_work_is_done(verifications: Verifications) -> None:
    async with cheap(waiting=0) as hasher:
        hashed = await hasher.hash("a password")
        verifications.hold.clear()
        leaving = asyncio.create_task(hasher.verify(hashed, "a password", nobody="0" * 64))
        await asyncio.to_thread(verifications.inside.acquire)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        with pytest.raises(HashingBusy):
            await hasher.hash("another")
        verifications.hold.set()

        async def free() -> bool:
            try:
                return bool(await hasher.hash("another"))
            except HashingBusy:
                return False

        await until(free, what="the place free again")
