"""Tenants: who is in one, what a role in it allows, and what becomes of those who leave."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from auth_service.app import database_of
from auth_service.domain.errors import AlreadyMember, LastOwner, NoSuchTenant, TooManyMembers
from auth_service.domain.model import Owner, TenantRole
from shared.ids import new_id
from tests.auth.auth_world import Person, World, administrator, running_world, settings_of
from tests.auth.tenancy import move, moved, organisation, there, with_member
from tests.support.poll import until

TENANT = "/api/v1/tenant"
MEMBERS = f"{TENANT}/members"
ADMIN = "/api/v1/admin/tenants"


async def own(world: World, person: Person) -> dict[str, Any]:
    answer = await world.call("GET", TENANT, person.principal)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def roles(world: World, person: Person) -> dict[str, str]:
    answer = await world.call("GET", MEMBERS, person.principal)
    return {one["id"]: one["tenant_role"] for one in answer.json()["data"]}


async def set_role(world: World, by: Person, member: Person, role: str) -> int:
    answer = await world.call("PATCH", f"{MEMBERS}/{member.id}", by.principal, json={"role": role})
    return answer.status_code


async def remove(world: World, by: Person, member: Person) -> int:
    return (await world.call("DELETE", f"{MEMBERS}/{member.id}", by.principal)).status_code


async def tenant_now(world: World, person: Person) -> UUID:
    return UUID((await world.resolve_session(person.tokens["access_token"])).json()["tenant_id"])


async def test_everybody_is_the_owner_of_a_personal_tenant_first(world: World, member: Person) -> None:
    tenant = await own(world, member)
    assert (tenant["id"], tenant["name"], tenant["tenant_role"]) == (str(member.tenant_id), member.name, "owner")
    assert (tenant["personal"], tenant["tier"], tenant["quota"], tenant["allowed_origins"]) == (True, None, "split", [])
    assert await roles(world, member) == {str(member.id): "owner"}


async def test_an_organisation_has_its_owner_from_the_beginning(world: World) -> None:
    owner = await organisation(world, tier="premium", quota="shared")
    tenant = await own(world, owner)
    assert (tenant["personal"], tenant["tier"], tenant["quota"]) == (False, "premium", "shared")
    assert await roles(world, owner) == {str(owner.id): "owner"}


async def test_who_moves_keeps_keys_sessions_and_the_password(world: World) -> None:
    owner = await organisation(world, tier="premium")
    person = await world.member()
    key = (await world.create_key(person))["api_key"]
    person = await moved(world, person, owner.tenant_id)
    for resolved in (await world.resolve_key(key), await world.resolve_session(person.tokens["access_token"])):
        assert (resolved.json()["tenant_id"], resolved.json()["tier"]) == (str(owner.tenant_id), "premium")
    assert (await world.refresh(person.refresh_token)).status_code == 200
    assert (await world.try_login(person.name)).status_code == 200
    assert len((await world.call("GET", "/api/v1/auth/api-keys", person.principal)).json()["data"]) == 1


async def test_owners_and_admins_change_the_name_and_members_do_not(world: World) -> None:
    owner = await organisation(world)
    given: list[tuple[TenantRole, int]] = [("admin", 200), ("member", 403), ("owner", 200)]
    for role, status in given:
        person = await with_member(world, owner, role)
        answer = await world.call("PATCH", TENANT, person.principal, json={"name": f"by {role}"})
        assert answer.status_code == status, answer.text
    assert (await own(world, owner))["name"] == "by owner"
    assert (
        "only owners and administrators"
        in (await world.call("PATCH", TENANT, (await with_member(world, owner)).principal, json={})).text
    )


@pytest.mark.parametrize(
    ("by", "of", "to", "status"),
    [
        ("member", "member", "admin", 403),
        ("admin", "member", "admin", 200),
        ("admin", "admin", "member", 200),
        ("admin", "member", "owner", 403),
        ("admin", "owner", "member", 403),
        ("owner", "admin", "owner", 200),
        ("owner", "owner", "member", 200),
    ],
)
async def test_whose_role_may_be_changed_and_to_what(world: World, by: Any, of: Any, to: str, status: int) -> None:
    first = await organisation(world)
    actor, member = await with_member(world, first, by), await with_member(world, first, of)
    assert await set_role(world, actor, member, to) == status
    assert (await roles(world, first))[str(member.id)] == (to if status == 200 else of)


@pytest.mark.parametrize(
    ("by", "of", "status"),
    [
        ("member", "member", 403),
        ("admin", "member", 204),
        ("admin", "owner", 403),
        ("admin", "admin", 204),
        ("owner", "owner", 204),
    ],
)
async def test_who_may_be_removed_by_whom(world: World, by: Any, of: Any, status: int) -> None:
    first = await organisation(world)
    actor, member = await with_member(world, first, by), await with_member(world, first, of)
    assert await remove(world, actor, member) == status
    assert (str(member.id) in await roles(world, first)) == (status != 204)


async def test_who_was_removed_has_a_personal_tenant_again(world: World) -> None:
    owner = await organisation(world, tier="premium")
    member = await with_member(world, owner)
    key = (await world.create_key(member))["api_key"]
    assert await remove(world, owner, member) == 204
    resolved = (await world.resolve_key(key)).json()
    assert resolved["tier"] == "free", "their own again"
    alone = there(member, await tenant_now(world, member))
    assert resolved["tenant_id"] == str(alone.tenant_id) != str(owner.tenant_id)
    assert (await own(world, alone))["personal"]
    assert await roles(world, alone) == {str(member.id): "owner"}
    assert (await world.call("GET", TENANT, member.principal)).status_code == 404, "as a gateway may ask for a moment"


async def test_an_owner_is_always_left(world: World) -> None:
    owner = await organisation(world)
    other = await with_member(world, owner)
    for status in (await remove(world, owner, owner), await set_role(world, owner, owner, "member")):
        assert status == 409
    assert await set_role(world, owner, other, "owner") == 200
    await world.call("PATCH", f"/api/v1/admin/users/{other.id}", administrator(), json={"is_active": False})
    assert await remove(world, owner, owner) == 409, "who is disabled cannot act for the others"
    await world.call("PATCH", f"/api/v1/admin/users/{other.id}", administrator(), json={"is_active": True})
    assert await remove(world, owner, owner) == 204
    assert await roles(world, other) == {str(other.id): "owner"}


async def test_of_owners_who_leave_at_the_same_time_one_stays(world: World) -> None:
    owner = await organisation(world)
    owners = [owner, *[await with_member(world, owner, "owner") for _ in range(3)]]
    statuses = await asyncio.gather(*(remove(world, one, one) for one in owners))
    assert sorted(statuses) == [204, 204, 204, 409]


async def test_nobody_leaves_a_personal_tenant_for_another_like_it(world: World, member: Person) -> None:
    assert await remove(world, member, member) == 409


async def test_a_member_of_another_tenant_is_not_found(world: World, member: Person) -> None:
    owner = await organisation(world)
    for who in (member.id, new_id()):
        for method, body in (("PATCH", {"role": "admin"}), ("DELETE", None)):
            answer = await world.call(method, f"{MEMBERS}/{who}", owner.principal, json=body)
            assert (answer.status_code, answer.json()["detail"]) == (404, "no such member")
    assert str(member.id) not in await roles(world, owner)


async def test_members_come_in_pages_without_addresses(world: World) -> None:
    owner = await organisation(world)
    members = [owner, *[await with_member(world, owner) for _ in range(3)]]
    first = (await world.call("GET", MEMBERS, owner.principal, params={"limit": 2})).json()
    rest = (await world.call("GET", MEMBERS, owner.principal, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    listed = first["data"] + rest["data"]
    assert [one["id"] for one in listed] == sorted((str(one.id) for one in members), reverse=True)
    assert rest["next_cursor"] is None
    assert set(listed[0]) == {"id", "username", "tenant_role", "is_active"}


async def test_who_leaves_a_personal_tenant_for_an_organisation_closes_it(world: World) -> None:
    owner = await organisation(world)
    person = await world.member()
    await moved(world, person, owner.tenant_id)
    left = await world.call("GET", f"{ADMIN}/{person.tenant_id}", administrator())
    assert (left.json()["is_active"], left.json()["personal"]) == (False, True)


async def test_a_personal_tenant_that_somebody_joins_is_an_organisation(world: World, member: Person) -> None:
    other = await moved(world, await world.member(), member.tenant_id)
    assert not (await own(world, member))["personal"]
    assert await remove(world, other, other) == 204
    assert await remove(world, member, member) == 409


async def test_what_cannot_be_joined(world: World, member: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = await organisation(world)
    other = await organisation(world)
    await with_member(world, other)
    monkeypatch.setattr("auth_service.domain.moving.MOST_MEMBERS", 2)
    async with database_of(world.settings, asyncio.Event()) as database:
        who = Owner(member.tenant_id, member.id)
        for to, refusal in ((other.tenant_id, TooManyMembers), (member.tenant_id, AlreadyMember), (new_id(), NoSuchTenant)):
            with pytest.raises(refusal):
                await move(database, who, to)
        with pytest.raises(LastOwner):
            await move(database, Owner(owner.tenant_id, owner.id), member.tenant_id)
        await world.call("PATCH", f"{ADMIN}/{owner.tenant_id}", administrator(), json={"is_active": False})
        with pytest.raises(NoSuchTenant):
            await move(database, who, owner.tenant_id)
    assert await tenant_now(world, member) == member.tenant_id


async def test_who_change_places_do_not_wait_for_each_other(world: World) -> None:
    one, two = await organisation(world), await organisation(world)
    left, right = await with_member(world, one), await with_member(world, two)
    async with database_of(world.settings, asyncio.Event()) as database:
        for _ in range(5):
            await asyncio.gather(
                move(database, Owner(one.tenant_id, left.id), two.tenant_id),
                move(database, Owner(two.tenant_id, right.id), one.tenant_id),
            )
            left, right = right, left
    assert len(await roles(world, one)) == len(await roles(world, two)) == 2


async def test_a_move_is_told_of_to_both_tenants(own_database_url: str, nats_url: str) -> None:
    async with running_world(settings_of(own_database_url, nats_url)) as world:
        owner = await organisation(world)
        person = await world.register()
        member = await moved(world, person, owner.tenant_id, "admin")
        await remove(world, owner, member)

        async def told() -> list[dict[str, Any]]:
            asked = {"user_id": str(person.id), "limit": "100"}
            listed = (await world.call("GET", "/api/v1/admin/audit", administrator(), params=asked)).json()["data"]
            return listed if len(listed) == 8 else []

        events = await until(told, what="the events of the member")
    left, organised = str(person.tenant_id), str(owner.tenant_id)
    own = events[0]["tenant_id"]
    assert [(one["noun"], one["event"], one["tenant_id"]) for one in events] == [
        ("user", "moved", own),
        ("tenant", "created", own),
        ("tenant", "member_removed", organised),
        ("user", "moved", organised),
        ("tenant", "member_added", organised),
        ("tenant", "closed", left),
        ("user", "registered", left),
        ("tenant", "created", left),
    ]
    assert events[0]["before"] == {"tenant_id": organised, "tenant_role": "admin"}
    assert events[0]["after"] == {"tenant_id": own, "tenant_role": "owner"}
    assert (events[2]["actor"], events[3]["actor"]) == (str(owner.id), str(person.id))
