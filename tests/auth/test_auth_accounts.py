"""Registering, and one's own account."""

import asyncio
from datetime import datetime
from typing import Any

import pytest

from auth_service.domain.guessing import PasswordGate
from shared.ids import new_id
from tests.auth.auth_world import PASSWORD, Person, World
from tests.support.principals import user


def new_body(**changes: Any) -> dict[str, Any]:
    name = f"u{new_id().hex[8:]}"
    return {"username": name, "email": f"{name}@example.com", "password": PASSWORD} | changes


async def test_whoever_registers_is_a_free_user_of_a_tenant_of_their_own(world: World) -> None:
    body = new_body()
    answer = await world.call("POST", "/api/v1/auth/register", json=body)
    assert answer.status_code == 201
    user = answer.json()
    assert set(user) == {"id", "tenant_id", "username", "email", "tier", "roles", "is_active", "created_at"}
    assert (user["username"], user["email"], user["tier"], user["roles"], user["is_active"]) == (
        body["username"],
        body["email"],
        "free",
        [],
        True,
    )
    assert datetime.fromisoformat(user["created_at"]) == world.clock.now
    other = await world.register()
    assert len({user["id"], user["tenant_id"], str(other.id), str(other.tenant_id)}) == 4


async def test_nobody_chooses_their_tier_or_roles(world: World) -> None:
    for name, value in {"tier": "enterprise", "roles": ["admin"], "is_active": True, "id": str(new_id())}.items():
        answer = await world.call("POST", "/api/v1/auth/register", json=new_body(**{name: value}))
        assert answer.status_code == 422
        assert [error["loc"] for error in answer.json()["errors"]] == [["body", name]]


async def test_a_name_or_address_is_taken_in_any_case_of_its_letters(world: World) -> None:
    person = await world.register()
    for changes in (
        {"username": person.name},
        {"username": person.name.upper()},
        {"email": person.email},
        {"email": person.email.upper()},
    ):
        answer = await world.call("POST", "/api/v1/auth/register", json=new_body(**changes))
        assert (answer.status_code, answer.json()["detail"]) == (409, "already registered")


async def test_of_ten_who_register_one_name_at_once_one_does(world: World) -> None:
    name = f"u{new_id().hex[8:]}"
    bodies = [new_body(username=name, email=f"{name}-{number}@example.com") for number in range(10)]
    answers = await asyncio.gather(*(world.call("POST", "/api/v1/auth/register", json=body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9


async def test_an_unfit_registration_is_refused_by_field(world: World) -> None:
    unfit: list[tuple[dict[str, Any], str]] = [
        ({"username": "ab"}, "username"),
        ({"username": "a" * 65}, "username"),
        ({"username": "ada@example.com"}, "username"),
        ({"username": "ada lovelace"}, "username"),
        ({"username": "ada\n"}, "username"),
        ({"username": "ада"}, "username"),
        ({"username": None}, "username"),
        ({"email": "nonsense"}, "email"),
        ({"email": "a@b"}, "email"),
        ({"email": f"{'a' * 250}@example.com"}, "email"),
        ({"email": "a\x00@example.com"}, "email"),
        ({"password": "short"}, "password"),
        ({"password": "password"}, "password"),
        ({"password": "x" * 5000}, "password"),
        ({"password": 12345678}, "password"),
    ]
    for changes, field in unfit:
        answer = await world.call("POST", "/api/v1/auth/register", json=new_body(**changes))
        assert answer.status_code == 422, changes
        assert [error["loc"] for error in answer.json()["errors"]] == [["body", field]], changes


async def test_text_that_is_not_unicode_is_refused(world: World) -> None:
    body = rb'{"username":"somebody","email":"somebody@example.com","password":"\ud800 lone surrogate"}'
    answer = await world.call("POST", "/api/v1/auth/register", content=body)
    assert answer.status_code == 422


async def test_a_refusal_repeats_nothing_that_was_sent(world: World) -> None:
    answer = await world.call("POST", "/api/v1/auth/register", json=new_body(password="p4ss"))
    assert "p4ss" not in answer.text
    answer = await world.call("POST", "/api/v1/auth/register", json=new_body(password=["hunter2-hunter2"]))
    assert answer.status_code == 422
    assert "hunter2" not in answer.text


async def test_a_user_sees_themselves_and_changes_their_address(world: World, member: Person) -> None:
    before = await world.call("GET", "/api/v1/auth/me", member.principal)
    assert (before.status_code, before.json()["email"]) == (200, member.email)
    changed = await world.call(
        "PATCH", "/api/v1/auth/me", member.principal, json={"email": f"new-{member.email}", "current_password": PASSWORD}
    )
    assert (changed.status_code, changed.json()) == (200, before.json() | {"email": f"new-{member.email}"})
    assert (await world.call("GET", "/api/v1/auth/me", member.principal)).json() == changed.json()
    assert (await world.try_login(f"new-{member.email}")).status_code == 200
    assert (await world.try_login(member.email)).status_code == 401


async def test_an_address_of_another_user_is_not_taken_over(world: World, member: Person) -> None:
    other, own = await world.register(), {"current_password": PASSWORD}
    taken = await world.call("PATCH", "/api/v1/auth/me", member.principal, json={"email": other.email.upper()} | own)
    assert taken.status_code == 409
    changed = await world.call("PATCH", "/api/v1/auth/me", member.principal, json={"email": member.email.upper()} | own)
    assert changed.status_code == 200
    for body in (
        {},
        {"email": member.email},
        {"email": None} | own,
        {"email": "nonsense"} | own,
        {"email": member.email, "tier": "x"} | own,
    ):
        assert (await world.call("PATCH", "/api/v1/auth/me", member.principal, json=body)).status_code == 422, body


async def test_a_changed_password_ends_every_session_and_keeps_the_keys(world: World, member: Person) -> None:
    key = await world.create_key(member)
    body = {"current_password": PASSWORD, "new_password": "another horse battery"}
    assert (await world.call("POST", "/api/v1/auth/password", member.principal, json=body)).status_code == 204
    assert not await world.is_alive(member.tokens["access_token"])
    assert (await world.refresh(member.refresh_token)).status_code == 401
    assert (await world.resolve_key(key["api_key"])).status_code == 200
    assert (await world.try_login(member.name)).status_code == 401
    assert (await world.try_login(member.name, "another horse battery")).status_code == 200


async def test_the_current_password_is_needed_and_its_lack_is_no_401(world: World, member: Person) -> None:
    body = {"current_password": "not the password", "new_password": "another horse battery"}
    answer = await world.call("POST", "/api/v1/auth/password", member.principal, json=body)
    assert answer.status_code == 403
    assert await world.is_alive(member.tokens["access_token"])


async def test_a_new_password_is_held_to_the_same_rules(world: World, member: Person) -> None:
    for new in ("short", "password", "x" * 300):
        body = {"current_password": PASSWORD, "new_password": new}
        answer = await world.call("POST", "/api/v1/auth/password", member.principal, json=body)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["loc"] == ["body", "new_password"]


async def test_of_two_password_changes_at_once_one_wins(world: World, member: Person) -> None:
    world.clock.forward(seconds=1)
    bodies = [{"current_password": PASSWORD, "new_password": f"new password {number}"} for number in range(5)]
    answers = await asyncio.gather(*(world.call("POST", "/api/v1/auth/password", member.principal, json=body) for body in bodies))
    won, *lost = sorted(answer.status_code for answer in answers)
    assert (won, set(lost) <= {403, 429}) == (204, True), "429: the last came when the others were counted as guesses"
    winner = next(body for body, answer in zip(bodies, answers, strict=True) if answer.status_code == 204)
    assert (await world.try_login(member.name, winner["new_password"])).status_code == 200


async def test_an_address_is_not_changed_with_a_password_that_was_replaced_meanwhile(
    world: World, member: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the password and the change of the address; else whoever was just shut out would have the account."""
    world.clock.forward(seconds=1)
    looked_at, go_on = asyncio.Event(), asyncio.Event()
    look = PasswordGate.change

    async def slow(gate: PasswordGate, *given: Any) -> Any:
        found = await look(gate, *given)
        looked_at.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(PasswordGate, "change", slow)
    mine = {"email": f"thief-{new_id().hex}@example.com", "current_password": PASSWORD}
    taking = asyncio.create_task(world.call("PATCH", "/api/v1/auth/me", member.principal, json=mine))
    await looked_at.wait()
    monkeypatch.setattr(PasswordGate, "change", look)
    body = {"current_password": PASSWORD, "new_password": f"another {PASSWORD}"}
    assert (await world.call("POST", "/api/v1/auth/password", member.principal, json=body)).status_code == 204
    go_on.set()
    assert (await taking).status_code == 403
    assert (await world.call("GET", "/api/v1/auth/me", member.principal)).json()["email"] == member.email


NEEDS_A_USER: list[tuple[str, str, dict[str, Any] | None]] = [
    ("GET", "/api/v1/auth/me", None),
    ("PATCH", "/api/v1/auth/me", {"email": "ada@example.com", "current_password": PASSWORD}),
    ("POST", "/api/v1/auth/password", {"current_password": PASSWORD, "new_password": PASSWORD}),
    ("POST", "/api/v1/auth/logout-all", None),
    ("POST", "/api/v1/auth/api-keys", {}),
    ("GET", "/api/v1/auth/api-keys", None),
    ("DELETE", f"/api/v1/auth/api-keys/{new_id()}", None),
    ("GET", "/api/v1/admin/users", None),
    ("PATCH", f"/api/v1/admin/users/{new_id()}", {"tier": "pro"}),
]


async def test_what_needs_a_user_answers_401_to_a_request_without_one(world: World) -> None:
    for method, path, body in NEEDS_A_USER:
        answer = await world.call(method, path, json=body)
        assert answer.status_code == 401, answer.text
        assert answer.headers["www-authenticate"].startswith("Bearer")
        direct = await world.client.request(method, path, json=body)
        assert direct.status_code == 401, "without the gateway's envelope"


async def test_a_user_who_is_gone_is_not_found(world: World) -> None:
    nobody = user("free")
    assert (await world.call("GET", "/api/v1/auth/me", nobody)).status_code == 404
    assert (await world.call("POST", "/api/v1/auth/api-keys", nobody, json={})).status_code == 404
    assert (await world.call("POST", "/api/v1/auth/logout-all", nobody)).status_code == 204
