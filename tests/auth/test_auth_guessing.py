"""Guessing passwords is slow, costs the same whoever is guessed at, and never overloads the process."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator

import asyncpg
import pytest

from auth_service.adapters.argon2 import Argon2Hasher
from auth_service.domain.errors import HashingBusy
from tests.auth.auth_world import PASSWORD, Person, World, running_world, settings_of
from tests.support.poll import until

WRONG = "not the password"


def cheap(*, threads: int = 1, waiting: int = 10, time_cost: int = 1) -> Argon2Hasher:
    return Argon2Hasher(time_cost=time_cost, memory_kib=8, parallelism=1, threads=threads, waiting=waiting)


class Verifications:
    """Counts what argon2 is asked to do, where it is asked: in the hasher's threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count: Counter[str] = Counter()
        self.threads: set[str] = set()
        self.hold = threading.Event()
        self.hold.set()
        self.inside = threading.Semaphore(0)
        matches = Argon2Hasher._matches

        def counted(hasher: Argon2Hasher, hashed: str, password: str) -> bool:
            self.count[hashed.split("$p=", 1)[0].split("$")[1]] += 1
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
    person = await world.register()
    for name, password in ((person.name, PASSWORD), (person.name, WRONG), ("nobody", WRONG), ("nobody@example.com", WRONG)):
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


async def test_hashes_are_argon2id_with_their_own_salts() -> None:
    async with cheap() as hasher:
        first, second = await hasher.hash("a password"), await hasher.hash("a password")
        assert first != second
        assert first.startswith("$argon2id$v=19$m=8,t=1,p=1$")
        assert await hasher.verify(first, "a password")
        assert not await hasher.verify(first, "another")
        assert not await hasher.verify(None, "nobody has this password"), "nobody's password is nobody's"
        assert not hasher.is_outdated(first)
    async with cheap(time_cost=2) as stronger:
        assert stronger.is_outdated(first)
        assert await stronger.verify(first, "a password")


async def test_a_caller_who_has_gone_gives_up_the_place_when_the_work_is_done(verifications: Verifications) -> None:
    async with cheap(waiting=0) as hasher:
        hashed = await hasher.hash("a password")
        verifications.hold.clear()
        leaving = asyncio.create_task(hasher.verify(hashed, "a password"))
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
