"""Users as an administrator sees and changes them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.ids import new_id
from shared.principal import Principal
from tests.auth.auth_world import Person, World, running_world, settings_of
from tests.support.principals import user

PATH = "/api/v1/admin/users"


@pytest.fixture
def admin() -> Principal:
    return user("enterprise", roles=("admin",))


@pytest.fixture
async def alone(own_database_url: str, nats_url: str) -> AsyncIterator[World]:
    async with running_world(settings_of(own_database_url, nats_url)) as world:
        yield world


async def test_every_user_is_listed_newest_first_in_pages(alone: World, admin: Principal) -> None:
    people = [await alone.register() for _ in range(5)]
    whole = (await alone.call("GET", PATH, admin)).json()
    assert sorted(user["id"] for user in whole["data"]) == sorted(str(person.id) for person in people)
    assert whole["next_cursor"] is None
    assert "password_hash" not in whole["data"][0]
    pages: list[Any] = []
    query: dict[str, Any] = {"limit": "3"}
    for _ in range(2):
        page = (await alone.call("GET", PATH, admin, params=query)).json()
        pages += page["data"]
        query["cursor"] = page["next_cursor"]
    assert pages == whole["data"]
    assert query["cursor"] is None
    exact = (await alone.call("GET", PATH, admin, params={"limit": "5"})).json()
    assert exact["next_cursor"] is None, "a page that ends with the last row is the last"


async def test_only_the_role_admin_may(world: World, member: Person) -> None:
    for method, path in (("GET", PATH), ("PATCH", f"{PATH}/{member.id}")):
        answer = await world.call(method, path, member.principal, json={"tier": "enterprise"} if method == "PATCH" else None)
        assert answer.status_code == 403
    assert (await world.call("GET", "/api/v1/auth/me", member.principal)).json()["tier"] == "free"


async def test_a_changed_tier_counts_for_keys_and_sessions_that_exist(world: World, admin: Principal, member: Person) -> None:
    key = await world.create_key(member)
    changed = await world.call("PATCH", f"{PATH}/{member.id}", admin, json={"tier": "premium"})
    assert (changed.status_code, changed.json()["tier"], changed.json()["is_active"]) == (200, "premium", True)
    assert (await world.resolve_key(key["api_key"])).json()["tier"] == "premium"
    assert (await world.resolve_session(member.tokens["access_token"])).json()["tier"] == "premium"
    assert (await world.refresh(member.refresh_token)).json()["tier"] == "premium"


async def test_a_disabled_user_is_nobody_until_enabled_again(world: World, admin: Principal, member: Person) -> None:
    key = await world.create_key(member)
    await world.call("PATCH", f"{PATH}/{member.id}", admin, json={"is_active": False})
    assert (await world.resolve_key(key["api_key"])).status_code == 404
    assert not await world.is_alive(member.tokens["access_token"])
    assert (await world.refresh(member.refresh_token)).status_code == 401
    assert (await world.try_login(member.name)).status_code == 401
    await world.call("PATCH", f"{PATH}/{member.id}", admin, json={"is_active": True})
    assert (await world.resolve_key(key["api_key"])).status_code == 200
    assert (await world.refresh(member.refresh_token)).status_code == 200


async def test_what_is_absent_or_null_stays_as_it_is(world: World, admin: Principal, member: Person) -> None:
    before = (await world.call("GET", "/api/v1/auth/me", member.principal)).json()
    for body in ({}, {"tier": None}, {"tier": None, "is_active": None}):
        answer = await world.call("PATCH", f"{PATH}/{member.id}", admin, json=body)
        assert (answer.status_code, answer.json()) == (200, before)


async def test_an_unfit_change_is_refused_by_field(world: World, admin: Principal, member: Person) -> None:
    for name, value in {
        "tier": "free tier",
        "is_active": "perhaps",
        "roles": ["admin"],
        "email": "ada@example.com",
        "password": "x",
    }.items():
        answer = await world.call("PATCH", f"{PATH}/{member.id}", admin, json={name: value})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["loc"] == ["body", name]
    assert (await world.call("PATCH", f"{PATH}/{member.id}", admin, json={"tier": "x" * 65})).status_code == 422


async def test_an_unknown_user_is_not_found(world: World, admin: Principal) -> None:
    answer = await world.call("PATCH", f"{PATH}/{new_id()}", admin, json={"tier": "pro"})
    assert (answer.status_code, answer.json()["detail"]) == (404, "no such user")
    assert (await world.call("PATCH", f"{PATH}/nonsense", admin, json={"tier": "pro"})).status_code == 422
