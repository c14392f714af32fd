"""auth-service on a NATS of its own that loses its data: the outbox goes on by itself."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from nats.js.errors import NotFoundError

from kalpi_local.servers import Nats
from shared.clock import system_clock
from shared.events import DeliverPolicy, EventBus, Fact
from shared.ids import new_id
from shared.subjects import AUTH_STREAM, AUTH_SUBJECTS
from tests.auth.auth_world import World, running_world, settings_of
from tests.support.poll import until


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Nats]:
    server = Nats(tmp_path / "nats", "secret", durable=False)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def world(database_url: str, server: Nats) -> AsyncIterator[World]:
    async with running_world(settings_of(database_url, server.url)) as world:
        yield world


@pytest.fixture
async def bus(world: World, server: Nats) -> AsyncIterator[EventBus]:
    """Of somebody who declares nothing, as a gateway."""
    async with EventBus(server.url, service="test", clock=system_clock, new_id=new_id) as bus:
        yield bus


async def restart_with_nothing(server: Nats) -> None:
    await server.stop()
    shutil.rmtree(server.folder / "jetstream")
    await server.start()


async def until_well(world: World) -> None:
    async def well() -> bool:
        return bool((await world.client.get("/health")).json()["status"] == "ok")

    await until(well, what="a service that is well")


async def test_a_revocation_arrives_although_nats_has_lost_everything(world: World, server: Nats, bus: EventBus) -> None:
    heard: list[Fact] = []

    async def hear(fact: Fact) -> None:
        heard.append(fact)

    async def nothing() -> None:
        return

    member = await world.member()
    key = await world.create_key(member)
    bus.follow(AUTH_STREAM, [AUTH_SUBJECTS], hear, on_gap=nothing, deliver=DeliverPolicy.ALL)
    await restart_with_nothing(server)
    answer = await world.call("DELETE", f"/api/v1/auth/api-keys/{key['id']}", member.principal)
    assert answer.status_code == 204

    async def arrived() -> bool:
        return any(fact.type == "kalpi.auth.key.revoked.v1" and fact.data["key_id"] == key["id"] for fact in heard)

    await until(arrived, what="the revocation")
    await until_well(world)


async def test_what_the_lost_stream_held_is_published_again(world: World, server: Nats, bus: EventBus) -> None:
    member = await world.member()
    keys = [await world.create_key(member) for _ in range(3)]
    await until_told(bus, "kalpi.auth.key.created.v1")
    await restart_with_nothing(server)
    told: dict[UUID, Fact] = {}

    async def hear(fact: Fact) -> None:
        told[fact.id] = fact

    async def nothing() -> None:
        return

    bus.follow(AUTH_STREAM, [AUTH_SUBJECTS], hear, on_gap=nothing, deliver=DeliverPolicy.ALL)

    async def all_again() -> bool:
        return {fact.data.get("key_id") for fact in told.values()} >= {key["id"] for key in keys}

    await until(all_again, what="the facts of before")
    mine = [fact.data["event"] for fact in told.values() if fact.data.get("user_id") == str(member.id)]
    assert sorted(mine) == ["created"] * 5 + ["registered"]


async def until_told(bus: EventBus, subject: str) -> None:
    async def kept() -> bool:
        try:
            await bus.jetstream.get_last_msg(AUTH_STREAM, subject)
        except NotFoundError:
            return False
        return True

    await until(kept, what=subject)


async def test_a_revocation_makes_a_deleted_stream_again(world: World, bus: EventBus) -> None:
    member = await world.member()
    key = await world.create_key(member)
    await until_well(world)
    await bus.jetstream.delete_stream(AUTH_STREAM)
    await world.call("DELETE", f"/api/v1/auth/api-keys/{key['id']}", member.principal)

    await until_told(bus, "kalpi.auth.key.revoked.v1")
    await until_well(world)
