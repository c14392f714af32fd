"""What a key is good for and from where; and that no key is a way to a better one."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from auth_service.seed import SeedUser, seed
from shared.ids import new_id
from shared.principal import Principal
from shared.scopes import DATA_SCOPES, SCOPES, scopes_of
from tests.auth.auth_world import PASSWORD, Person, World
from tests.support.principals import user

PATH = "/api/v1/auth/api-keys"
MANAGE = ["bars:read", "keys:manage"]


def with_key(person: Person, key: dict[str, Any], *, roles: tuple[str, ...] = ()) -> Principal:
    """As the gateway vouches for who shows this key."""
    changes = {"key_id": key["id"], "scopes": tuple(key["scopes"]), "roles": roles}
    return person.principal.model_copy(update=changes)


async def administrator(world: World) -> Person:
    name = f"root-{new_id().hex[8:]}"
    asked = SeedUser(
        username=name,
        email=f"{name}@example.com",
        password=PASSWORD,
        tier="pro",
        roles=("admin",),
        key_name="first",
        api_key=None,
    )
    (seeded,) = await seed(world.settings, [asked])
    resolved = (await world.resolve_key(seeded.api_key)).json()
    assert resolved["scopes"] == list(SCOPES), "of the first key of an administrator"
    principal = user("pro", roles=("admin",)).model_copy(
        update={"user_id": resolved["user_id"], "tenant_id": resolved["tenant_id"]}
    )
    return Person(UUID(resolved["user_id"]), UUID(resolved["tenant_id"]), name, f"{name}@example.com", principal)


async def test_a_key_has_the_scopes_it_was_made_with_and_the_four_of_data_where_none_are_named(
    world: World, member: Person
) -> None:
    plain = await world.create_key(member)
    assert plain["scopes"] == list(DATA_SCOPES)
    narrow = await world.create_key(member, scopes=["keys:manage", "bars:read", "bars:read"])
    assert narrow["scopes"] == ["bars:read", "keys:manage"], "each once"
    assert (await world.resolve_key(narrow["api_key"])).json()["scopes"] == ["bars:read", "keys:manage"]


@pytest.mark.parametrize("scopes", [["read"], ["*"], [""], ["ADMIN"], ["bars:read "], "admin", {"admin": True}, None, [None]])
async def test_what_is_no_scope_is_refused(world: World, member: Person, scopes: object) -> None:
    answer = await world.call("POST", PATH, member.principal, json={"scopes": scopes})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"][:2] == ["body", "scopes"]


async def test_managing_keys_takes_its_scope(world: World, member: Person) -> None:
    key = await world.create_key(member)
    plain = with_key(member, key)
    for method, path in (
        ("GET", PATH),
        ("POST", PATH),
        ("GET", f"{PATH}/{key['id']}"),
        ("DELETE", f"{PATH}/{key['id']}"),
        ("POST", f"{PATH}/{key['id']}/rotate"),
    ):
        answer = await world.call(method, path, plain)
        assert (answer.status_code, answer.json()["required_scope"]) == (403, "keys:manage"), (method, path)
    assert (await world.resolve_key(key["api_key"])).status_code == 200


async def test_a_key_makes_no_key_with_a_scope_that_it_lacks(world: World, member: Person) -> None:
    manager = with_key(member, await world.create_key(member, scopes=MANAGE))
    for scopes, required in ((["batch"], "batch"), (["bars:read", "screener"], "screener"), (["admin"], "admin")):
        answer = await world.call("POST", PATH, manager, json={"scopes": scopes})
        assert (answer.status_code, answer.json()["required_scope"]) == (403, required)
    answer = await world.call("POST", PATH, manager, json={})
    assert (answer.status_code, answer.json()["required_scope"]) == (403, "indicators:read"), "of the four"
    assert (await world.call("POST", PATH, manager, json={"scopes": MANAGE})).status_code == 201


async def test_what_the_gateway_remembers_of_a_key_gives_no_scope_that_it_lacks(world: World, member: Person) -> None:
    """Or one that has ended a moment ago."""
    key = await world.create_key(member, scopes=MANAGE)
    remembered = with_key(member, key).model_copy(update={"scopes": SCOPES})
    assert (await world.call("POST", PATH, remembered, json={"scopes": ["batch"]})).status_code == 403
    await world.call("DELETE", f"{PATH}/{key['id']}", member.principal)
    for path, body in ((PATH, {"scopes": ["bars:read"]}), (f"{PATH}/{key['id']}/rotate", {})):
        assert (await world.call("POST", path, remembered, json=body)).status_code == 401
    assert (await world.call("GET", PATH, member.principal)).json()["data"] == []


async def test_the_scope_admin_takes_the_role(world: World, member: Person) -> None:
    answer = await world.call("POST", PATH, member.principal, json={"scopes": ["admin"]})
    assert (answer.status_code, answer.json()["required_scope"]) == (403, "admin")
    claimed = member.principal.model_copy(update={"roles": ("admin",), "scopes": SCOPES})
    assert (await world.call("POST", PATH, claimed, json={"scopes": ["admin"]})).status_code == 403, "not the user's role"
    root = await administrator(world)
    assert (await world.create_key(root, scopes=["admin"]))["scopes"] == ["admin"]


async def test_administration_takes_the_scope_and_the_role(world: World) -> None:
    root = await administrator(world)
    without_scope = with_key(root, await world.create_key(root, scopes=["keys:manage"]), roles=("admin",))
    answer = await world.call("GET", "/api/v1/admin/users", without_scope)
    assert (answer.status_code, answer.json()["required_scope"]) == (403, "admin")
    without_role = root.principal.model_copy(update={"roles": ()})
    assert (await world.call("GET", "/api/v1/admin/users", without_role)).status_code == 403
    assert (await world.call("GET", "/api/v1/admin/users", root.principal)).status_code == 200


async def test_a_key_whose_user_is_no_administrator_any_more_is_none_either(world: World, admin_url: str) -> None:
    root = await administrator(world)
    key = await world.create_key(root, scopes=["bars:read", "admin"])
    connection = await asyncpg.connect(admin_url)
    await connection.execute("UPDATE auth.user_account SET roles = '{}' WHERE id = $1", root.id)
    await connection.close()
    assert (await world.resolve_key(key["api_key"])).json()["scopes"] == ["bars:read"]
    rotated = await world.call("POST", f"{PATH}/{key['id']}/rotate", root.principal)
    assert (rotated.status_code, rotated.json()["scopes"]) == (201, ["bars:read"])


async def test_a_session_may_do_all_that_its_users_roles_allow(world: World) -> None:
    root = await administrator(world)
    assert (await world.resolve_session((await world.login(root))["access_token"])).json()["scopes"] == list(scopes_of(["admin"]))


async def test_rotating_is_no_way_to_a_better_key(world: World, member: Person) -> None:
    better = await world.create_key(member)
    manager = with_key(member, await world.create_key(member, scopes=MANAGE))
    answer = await world.call("POST", f"{PATH}/{better['id']}/rotate", manager)
    assert (answer.status_code, answer.json()["required_scope"]) == (403, "indicators:read")
    brief = with_key(member, await world.create_key(member, scopes=list(scopes_of([])), expires_in_days=1))
    assert (await world.call("POST", f"{PATH}/{better['id']}/rotate", brief)).status_code == 403, "it has no end"
    bound = with_key(member, await world.create_key(member, scopes=list(scopes_of([])), allowed_ips=["192.0.2.0/24"]))
    assert (await world.call("POST", f"{PATH}/{better['id']}/rotate", bound)).status_code == 403, "it is good from anywhere"
    assert (await world.resolve_key(better["api_key"])).status_code == 200


async def test_a_key_made_with_a_key_ends_no_later(world: World, member: Person) -> None:
    brief = await world.create_key(member, scopes=MANAGE, expires_in_days=7)
    caller = with_key(member, brief)
    assert (await world.call("POST", PATH, caller, json={"scopes": MANAGE, "expires_in_days": 8})).status_code == 403
    sooner = (await world.call("POST", PATH, caller, json={"scopes": MANAGE, "expires_in_days": 6})).json()
    assert sooner["expires_at"] < brief["expires_at"]
    left_open = (await world.call("POST", PATH, caller, json={"scopes": MANAGE})).json()
    assert left_open["expires_at"] == brief["expires_at"]


async def test_a_key_made_with_a_key_is_good_from_no_other_address(world: World, member: Person) -> None:
    bound = await world.create_key(member, scopes=MANAGE, allowed_ips=["192.0.2.0/24", "2001:db8::/32"])
    caller = with_key(member, bound)
    for wider in (["192.0.0.0/16"], ["198.51.100.1"], ["192.0.2.1", "::/0"]):
        answer = await world.call("POST", PATH, caller, json={"scopes": MANAGE, "allowed_ips": wider})
        assert answer.status_code == 403, wider
    narrower = await world.call("POST", PATH, caller, json={"scopes": MANAGE, "allowed_ips": ["192.0.2.9", "2001:db8:1::/48"]})
    assert narrower.json()["allowed_ips"] == ["192.0.2.9/32", "2001:db8:1::/48"]
    left_open = (await world.call("POST", PATH, caller, json={"scopes": MANAGE})).json()
    assert left_open["allowed_ips"] == bound["allowed_ips"] == ["192.0.2.0/24", "2001:db8::/32"]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("2001:DB8:0:0::1", "2001:db8::1/128"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
    ],
)
async def test_an_allow_list_is_of_addresses_and_networks(world: World, member: Person, sent: str, kept: str) -> None:
    made = await world.create_key(member, allowed_ips=[sent, sent])
    assert made["allowed_ips"] == [kept]
    assert (await world.resolve_key(made["api_key"])).json()["allowed_ips"] == [kept]
    assert (await world.call("GET", f"{PATH}/{made['id']}", member.principal)).json()["allowed_ips"] == [kept]


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "192.0.2.7/24",
        "192.0.2",
        "192.0.2.256",
        "010.0.0.1",
        "example.com",
        "fe80::1%eth0",
        "::1/129",
        "1",
        1,
        " ::1",
        "::1\n",
    ],
)
async def test_what_is_no_network_is_refused(world: World, member: Person, sent: object) -> None:
    answer = await world.call("POST", PATH, member.principal, json={"allowed_ips": [sent]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "allowed_ips", 0]


async def test_an_allow_list_has_at_most_64_networks(world: World, member: Person) -> None:
    networks = [f"10.0.{number}.0/24" for number in range(65)]
    assert (await world.call("POST", PATH, member.principal, json={"allowed_ips": networks})).status_code == 422
    assert len((await world.create_key(member, allowed_ips=networks[:64]))["allowed_ips"]) == 64


async def test_an_expired_key_cannot_ask_for_another(world: World, member: Person) -> None:
    caller = with_key(member, await world.create_key(member, scopes=MANAGE, expires_in_days=1))
    world.clock.now += timedelta(days=1)
    assert (await world.call("POST", PATH, caller, json={"scopes": ["bars:read"]})).status_code == 401
