"""What has long ended goes, and nothing that anybody could still present, count or be told of."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from typer.testing import CliRunner

from auth_service.adapters.postgres import PostgresDatabase
from auth_service.app import database_of
from auth_service.cli.admin import app
from auth_service.domain import sweeping
from auth_service.domain.sweeping import Retention, Sweeper
from auth_service.domain.throttling import FORGET_AFTER, KNOWN_FOR
from shared.ids import new_id
from shared.roles import DatabaseUrls
from tests.auth.auth_world import Person, World, new_ip, running_world, settings_of
from tests.auth.tenancy import moved, organisation
from tests.auth.test_auth_rebuild import found
from tests.support.poll import until

KEPT = Retention(sessions=timedelta(days=7), keys=timedelta(days=90))
SESSION = timedelta(days=30)
KEYS = "/api/v1/auth/api-keys"


@pytest.fixture
async def world(own_database_url: str, nats_url: str) -> AsyncIterator[World]:
    """Which is swept when a test says so, after the once at its start."""
    async with running_world(settings_of(own_database_url, nats_url, sweep_every_s=86400)) as world:
        yield world


@asynccontextmanager
async def sweeper(world: World) -> AsyncIterator[tuple[Sweeper, Counter[str]]]:
    """Another process's, and what it has removed."""
    swept: Counter[str] = Counter()
    async with database_of(world.settings, asyncio.Event()) as database:
        yield sweeper_of(database, world, swept), swept


def sweeper_of(database: PostgresDatabase, world: World, swept: Counter[str]) -> Sweeper:
    def count(what: str, many: int) -> None:
        swept[what] += many

    return Sweeper(database, KEPT, count, clock=world.clock, new_id=new_id)


async def sweep(world: World) -> dict[str, int]:
    """What is gone after it, of what there was any."""
    async with sweeper(world) as (one, swept):
        await one.sweep()
    return {what: count for what, count in swept.items() if count}


async def rows(urls: DatabaseUrls, statement: str, *given: Any) -> list[Any]:
    connection = await asyncpg.connect(urls.admin)
    found_ = await connection.fetch(statement, *given)
    await connection.close()
    return [row[0] for row in found_]


async def events_of(urls: DatabaseUrls, key_id: str) -> list[str]:
    return await rows(urls, "SELECT event FROM auth.audit_event WHERE key_id = $1 ORDER BY recorded", UUID(key_id))


async def rotated(world: World, person: Person, times: int) -> list[str]:
    """The tokens of a family, the oldest first."""
    tokens = [person.refresh_token]
    for _ in range(times):
        tokens.append((await world.refresh(tokens[-1])).json()["refresh_token"])
    return tokens


# ----- families of refresh tokens


async def test_a_stolen_token_ends_the_session_however_old_it_is_and_however_often_was_swept(world: World) -> None:
    member = await world.member()
    oldest, *_, newest = await rotated(world, member, 3)
    world.clock.forward(days=29)
    assert "refresh_token" not in await sweep(world), "of a session that is alive each is kept, spent or not"
    newest = (await world.refresh(newest)).json()["refresh_token"]
    assert (await world.refresh(oldest)).status_code == 401
    assert (await world.refresh(newest)).status_code == 401, "the thief's use of it has ended the session"


async def test_a_family_goes_a_week_after_its_session_ended_and_is_refused_in_the_same_words(world: World) -> None:
    member = await world.member()
    tokens = await rotated(world, member, 3)
    world.clock.forward(seconds=(SESSION + KEPT.sessions).total_seconds() - 1)
    before = await world.refresh(tokens[0])
    assert "session" not in await sweep(world)
    world.clock.forward(seconds=1)
    assert {what: n for what, n in (await sweep(world)).items() if what in {"session", "refresh_token"}} == {
        "refresh_token": 4,
        "session": 1,
    }
    answers = [before, *[await world.refresh(token) for token in tokens]]
    assert {(answer.status_code, answer.json()["detail"]) for answer in answers} == {
        (401, "this refresh token is not valid; log in again")
    }
    assert not await world.is_alive(member.tokens["access_token"])
    for token in tokens:
        out = await world.call("POST", "/api/v1/auth/logout", json={"refresh_token": token})
        assert out.status_code == 204


async def test_a_family_that_was_revoked_goes_a_week_later_and_those_beside_it_stay(world: World, own_urls: DatabaseUrls) -> None:
    member = await world.member()
    other = (await world.try_login(member.name)).json()
    await world.call("POST", "/api/v1/auth/logout", json={"refresh_token": member.refresh_token})
    world.clock.forward(days=7)
    assert (await sweep(world))["session"] == 1
    assert (await world.refresh(other["refresh_token"])).status_code == 200
    assert len(await rows(own_urls, "SELECT id FROM auth.session")) == 1


async def test_a_family_with_more_tokens_than_a_batch_goes_batch_by_batch_and_its_session_last(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 2)
    await rotated(world, await world.member(), 4)
    await world.member()
    world.clock.forward(days=37)
    async with sweeper(world) as (one, swept):
        rows_ = one._database.sweeping
        assert await rows_.sessions(world.clock.now - KEPT.sessions, 2) == 0, "it has tokens yet"
        assert await rows_.refresh_tokens(world.clock.now - KEPT.sessions, 2) == 2
        await one.sweep()
        assert (swept["refresh_token"], swept["session"]) == (4, 2)


async def test_sessions_go_along_with_their_tokens_so_that_a_long_backlog_is_not_searched_again_and_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 2)
    for _ in range(4):
        await rotated(world, await world.member(), 1)
    world.clock.forward(days=37)
    told: list[str] = []
    async with database_of(world.settings, asyncio.Event()) as database:
        one = Sweeper(database, KEPT, lambda what, _: told.append(what), clock=world.clock, new_id=new_id)
        await one.sweep()
    assert [what for what in told if what in {"refresh_token", "session"}] == ["refresh_token", "session"] * 4


async def test_no_more_sessions_that_have_tokens_are_passed_than_a_batch_has(world: World, own_urls: DatabaseUrls) -> None:
    """Or each batch of a long backlog would pass them all."""
    members = []
    for _ in range(3):
        members.append(await world.member())
        world.clock.forward(seconds=1)
    world.clock.forward(days=37)
    await rows(own_urls, "DELETE FROM auth.refresh_token WHERE tenant_id = $1", members[-1].tenant_id)
    async with database_of(world.settings, asyncio.Event()) as database:
        before = world.clock.now - KEPT.sessions
        assert [await database.sweeping.sessions(before, limit) for limit in (2, 3)] == [0, 1]


# ----- what came by mail, networks, guesses


async def test_invitations_are_kept_for_as_long_as_they_are_counted(world: World, own_urls: DatabaseUrls) -> None:
    owner = await organisation(world)
    body = {"email": "somebody@example.com", "role": "member"}
    for _ in range(2):  # the first is used up by the second
        assert (await world.call("POST", "/api/v1/tenant/invitations", owner.principal, json=body)).status_code == 201
    world.clock.forward(days=13, hours=23)
    await sweep(world)
    assert len(await rows(own_urls, "SELECT id FROM auth.one_time_token")) == 2
    world.clock.forward(hours=1)
    assert (await sweep(world))["one_time_token"] == 2


async def test_networks_and_guesses_go_when_they_count_no_more(world: World, own_urls: DatabaseUrls) -> None:
    await world.register()
    await world.try_login("nobody", "not the password", client_ip=new_ip())
    guesses = len(await rows(own_urls, "SELECT key FROM auth.throttle"))
    assert guesses > 1
    world.clock.forward(seconds=FORGET_AFTER.total_seconds() - 1)
    assert await sweep(world) == {}
    world.clock.forward(seconds=1)
    assert await sweep(world) == {"guess": guesses}
    world.clock.forward(seconds=(KNOWN_FOR - FORGET_AFTER).total_seconds() - 1)
    assert "network" not in await sweep(world)
    world.clock.forward(seconds=1)
    assert (await sweep(world))["network"] == 1


# ----- keys, which the trail tells of


async def lived_with_keys(world: World) -> dict[str, str]:
    """The id of a key for each way to end, and of one that has not."""
    member = await world.member()
    made = {how: await world.create_key(member, name=how) for how in ("deleted", "rotated", "given grace", "alive")}
    made["expired"] = await world.create_key(member, expires_in_days=1, allowed_ips=["10.0.0.0/8"])
    await world.call("DELETE", f"{KEYS}/{made['deleted']['id']}", member.principal)
    for how, minutes in (("rotated", 0), ("given grace", 1440)):
        path = f"{KEYS}/{made[how]['id']}/rotate"
        answer = await world.call("POST", path, member.principal, json={"grace_minutes": minutes})
        assert answer.status_code == 201
    await world.resolve_key(made["expired"]["api_key"])
    return {how: key["id"] for how, key in made.items()}


async def test_keys_go_ninety_days_after_they_ended_and_the_trail_says_so(world: World, own_urls: DatabaseUrls) -> None:
    keys = await lived_with_keys(world)
    world.clock.forward(days=90)
    assert (await sweep(world))["key"] == 2
    world.clock.forward(days=1)
    assert (await sweep(world))["key"] == 2
    left = {str(key_id) for key_id in await rows(own_urls, "SELECT id FROM auth.api_key")}
    assert left & set(keys.values()) == {keys["alive"]}
    assert len(left) == 3, "with those that took the places of two"
    for how, told in (("deleted", "revoked"), ("rotated", "rotated"), ("given grace", "rotated")):
        assert await events_of(own_urls, keys[how]) == ["created", told, "swept"]
    assert await events_of(own_urls, keys["expired"]) == ["created", "swept"]
    assert await rows(own_urls, "SELECT DISTINCT actor FROM auth.audit_event WHERE event = 'swept'") == ["svc:sweep"]


async def test_an_expired_key_is_listed_and_takes_its_place_until_it_is_swept(world: World) -> None:
    member = await world.member()
    key = await world.create_key(member, expires_in_days=1)
    for days, listed in ((90, 1), (1, 0)):
        world.clock.forward(days=days)
        await sweep(world)
        assert len((await world.call("GET", KEYS, member.principal)).json()["data"]) == listed
    assert (await world.call("GET", f"{KEYS}/{key['id']}", member.principal)).status_code == 404
    assert (await world.resolve_key(key["api_key"])).status_code == 404


async def test_users_tenants_and_keys_are_still_made_again_from_the_trail(world: World, own_urls: DatabaseUrls) -> None:
    def rebuild() -> tuple[int, str]:
        done = CliRunner().invoke(app, ["audit", "rebuild", "--database-url", own_urls.app])
        return done.exit_code, done.output

    await lived_with_keys(world)
    world.clock.forward(days=91)
    assert (await sweep(world))["key"] == 4
    assert await asyncio.to_thread(rebuild) == (0, "tenants, users and keys are what the trail tells\n")


async def test_a_key_that_was_removed_or_put_back_by_another_hand_is_told(world: World, own_urls: DatabaseUrls) -> None:
    keys = await lived_with_keys(world)
    await rows(own_urls, "CREATE TABLE public.copy AS SELECT * FROM auth.api_key")
    await rows(own_urls, "DELETE FROM auth.api_key WHERE id = $1", UUID(keys["deleted"]))
    assert await found(own_urls.app) == ["key: in the trail, and not in the table"]
    world.clock.forward(days=91)
    assert (await sweep(world))["key"] == 3
    await rows(own_urls, "INSERT INTO auth.api_key SELECT * FROM public.copy WHERE id = $1", UUID(keys["expired"]))
    assert sorted(await found(own_urls.app)) == [
        "key: in the table, and gone by the trail",
        "key: in the trail, and not in the table",
    ]


async def test_a_key_that_moved_with_its_user_is_told_of_in_the_tenant_they_are_in(world: World, own_urls: DatabaseUrls) -> None:
    owner, person = await organisation(world), await world.member()
    key = await world.create_key(person, expires_in_days=1)
    await moved(world, person, owner.tenant_id)
    world.clock.forward(days=91)
    assert (await sweep(world))["key"] == 1
    told = "SELECT tenant_id FROM auth.audit_event WHERE event = 'swept' AND key_id = $1"
    assert await rows(own_urls, told, UUID(key["id"])) == [owner.tenant_id]
    assert await found(own_urls.app) == []


# ----- several at once, and what goes wrong


async def test_several_sweepers_at_once_remove_and_tell_of_each_row_once(
    world: World, own_urls: DatabaseUrls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 3)
    people = [await world.member() for _ in range(4)]
    for person in people:
        await rotated(world, person, 3)
        for _ in range(3):
            await world.create_key(person, expires_in_days=1)
    world.clock.forward(days=91)
    async with sweeper(world) as (one, of_one), sweeper(world) as (two, of_two), sweeper(world) as (three, of_three):
        await asyncio.gather(one.sweep(), two.sweep(), three.sweep())
        await one.sweep()  # what each left because another had it in hand
    swept = of_one + of_two + of_three
    assert (swept["refresh_token"], swept["session"], swept["key"]) == (16, 4, 12)
    assert await rows(own_urls, "SELECT count(*) FROM auth.audit_event WHERE event = 'swept'") == [12]
    assert await found(own_urls.app) == []


async def test_a_row_in_somebodys_hands_is_left_for_the_next_time(world: World, own_urls: DatabaseUrls) -> None:
    members = [await world.member() for _ in range(2)]
    world.clock.forward(days=37)
    connection = await asyncpg.connect(own_urls.admin)
    transaction = connection.transaction()
    await transaction.start()
    held = "SELECT id FROM auth.refresh_token WHERE tenant_id = $1 FOR UPDATE"
    assert len(await connection.fetch(held, members[0].tenant_id)) == 1
    assert (await sweep(world))["session"] == 1, "it waits for nobody"
    await transaction.rollback()
    await connection.close()
    assert (await sweep(world))["session"] == 1


async def test_the_service_sweeps_by_itself_and_counts_what_is_gone(own_database_url: str, nats_url: str) -> None:
    async with running_world(settings_of(own_database_url, nats_url, sweep_every_s=0.01)) as world:
        await world.member()
        world.clock.forward(days=37)

        async def counted() -> bool:
            return 'kalpi_auth_swept_total{what="session"} 1.0' in (await world.client.get("/metrics")).text

        await until(counted, what="the session is swept")
