"""The ring of signing keys: one signs, whoever needs to verify knows it in time, and nothing valid is lost but by revoking."""

import asyncio
import hmac
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from auth_service.adapters.postgres import PostgresDatabase
from auth_service.adapters.tokens import SignedTokens, seed_of
from auth_service.cli.keys import app
from auth_service.domain.errors import NoSigningKey, RotationUnderWay
from auth_service.domain.rotating import RingReader, Rotation
from auth_service.domain.signing import FIRST, LEAD, OVERLAP, SigningKey, SigningRing
from shared.access_tokens import LIFETIME_S
from shared.clock import system_clock
from shared.errors import Unavailable
from shared.events import EventBus
from shared.ids import new_id
from shared.postgres import open_engine
from shared.subjects import auth_subject
from tests.auth.auth_world import MovableClock, World, running_world, settings_of
from tests.support.poll import until

START = datetime(2026, 3, 1, tzinfo=UTC)
EVER = datetime.fromtimestamp(0, UTC)
LIFETIME = timedelta(seconds=LIFETIME_S)
SKEW = timedelta(seconds=30)


def changed(ring: SigningRing, changes: list[SigningKey]) -> SigningRing:
    return SigningRing(tuple({key.id: key for key in (*ring.keys, *changes)}.values()))


# ----- the rules


@given(st.lists(st.integers(min_value=0, max_value=3600), max_size=8))
def test_whatever_the_rotations_no_token_is_lost_and_each_key_is_known_before_it_signs(pauses: list[int]) -> None:
    now, ring = START, SigningRing([SigningKey(FIRST, EVER)])
    published_since = {FIRST: EVER}
    for pause in pauses:
        now += timedelta(seconds=pause)
        try:
            ring = changed(ring, ring.rotated(new_id(), now))
        except RotationUnderWay:
            assert ring.published(now)[0].signs_from > now
        published_since |= {key.id: now for key in ring.keys if key.id not in published_since}
    for seconds in range(0, int((now - START).total_seconds()) + 7200, 60):
        signed_at = START + timedelta(seconds=seconds)
        signing = ring.signing(signed_at)
        assert published_since[signing.id] <= signed_at - LEAD
        for late in (-SKEW, timedelta(), LIFETIME, LIFETIME + SKEW):
            assert signing in ring.published(signed_at + late), "on a clock that differs as well"
    assert [ring.state(key, now + LEAD + OVERLAP) for key in ring.keys].count("signs") == 1
    assert len(ring.published(now + LEAD + OVERLAP)) == 1


@given(st.integers(min_value=0, max_value=2000))
def test_revoking_ends_every_other_key_at_once_even_one_that_waits(later: int) -> None:
    ring = changed(ring := SigningRing([SigningKey(FIRST, EVER)]), ring.rotated(new_id(), START))
    now = START + timedelta(seconds=later)
    ring = changed(ring, ring.revoked(new_id(), now))
    assert ring.published(now) == [ring.signing(now)]
    assert ring.signing(now).signs_from == now
    assert sorted(ring.state(key, now) for key in ring.keys) == ["ended", "ended", "signs"]


def test_a_machine_whose_clock_is_behind_signs_with_what_there_is() -> None:
    ring = SigningRing([SigningKey(FIRST, EVER, START), SigningKey(new_id(), START)])
    assert ring.signing(START - timedelta(seconds=3)).id == FIRST
    assert SigningRing(ring.keys[1:]).signing(START - timedelta(seconds=3)) == ring.keys[1]
    with pytest.raises(NoSigningKey):
        SigningRing(ring.keys[:1]).signing(START)


def test_the_states_of_a_rotation_in_their_order() -> None:
    first = SigningKey(FIRST, EVER)
    second, retired = SigningRing([first]).rotated(new_id(), START)
    ring = SigningRing([retired, second])
    moments = [START, START + LEAD, START + LEAD + OVERLAP]
    assert [(ring.state(retired, at), ring.state(second, at)) for at in moments] == [
        ("signs", "waits"),
        ("verifies", "signs"),
        ("ended", "signs"),
    ]


def test_the_first_key_is_the_master_and_others_are_derived_from_it() -> None:
    """RFC 5869: extract with a salt of zeros, expand with the id; one block is a seed."""
    master, one = os.urandom(32), new_id()
    extracted = hmac.digest(bytes(32), master, "sha256")
    assert seed_of(master, FIRST) == master
    assert seed_of(master, one) == hmac.digest(extracted, one.bytes + b"\x01", "sha256")


# ----- in Postgres


@pytest.fixture
async def database(own_database_url: str) -> AsyncIterator[PostgresDatabase]:
    engine = open_engine(own_database_url, service="test", pool_size=5, command_timeout_s=5)
    async with PostgresDatabase(engine, asyncio.Event()) as database:
        yield database


@pytest.fixture
async def world(own_database_url: str, nats_url: str) -> AsyncIterator[World]:
    """With a ring of its own."""
    async with running_world(settings_of(own_database_url, nats_url)) as world:
        yield world


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[EventBus]:
    async with EventBus(nats_url, service="test", clock=system_clock, new_id=new_id) as bus:
        yield bus


async def published(world: World) -> list[str]:
    return [key["kid"] for key in (await world.client.get("/.well-known/jwks.json")).json()["keys"]]


async def rotate(world: World, database: PostgresDatabase, bus: EventBus, *, revoke: bool = False) -> None:
    """And tells of it; returns once the service has read the ring again."""
    before = await published(world)
    await Rotation(database, clock=world.clock, new_id=new_id).rotate(revoke=revoke)
    await bus.publish(auth_subject("signing-key", "rotated"), {})

    async def read() -> bool:
        return await published(world) != before

    await until(read, what="the ring read again")


def kid(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


async def test_a_rotation_is_published_at_once_signs_in_a_minute_and_loses_no_token(
    world: World, database: PostgresDatabase, bus: EventBus
) -> None:
    member = await world.member()
    first = member.tokens["access_token"]
    await rotate(world, database, bus)
    assert set(await published(world)) > {kid(first)}
    between = (await world.login(member))["access_token"]
    assert kid(between) == kid(first)
    world.clock.forward(seconds=60)
    second = (await world.login(member))["access_token"]
    assert set(await published(world)) == {kid(first), kid(second)}
    assert kid(second) != kid(first)
    world.clock.forward(seconds=LIFETIME_S)
    assert await world.is_alive(first)
    world.clock.forward(seconds=60)
    assert await published(world) == [kid(second)]


async def test_after_revoking_only_the_new_key_is_published_and_signs(
    world: World, database: PostgresDatabase, bus: EventBus
) -> None:
    member = await world.member()
    old = kid(member.tokens["access_token"])
    await rotate(world, database, bus)
    await rotate(world, database, bus, revoke=True)
    new = kid((await world.login(member))["access_token"])
    assert new != old
    assert await published(world) == [new]


async def test_of_two_rotations_at_once_one_is_made(database: PostgresDatabase) -> None:
    rotations = [Rotation(database, clock=system_clock, new_id=new_id).rotate() for _ in range(3)]
    outcomes = await asyncio.gather(*rotations, return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["RotationUnderWay", "RotationUnderWay", "SigningKey"]
    ring = await Rotation(database, clock=system_clock, new_id=new_id).ring()
    assert len(ring.keys) == 2


async def test_a_process_goes_on_with_the_ring_it_has_while_its_database_is_away(database: PostgresDatabase) -> None:
    clock = MovableClock()
    tokens = SignedTokens([os.urandom(32)], clock=clock, new_id=new_id)
    nowhere = PostgresDatabase(
        open_engine("postgresql://u:p@127.0.0.1:1/x", service="test", pool_size=1, command_timeout_s=1), asyncio.Event()
    )
    away = RingReader(nowhere, tokens.use, clock)
    with pytest.raises(Unavailable):
        await away.read()
    with pytest.raises(Unavailable):
        tokens.issue(new_id(), new_id())
    await RingReader(database, tokens.use, clock).read()
    before = tokens.jwks()
    with pytest.raises(Unavailable):
        await away.read()
    assert tokens.jwks() == before


# ----- the command


def test_the_command_rotates_lists_and_says_what_it_refuses(own_database_url: str) -> None:
    def kalpi(*arguments: str, url: str = own_database_url) -> tuple[int, str]:
        done = CliRunner().invoke(app, [*arguments], env={"DATABASE_URL": url})
        return done.exit_code, done.output

    code, said = kalpi("rotate")
    assert (code, "signs from" in said) == (0, True)
    code, said = kalpi("rotate")
    assert (code, "published already" in said) == (1, True)
    code, said = kalpi("list")
    assert code == 0
    assert [line.split()[1] for line in said.splitlines()] == ["signs", "waits"]
    code, said = kalpi("rotate", "--revoke")
    assert (code, "every other key has ended" in said) == (0, True)
    code, said = kalpi("list")
    assert sorted(line.split()[1] for line in said.splitlines()) == ["ended", "ended", "signs"]
    code, said = kalpi("list", url="postgresql://u:a-password@127.0.0.1:1/x")
    assert code == 1
    assert said.endswith("the user database does not answer\n")
    assert "a-password" not in said
