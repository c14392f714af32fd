"""A new key in the place of another, at once or with a grace in which both are good."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from auth_service.domain.keys import MOST_KEYS
from tests.auth.auth_world import Person, World

PATH = "/api/v1/auth/api-keys"
KEPT = ("name", "scopes", "allowed_ips", "expires_at")


async def rotate(world: World, person: Person, key: dict[str, Any], **body: Any) -> httpx.Response:
    return await world.call("POST", f"{PATH}/{key['id']}/rotate", person.principal, json=body)


async def works(world: World, key: dict[str, Any]) -> bool:
    return (await world.resolve_key(key["api_key"])).status_code == 200


async def listed(world: World, person: Person) -> list[str]:
    return [key["id"] for key in (await world.call("GET", PATH, person.principal)).json()["data"]]


async def test_a_rotated_key_ends_at_once_and_the_new_one_is_like_it(world: World, member: Person) -> None:
    old = await world.create_key(
        member, name="robot", scopes=["batch", "keys:manage"], allowed_ips=["192.0.2.0/24"], expires_in_days=30
    )
    answer = await rotate(world, member, old)
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    new = answer.json()
    assert {name: new[name] for name in KEPT} == {name: old[name] for name in KEPT}
    assert new["api_key"] != old["api_key"]
    assert (await works(world, old), await works(world, new)) == (False, True)
    assert await listed(world, member) == [new["id"]]
    assert (await world.call("GET", f"{PATH}/{old['id']}", member.principal)).status_code == 404


async def test_it_needs_no_body(world: World, member: Person) -> None:
    old = await world.create_key(member)
    assert (await world.call("POST", f"{PATH}/{old['id']}/rotate", member.principal)).status_code == 201


async def test_within_the_grace_both_are_good_and_after_it_the_new_one(world: World, member: Person) -> None:
    old = await world.create_key(member)
    new = (await rotate(world, member, old, grace_minutes=60)).json()
    ends = world.clock.now + timedelta(minutes=60)
    shown = (await world.call("GET", f"{PATH}/{old['id']}", member.principal)).json()
    assert (datetime.fromisoformat(shown["expires_at"]), shown["replaced_by"]) == (ends, new["id"])
    assert new["expires_at"] is None, "the grace is the old one's"
    assert datetime.fromisoformat((await world.resolve_key(old["api_key"])).json()["expires_at"]) == ends
    assert set(await listed(world, member)) == {old["id"], new["id"]}
    world.clock.forward(minutes=60)
    assert (await works(world, old), await works(world, new)) == (False, True)
    assert await listed(world, member) == [new["id"]]
    assert (await world.call("DELETE", f"{PATH}/{old['id']}", member.principal)).status_code == 404


async def test_a_grace_makes_no_key_live_longer_than_it_would(world: World, member: Person) -> None:
    old = await world.create_key(member, expires_in_days=1)
    world.clock.forward(hours=23)
    await rotate(world, member, old, grace_minutes=1440)
    assert (await world.resolve_key(old["api_key"])).json()["expires_at"] == old["expires_at"]


async def test_within_its_grace_a_key_can_be_deleted(world: World, member: Person) -> None:
    old = await world.create_key(member)
    await rotate(world, member, old, grace_minutes=60)
    assert (await world.call("DELETE", f"{PATH}/{old['id']}", member.principal)).status_code == 204
    assert not await works(world, old)


@pytest.mark.parametrize("grace_minutes", [0, 60])
async def test_a_key_is_rotated_once(world: World, member: Person, grace_minutes: int) -> None:
    old = await world.create_key(member)
    answers = await asyncio.gather(*(rotate(world, member, old, grace_minutes=grace_minutes) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 4
    (new,) = [answer.json() for answer in answers if answer.status_code == 201]
    assert set(await listed(world, member)) - {old["id"]} == {new["id"]}
    assert (await rotate(world, member, new)).status_code == 201, "the new one in its turn"


async def test_a_key_that_was_deleted_or_has_expired_is_not_rotated(world: World, member: Person) -> None:
    deleted, expired = await world.create_key(member), await world.create_key(member, expires_in_days=1)
    await world.call("DELETE", f"{PATH}/{deleted['id']}", member.principal)
    world.clock.forward(days=1)
    details = [(await rotate(world, member, key)) for key in (deleted, expired)]
    assert [answer.status_code for answer in details] == [409, 409]
    assert ["deleted" in details[0].text, "expired" in details[1].text] == [True, True]


@pytest.mark.parametrize("grace_minutes", [-1, 1441, 0.5, "x", None])
async def test_an_unfit_grace_is_refused(world: World, member: Person, grace_minutes: object) -> None:
    answer = await rotate(world, member, await world.create_key(member), grace_minutes=grace_minutes)
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["body", "grace_minutes"])


async def test_with_as_many_keys_as_there_may_be_one_is_rotated_at_once_and_not_with_a_grace(
    world: World, member: Person
) -> None:
    keys = [await world.create_key(member) for _ in range(MOST_KEYS)]
    assert (await rotate(world, member, keys[0], grace_minutes=1)).status_code == 409
    assert await works(world, keys[0])
    assert (await rotate(world, member, keys[0])).status_code == 201
    assert (await world.call("POST", PATH, member.principal, json={})).status_code == 409
    await world.call("DELETE", f"{PATH}/{keys[1]['id']}", member.principal)
    assert (await rotate(world, member, keys[2], grace_minutes=1)).status_code == 201
    assert (await rotate(world, member, keys[3], grace_minutes=1)).status_code == 409
    world.clock.forward(minutes=1)
    assert (await rotate(world, member, keys[3], grace_minutes=1)).status_code == 201, "what has ended takes no place"


async def test_the_trail_tells_of_both_keys(world: World, member: Person, admin_url: str) -> None:
    """The fact of the old one is what makes gateways ask again, and learn when it ends."""
    old = await world.create_key(member)
    new = (await rotate(world, member, old, grace_minutes=60)).json()
    connection = await asyncpg.connect(admin_url)
    rows = await connection.fetch("SELECT * FROM auth.audit_event WHERE user_id = $1 AND noun = 'key'", member.id)
    await connection.close()
    told = {(row["event"], row["key_id"]) for row in rows}
    assert told == {("created", UUID(old["id"])), ("created", UUID(new["id"])), ("rotated", UUID(old["id"]))}
    assert old["api_key"] not in str(rows)
    assert new["api_key"] not in str(rows)
