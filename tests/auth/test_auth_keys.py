"""API keys of a user: made, listed, deleted, and never shown again."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

from auth_service.domain.keys import MOST_KEYS
from shared.api_keys import is_well_formed
from shared.ids import new_id
from tests.auth.auth_world import Person, World

PATH = "/api/v1/auth/api-keys"
FIELDS = {
    "id",
    "name",
    "key_hint",
    "scopes",
    "allowed_ips",
    "created_at",
    "expires_at",
    "last_used_at",
    "replaced_by",
    "api_key",
}


async def test_a_key_is_shown_once_and_stands_for_its_user(world: World, member: Person) -> None:
    answer = await world.call("POST", PATH, member.principal, json={"name": "laptop"})
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    made = answer.json()
    assert set(made) == FIELDS
    assert is_well_formed(made["api_key"])
    assert (made["name"], made["expires_at"], made["key_hint"]) == ("laptop", None, f"kalpi_live_…{made['api_key'][-4:]}")
    resolved = (await world.resolve_key(made["api_key"])).json()
    assert (resolved["user_id"], resolved["key_id"]) == (str(member.id), made["id"])
    listed = await world.call("GET", PATH, member.principal)
    del made["api_key"]
    assert listed.json() == {"data": [made], "next_cursor": None}
    assert (await world.call("GET", f"{PATH}/{made['id']}", member.principal)).json() == made


async def test_keys_are_listed_newest_first_in_pages(world: World, member: Person) -> None:
    made = [(await world.create_key(member, name=f"key {number}"))["id"] for number in range(5)]
    await world.create_key(await world.register())
    seen: list[str] = []
    query: dict[str, Any] = {"limit": "2"}
    for expected in (2, 2, 1):
        page = (await world.call("GET", PATH, member.principal, params=query)).json()
        assert len(page["data"]) == expected
        seen += [key["id"] for key in page["data"]]
        query["cursor"] = page["next_cursor"]
    assert query["cursor"] is None
    # ids of one millisecond are in no order, so nor are keys made within one
    assert sorted(seen, reverse=True) == seen
    assert sorted(seen) == sorted(made)


async def test_an_unfit_page_is_refused_by_field(world: World, member: Person) -> None:
    for query in ("limit=0", "limit=101", "limit=x", "cursor=x", "offset=1"):
        answer = await world.call("GET", f"{PATH}?{query}", member.principal)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["loc"] == ["query", query.partition("=")[0]]


async def test_an_unfit_key_is_refused_by_field(world: World, member: Person) -> None:
    for name, value in {
        "name": "x" * 65,
        "name ": "x",
        "expires_in_days": 0,
        "scopes": [],
        "allowed_ips": [],
        "tier": "enterprise",
    }.items():
        answer = await world.call("POST", PATH, member.principal, json={name: value})
        assert answer.status_code == 422, name
        assert answer.json()["errors"][0]["loc"] == ["body", name]
    assert (await world.call("POST", PATH, member.principal, json={"name": "a\x00b"})).status_code == 422


async def test_a_key_expires_when_it_was_asked_to(world: World, member: Person) -> None:
    made = await world.create_key(member, expires_in_days=7)
    assert datetime.fromisoformat(made["expires_at"]) == world.clock.now + timedelta(days=7)
    assert (await world.resolve_key(made["api_key"])).json()["expires_at"] == made["expires_at"]
    world.clock.forward(days=7)
    assert (await world.resolve_key(made["api_key"])).status_code == 404


async def test_a_deleted_key_stands_for_nobody_and_is_not_listed(world: World, member: Person) -> None:
    made = await world.create_key(member)
    gone = await world.call("DELETE", f"{PATH}/{made['id']}", member.principal)
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await world.resolve_key(made["api_key"])).status_code == 404
    assert (await world.call("GET", PATH, member.principal)).json()["data"] == []
    assert (await world.call("DELETE", f"{PATH}/{made['id']}", member.principal)).status_code == 404


async def test_a_key_of_somebody_else_is_not_found_and_stays(world: World, member: Person) -> None:
    theirs = await world.create_key(await world.register())
    for key_id in (theirs["id"], str(new_id())):
        for method, path in (("DELETE", key_id), ("GET", key_id), ("POST", f"{key_id}/rotate")):
            answer = await world.call(method, f"{PATH}/{path}", member.principal)
            assert (answer.status_code, answer.json()["detail"]) == (404, "no such key"), method
    assert (await world.resolve_key(theirs["api_key"])).status_code == 200


async def test_of_keys_deleted_twice_at_once_one_deletion_counts(world: World, member: Person) -> None:
    made = await world.create_key(member)
    answers = await asyncio.gather(*(world.call("DELETE", f"{PATH}/{made['id']}", member.principal) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [204] + [404] * 4


async def test_a_user_has_at_most_a_hundred_keys_also_when_they_are_made_at_once(world: World, member: Person) -> None:
    first = (await world.create_key(member))["id"]
    for _ in range(MOST_KEYS - 6):
        await world.create_key(member)
    answers = await asyncio.gather(*(world.call("POST", PATH, member.principal, json={}) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [201] * 5 + [409] * 5
    assert (await world.call("DELETE", f"{PATH}/{first}", member.principal)).status_code == 204
    assert (await world.call("POST", PATH, member.principal, json={})).status_code == 201
