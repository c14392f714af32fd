"""Whom a key or a session stands for, as the gateway asks."""

from typing import Any

from shared.api_keys import digest
from shared.ids import new_id
from tests.auth.auth_world import Person, World
from tests.auth.tenancy import organisation, with_member

PATH = "/internal/v1/resolve"
BATCH = "/internal/v1/resolve/batch"
FIELDS = {"user_id", "tenant_id", "tier", "roles", "scopes", "session_id", "key_id", "allowed_ips", "expires_at"}
FIELDS |= {"quota", "members", "allowed_origins", "tenant_role"}


async def test_a_key_resolves_to_its_user(world: World, member: Person) -> None:
    key = await world.create_key(member)
    answer = await world.resolve_key(key["api_key"])
    assert answer.status_code == 200
    assert answer.json() == {
        "user_id": str(member.id),
        "tenant_id": str(member.tenant_id),
        "tier": "free",
        "roles": [],
        "scopes": ["indicators:read", "bars:read", "batch", "screener"],
        "session_id": None,
        "key_id": key["id"],
        "allowed_ips": None,
        "expires_at": None,
        "quota": None,
        "tenant_role": "owner",
        "members": None,
        "allowed_origins": [],
    }


async def test_a_session_resolves_to_its_user_and_says_until_when(world: World, member: Person) -> None:
    claims = await world.verified(member.tokens["access_token"])
    answer = await world.resolve_session(member.tokens["access_token"])
    assert (answer.status_code, set(answer.json())) == (200, FIELDS)
    resolved = answer.json()
    assert (resolved["user_id"], resolved["session_id"], resolved["key_id"]) == (str(member.id), claims["sid"], None)
    assert resolved["scopes"] == ["indicators:read", "bars:read", "batch", "screener", "keys:manage"]
    assert resolved["expires_at"] > world.clock.now.isoformat()


async def test_a_session_of_somebody_else_is_nobodys(world: World, member: Person) -> None:
    other = await world.member()
    session_id = (await world.verified(other.tokens["access_token"]))["sid"]
    question = {"kind": "session", "user_id": str(member.id), "session_id": session_id}
    assert (await world.call("POST", PATH, json=question)).status_code == 404


async def test_what_is_unknown_is_nobodys(world: World) -> None:
    for question in (
        {"kind": "api_key", "key_sha256": "0" * 64},
        {"kind": "session", "user_id": str(new_id()), "session_id": str(new_id())},
    ):
        answer = await world.call("POST", PATH, json=question)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_an_unfit_question_is_refused(world: World) -> None:
    unfit: list[dict[str, Any]] = [
        {},
        {"kind": "password"},
        {"kind": "api_key"},
        {"kind": "api_key", "key_sha256": "A" * 64},
        {"kind": "api_key", "key_sha256": "0" * 64, "user_id": str(new_id())},
        {"kind": "session", "user_id": "x", "session_id": str(new_id())},
        {"kind": "session", "user_id": str(new_id())},
    ]
    for question in unfit:
        assert (await world.call("POST", PATH, json=question)).status_code == 422, question


async def test_many_are_resolved_in_their_order_each_as_by_itself(world: World, member: Person) -> None:
    other = await world.member()
    keys = [await world.create_key(person) for person in (member, other, other)]
    revoked = f"/api/v1/auth/api-keys/{keys[2]['id']}"
    assert (await world.call("DELETE", revoked, other.principal)).status_code == 204
    questions = [{"kind": "api_key", "key_sha256": digest(key["api_key"])} for key in keys]
    for person in (other, member):
        claims = await world.verified(person.tokens["access_token"])
        questions.append({"kind": "session", "user_id": claims["sub"], "session_id": claims["sid"]})
    questions += [{"kind": "api_key", "key_sha256": "0" * 64}, questions[0]]
    questions.insert(1, questions.pop(3))
    answer = await world.call("POST", BATCH, json={"callers": questions})
    assert answer.status_code == 200
    singly = [await world.call("POST", PATH, json=question) for question in questions]
    assert answer.json()["callers"] == [one.json() if one.status_code == 200 else None for one in singly]
    assert [one.status_code for one in singly] == [200, 200, 200, 404, 200, 404, 200]


async def test_so_many_are_resolved_at_once_and_no_more(world: World) -> None:
    question = {"kind": "api_key", "key_sha256": "0" * 64}
    unfit: list[dict[str, Any]] = [{}, {"callers": []}, {"callers": [question] * 257}, {"callers": [question, {"kind": "x"}]}]
    for body in unfit:
        assert (await world.call("POST", BATCH, json=body)).status_code == 422
    answer = await world.call("POST", BATCH, json={"callers": [question] * 256})
    assert answer.json() == {"callers": [None] * 256}


async def test_a_user_may_not_ask(world: World, member: Person) -> None:
    key = await world.create_key(member)
    question = {"kind": "api_key", "key_sha256": digest(key["api_key"])}
    for path, body in ((PATH, question), (BATCH, {"callers": [question]})):
        assert (await world.call("POST", path, member.principal, json=body)).status_code == 404


async def test_who_owns_or_administers_a_tenant_is_told_so_and_a_member_is_not(world: World) -> None:
    owner = await organisation(world)
    people = {"owner": owner, "admin": await with_member(world, owner, "admin"), None: await with_member(world, owner)}
    for role, person in people.items():
        key = await world.create_key(person)
        assert (await world.resolve_key(key["api_key"])).json()["tenant_role"] == role
