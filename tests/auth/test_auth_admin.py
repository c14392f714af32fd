"""Users as an administrator sees and changes them."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from shared.ids import new_id
from shared.principal import Principal
from shared.roles import DatabaseUrls
from tests.auth.auth_world import Person, World, administrator, running_world, settings_of
from tests.auth.tenancy import organisation, with_member

PATH = "/api/v1/admin/users"
TENANTS = "/api/v1/admin/tenants"
KEYS = "/api/v1/admin/api-keys"


@pytest.fixture
def admin() -> Principal:
    return administrator()


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


async def listed(world: World, path: str, admin: Principal, **query: Any) -> list[str]:
    answer = await world.call("GET", path, admin, params=query)
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["data"]]


async def test_users_are_found_by_how_a_name_or_an_address_begins_by_tier_and_by_what_they_may(
    alone: World, admin: Principal
) -> None:
    people = [await alone.register() for _ in range(3)]
    one = people[1]
    everybody = [str(person.id) for person in reversed(people)]
    for begins in (one.name, one.name[:-1] + one.name[-1].upper(), one.email, f"{one.name}@EXAMPLE"):
        assert await listed(alone, PATH, admin, q=begins) == [str(one.id)]
    assert await listed(alone, PATH, admin, q="U") == everybody
    for begins in ("%", "_", "\\", "example.com"):
        assert await listed(alone, PATH, admin, q=begins) == []
    await alone.call("PATCH", f"{PATH}/{one.id}", admin, json={"tier": "pro", "is_active": False})
    assert await listed(alone, PATH, admin, tier="pro") == await listed(alone, PATH, admin, is_active="false") == [str(one.id)]
    assert await listed(alone, PATH, admin, is_active="true") == [each for each in everybody if each != str(one.id)]
    assert await listed(alone, PATH, admin, tier="free", is_active="false") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"q": ""}, "q"),
        ({"q": "\x00"}, "q"),
        ({"q": "x" * 255}, "q"),
        ({"tier": "a b"}, "tier"),
        ({"is_active": "x"}, "is_active"),
    ],
)
async def test_an_unfit_search_is_refused_by_field(world: World, admin: Principal, query: dict[str, str], field: str) -> None:
    for path in (PATH, TENANTS):
        answer = await world.call("GET", path, admin, params=query)
        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["query", field])


async def test_tenants_are_listed_with_their_members_and_found(alone: World, admin: Principal) -> None:
    owner = await organisation(alone, name="Analytical Engines", tier="premium")
    await with_member(alone, owner)
    (found,) = (await alone.call("GET", TENANTS, admin, params={"q": "analytical"})).json()["data"]
    assert (found["id"], found["members"], found["tier"]) == (str(owner.tenant_id), 2, "premium")
    assert await listed(alone, TENANTS, admin, tier="premium") == [str(owner.tenant_id)]
    closed = await listed(alone, TENANTS, admin, is_active="false")
    assert len(closed) == 2, "the personal ones that were left"
    assert sorted(await listed(alone, TENANTS, admin)) == sorted([*closed, str(owner.tenant_id)])


async def test_a_tenants_tier_counts_for_its_members_at_once_and_can_be_taken_back(world: World, admin: Principal) -> None:
    owner = await organisation(world)
    key = (await world.create_key(owner))["api_key"]
    path = f"{TENANTS}/{owner.tenant_id}"
    for body, tier, terms in (
        ({}, "free", (None, None)),
        ({"tier": "premium"}, "premium", ("split", 1)),
        ({"quota": "shared", "tier": "pro"}, "pro", ("shared", None)),
        ({"quota": None, "is_active": None}, "pro", ("shared", None)),
        ({"tier": None}, "free", (None, None)),
    ):
        assert (await world.call("PATCH", path, admin, json=body)).status_code == 200
        resolved = (await world.resolve_key(key)).json()
        assert (resolved["tier"], (resolved["quota"], resolved["members"])) == (tier, terms)
    await world.call("PATCH", path, admin, json={"is_active": False})
    assert (await world.resolve_key(key)).status_code == 404
    await world.call("PATCH", path, admin, json={"is_active": True})
    assert (await world.resolve_key(key)).status_code == 200


async def test_a_split_quota_is_divided_by_those_who_may_use_it(world: World, admin: Principal) -> None:
    owner = await organisation(world, tier="premium")
    others = [await with_member(world, owner) for _ in range(2)]

    async def members() -> int:
        return int((await world.resolve_session(owner.tokens["access_token"])).json()["members"])

    assert await members() == 3
    await world.call("PATCH", f"{PATH}/{others[0].id}", admin, json={"is_active": False})
    assert await members() == 2
    await world.call("DELETE", f"/api/v1/tenant/members/{others[1].id}", owner.principal)
    assert await members() == 1


async def test_a_personal_tenants_tier_is_its_users_alone(world: World, admin: Principal, member: Person) -> None:
    await world.call("PATCH", f"{TENANTS}/{member.tenant_id}", admin, json={"tier": "pro", "quota": "shared"})
    resolved = (await world.resolve_session(member.tokens["access_token"])).json()
    assert (resolved["tier"], resolved["quota"], resolved["members"]) == ("pro", None, None)


async def test_no_tenant_is_made_for_nobody_and_none_is_changed_that_is_not_there(world: World, admin: Principal) -> None:
    person = await world.register()
    await world.call("PATCH", f"{PATH}/{person.id}", admin, json={"is_active": False})
    for owner_id in (new_id(), person.id):
        answer = await world.call("POST", TENANTS, admin, json={"name": "N", "owner_id": str(owner_id)})
        assert (answer.status_code, answer.json()["detail"]) == (404, "no such user")
    owner = await organisation(world)
    body = {"name": "N", "owner_id": str(owner.id)}
    assert (await world.call("POST", TENANTS, admin, json=body)).status_code == 409, "another tenant's last owner"
    for method in ("GET", "PATCH"):
        assert (await world.call(method, f"{TENANTS}/{new_id()}", admin, json={})).status_code == 404
    unfit_changes: list[dict[str, Any]] = [{"quota": "some"}, {"tier": "a b"}, {"allowed_origins": []}, {"name": "x"}]
    for unfit in unfit_changes:
        assert (await world.call("PATCH", f"{TENANTS}/{owner.tenant_id}", admin, json=unfit)).status_code == 422


async def test_an_administrator_ends_the_sessions_of_a_user(world: World, admin: Principal, member: Person) -> None:
    key = await world.create_key(member)
    assert (await world.call("DELETE", f"{PATH}/{member.id}/sessions", admin)).status_code == 204
    assert not await world.is_alive(member.tokens["access_token"])
    assert (await world.resolve_key(key["api_key"])).status_code == 200
    assert (await world.call("DELETE", f"{PATH}/{new_id()}/sessions", admin)).status_code == 404


async def test_keys_of_all_users_are_listed_and_deleted(world: World, admin: Principal) -> None:
    one, other = await world.register(), await world.register()
    made = [await world.create_key(one), await world.create_key(one, name="second"), await world.create_key(other)]
    whose = await listed(world, KEYS, admin, user_id=str(one.id))
    assert whose == [made[1]["id"], made[0]["id"]]
    assert await listed(world, KEYS, admin, tenant_id=str(other.tenant_id)) == [made[2]["id"]]
    assert await listed(world, KEYS, admin, user_id=str(one.id), tenant_id=str(other.tenant_id)) == []
    assert await listed(world, KEYS, admin, user_id=str(one.id), limit="1", cursor=made[1]["id"]) == [made[0]["id"]]
    shown = (await world.call("GET", KEYS, admin, params={"user_id": str(other.id)})).json()["data"][0]
    assert not [name for name in shown if "sha" in name or name == "api_key"]
    for status in (204, 404):
        assert (await world.call("DELETE", f"{KEYS}/{made[0]['id']}", admin)).status_code == status
    assert (await world.resolve_key(made[0]["api_key"])).status_code == 404
    assert (await world.call("DELETE", f"{KEYS}/{new_id()}", admin)).status_code == 404
    assert await listed(world, KEYS, admin, user_id=str(one.id)) == [made[1]["id"]]


async def test_all_of_it_is_for_the_role_admin(world: World, member: Person) -> None:
    theirs = {"name": "N", "owner_id": str(member.id)}
    for method, path, body in (
        ("GET", TENANTS, None),
        ("POST", TENANTS, theirs),
        ("GET", f"{TENANTS}/{member.tenant_id}", None),
        ("PATCH", f"{TENANTS}/{member.tenant_id}", {"tier": "enterprise"}),
        ("DELETE", f"{PATH}/{member.id}/sessions", None),
        ("GET", KEYS, None),
        ("DELETE", f"{KEYS}/{new_id()}", None),
    ):
        assert (await world.call(method, path, member.principal, json=body)).status_code == 403, (method, path)
        assert (await world.call(method, path, json=body)).status_code == 401


SEARCHES = {
    "user_account_username_prefix": "user_page('name 77%', NULL, NULL, NULL, 50)",
    "user_account_email_prefix": "user_page('name 77%', NULL, NULL, NULL, 50)",
    "user_account_of_tier": "user_page(NULL, 'pro', NULL, NULL, 50)",
    "user_account_disabled": "user_page(NULL, NULL, false, NULL, 50)",
    "user_account_pkey": "user_page(NULL, NULL, NULL, NULL, 50)",
    "tenant_name_prefix": "tenant_page('name 77%', NULL, NULL, NULL, 50)",
    "tenant_of_tier": "tenant_page(NULL, 'pro', NULL, NULL, 50)",
    "tenant_disabled": "tenant_page(NULL, NULL, false, NULL, 50)",
    "tenant_with_origins": "origins()",
}


async def test_each_search_has_its_index(own_urls: DatabaseUrls) -> None:
    """With 20,000 tenants of a user each: the plans are those that Postgres prefers."""
    connection = await asyncpg.connect(own_urls.admin)
    await connection.execute(
        """
        INSERT INTO auth.tenant (id, name, created_at, personal, tier, quota, allowed_origins, is_active)
        SELECT md5(n::text)::uuid, 'Name ' || n, now(), true, CASE WHEN n % 500 = 0 THEN 'pro' END, 'split',
            CASE WHEN n % 500 = 0 THEN '{https://a.example}'::text[] ELSE '{}' END, n % 500 > 0 OR n % 1000 = 0
        FROM generate_series(1, 20000) AS n;
        INSERT INTO auth.user_account
        SELECT gen_random_uuid(), md5(n::text)::uuid, 'Name ' || n, 'Name ' || n || '@a.example', '',
            CASE WHEN n % 500 = 0 THEN 'pro' ELSE 'free' END, '{}', n % 500 > 0, now(), now(), 'owner'
        FROM generate_series(1, 20000) AS n;
        """
    )
    await connection.execute("ANALYZE auth.tenant; ANALYZE auth.user_account")
    await connection.execute(
        """
        LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;
        SET client_min_messages = log
        """
    )
    plans: list[str] = []
    connection.add_log_listener(lambda _, message: plans.append(str(message)))
    found: dict[str, bool] = {}
    for index, call in SEARCHES.items():
        plans.clear()
        assert await connection.fetch(f"SELECT * FROM auth.{call}")  # noqa: S608 - ours
        (plan,) = [plan for plan in plans if "FROM auth.user_account u" in plan or "FROM auth.tenant t" in plan]
        found[index] = index in plan and "Seq Scan" not in plan
    await connection.close()
    assert found == dict.fromkeys(SEARCHES, True)
