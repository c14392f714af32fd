"""Logging in, staying logged in, logging out."""

import asyncio
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx

from auth_service.domain.refreshing import digest
from shared.scopes import SCOPES
from tests.auth.auth_world import PASSWORD, Person, World

GRANT = {"access_token", "refresh_token", "token_type", "expires_in", "tier"}


@dataclass(frozen=True)
class Family:
    """The rows of a session: its tokens by hash, and whether each is spent; its events, each of which leaves as one fact."""

    tokens: dict[str, bool]
    revoked: bool
    events: list[str]


async def fifty_at_once(world: World, token: str) -> list[httpx.Response]:
    """Answers to fifty uses, with the pool's connections open before: who has to open one comes after those that need not."""
    _, answers = [await asyncio.gather(*(world.refresh(used) for _ in range(50))) for used in ("nonsense", token)]
    return answers


async def stored_family(admin_url: str, member: Person) -> Family:
    """Of the one session that the member has."""
    connection = await asyncpg.connect(admin_url)
    session = await connection.fetchrow("SELECT id, revoked_at FROM auth.session WHERE user_id = $1", member.id)
    assert session is not None
    tokens = await connection.fetch("SELECT token_sha256, spent_at FROM auth.refresh_token WHERE session_id = $1", session["id"])
    events = await connection.fetch(
        "SELECT concat_ws(' because of ', event, details ->> 'reason') AS told FROM auth.audit_event "
        "WHERE user_id = $1 AND noun = 'session' ORDER BY recorded",
        member.id,
    )
    await connection.close()
    return Family(
        tokens={row["token_sha256"]: row["spent_at"] is not None for row in tokens},
        revoked=session["revoked_at"] is not None,
        events=[row["told"] for row in events],
    )


async def test_a_login_gives_both_tokens_and_is_not_kept_by_caches(world: World) -> None:
    person = await world.register()
    answer = await world.try_login(person.name)
    assert answer.headers["cache-control"] == "no-store"
    document = answer.json()
    assert set(document) == GRANT
    assert (document["token_type"], document["expires_in"], document["tier"]) == ("bearer", 900, "free")


async def test_one_logs_in_by_name_or_address_in_any_case(world: World) -> None:
    person = await world.register()
    for name in (person.name, person.name.upper(), person.email, person.email.upper()):
        assert (await world.try_login(name)).status_code == 200, name


async def test_wrong_password_unknown_user_and_disabled_user_look_alike(world: World, member: Person) -> None:
    disabled = await world.register()
    admin = member.principal.model_copy(update={"roles": ("admin",), "scopes": SCOPES})
    changed = await world.call("PATCH", f"/api/v1/admin/users/{disabled.id}", admin, json={"is_active": False})
    assert changed.status_code == 200
    refusals = [
        await world.try_login(member.name, "not the password"),
        await world.try_login("nobody", PASSWORD),
        await world.try_login("nobody@example.com", PASSWORD),
        await world.try_login(disabled.name, PASSWORD),
    ]
    assert {answer.status_code for answer in refusals} == {401}
    assert len({str({**answer.json(), "request_id": ""}) for answer in refusals}) == 1
    assert refusals[0].headers["www-authenticate"].startswith("Bearer")


async def test_of_a_disabled_tenant_nobody_logs_in_or_stays_logged_in_until_it_is_enabled(world: World, member: Person) -> None:
    admin = member.principal.model_copy(update={"roles": ("admin",), "scopes": SCOPES})
    person = await world.member()

    async def enable(is_active: bool) -> None:
        path = f"/api/v1/admin/tenants/{person.tenant_id}"
        assert (await world.call("PATCH", path, admin, json={"is_active": is_active})).status_code == 200

    await enable(False)
    refusals = [await world.try_login("nobody", PASSWORD), *[await world.try_login(person.name, PASSWORD) for _ in range(4)]]
    assert {answer.status_code for answer in refusals} == {401}
    assert len({str({**answer.json(), "request_id": ""}) for answer in refusals}) == 1
    assert (await world.try_login(person.name, PASSWORD)).status_code == 429, "the right password shows no more than a wrong one"
    refused = await world.call("POST", "/api/v1/auth/refresh", json={"refresh_token": person.refresh_token})
    assert refused.status_code == 401
    await enable(True)
    world.clock.forward(minutes=5)
    assert (await world.try_login(person.name, PASSWORD)).status_code == 200
    assert (await world.call("POST", "/api/v1/auth/refresh", json={"refresh_token": person.refresh_token})).status_code == 200


async def test_an_unfit_login_form_is_refused_by_field(world: World) -> None:
    form = {"username": "ada", "password": "x"}
    unfit: list[tuple[dict[str, str], str]] = [
        ({"username": "ada"}, "password"),
        ({"password": "correct horse"}, "username"),
        (form | {"tier": "enterprise"}, "tier"),
        (form | {"username": "a\x00b"}, "username"),
        (form | {"username": "a" * 255}, "username"),
        (form | {"password": "x" * 1025}, "password"),
        (form | {"grant_type": "refresh_token"}, "grant_type"),
    ]
    for sent, field in unfit:
        answer = await world.call("POST", "/api/v1/auth/login", data=sent)
        assert answer.status_code == 422, answer.text
        assert [error["loc"] for error in answer.json()["errors"]] == [["body", field]]


async def test_a_refresh_rotates_and_the_session_goes_on(world: World, member: Person) -> None:
    seen = {member.refresh_token}
    for _ in range(3):
        answer = await world.refresh(member.refresh_token)
        assert (answer.status_code, set(answer.json())) == (200, GRANT)
        assert answer.headers["cache-control"] == "no-store"
        first, member.tokens = member.tokens, answer.json()
        assert member.refresh_token not in seen
        before, after = [(await world.verified(tokens["access_token"])) for tokens in (first, member.tokens)]
        assert before["sid"] == after["sid"]
        seen.add(member.refresh_token)
    assert await world.is_alive(member.tokens["access_token"])


async def test_a_lost_answer_may_be_asked_for_again_within_ten_seconds(world: World, member: Person) -> None:
    first = (await world.refresh(member.refresh_token)).json()
    world.clock.forward(seconds=10)
    again = (await world.refresh(member.refresh_token)).json()
    assert again["refresh_token"] == first["refresh_token"]
    assert await world.is_alive(again["access_token"])


async def test_after_ten_seconds_reuse_revokes_the_family(world: World, member: Person) -> None:
    successor = (await world.refresh(member.refresh_token)).json()
    world.clock.forward(seconds=10.001)
    assert (await world.refresh(member.refresh_token)).status_code == 401
    assert (await world.refresh(successor["refresh_token"])).status_code == 401
    assert not await world.is_alive(successor["access_token"])
    assert not await world.is_alive(member.tokens["access_token"])


async def test_once_the_successor_was_used_reuse_revokes_the_family_at_once(world: World, member: Person) -> None:
    successor = (await world.refresh(member.refresh_token)).json()
    third = (await world.refresh(successor["refresh_token"])).json()
    assert (await world.refresh(member.refresh_token)).status_code == 401
    for token in (member.tokens, successor, third):
        assert (await world.refresh(token["refresh_token"])).status_code == 401
        assert not await world.is_alive(token["access_token"])


async def test_reuse_ends_no_other_session(world: World, member: Person) -> None:
    other = (await world.try_login(member.name)).json()
    successor = (await world.refresh(member.refresh_token)).json()
    await world.refresh(successor["refresh_token"])
    assert (await world.refresh(member.refresh_token)).status_code == 401
    assert (await world.refresh(other["refresh_token"])).status_code == 200


async def test_fifty_uses_of_a_token_at_once_are_one_rotation(world: World, member: Person, admin_url: str) -> None:
    answers = await fifty_at_once(world, member.refresh_token)
    assert {answer.status_code for answer in answers} == {200}
    (successor,) = {answer.json()["refresh_token"] for answer in answers}
    told = [await world.verified(answer.json()["access_token"]) for answer in answers]
    assert len({claims["sid"] for claims in told}) == 1
    spent, unspent = digest(member.refresh_token), digest(successor)
    assert await stored_family(admin_url, member) == Family(
        tokens={spent: True, unspent: False}, revoked=False, events=["created"]
    )
    assert (await world.refresh(successor)).status_code == 200


async def test_fifty_uses_of_a_spent_token_at_once_all_fail_and_end_the_family_once(
    world: World, member: Person, admin_url: str
) -> None:
    newest = (await world.refresh(member.refresh_token)).json()
    world.clock.forward(seconds=10.001)
    answers = await fifty_at_once(world, member.refresh_token)
    assert {answer.status_code for answer in answers} == {401}
    spent, unspent = digest(member.refresh_token), digest(newest["refresh_token"])
    ended = Family(tokens={spent: True, unspent: False}, revoked=True, events=["created", "revoked because of reuse"])
    assert await stored_family(admin_url, member) == ended
    assert not await world.is_alive(newest["access_token"])
    assert (await world.refresh(newest["refresh_token"])).status_code == 401
    assert await stored_family(admin_url, member) == ended


async def test_fifty_uses_of_a_stolen_token_at_once_all_fail_and_end_the_family_once(
    world: World, member: Person, admin_url: str
) -> None:
    """Within the grace: its successor was used, so it was no retry."""
    newest = (await world.refresh(member.refresh_token)).json()
    newest = (await world.refresh(newest["refresh_token"])).json()
    answers = await fifty_at_once(world, member.refresh_token)
    assert {answer.status_code for answer in answers} == {401}
    family = await stored_family(admin_url, member)
    assert (family.revoked, family.events, len(family.tokens)) == (True, ["created", "revoked because of reuse"], 3)
    assert not await world.is_alive(newest["access_token"])


async def test_a_session_ends_thirty_days_after_its_login_however_often_it_is_refreshed(world: World, member: Person) -> None:
    world.clock.forward(days=29)
    fresh = (await world.refresh(member.refresh_token)).json()
    assert await world.is_alive(fresh["access_token"])
    world.clock.forward(days=1)
    assert not await world.is_alive(fresh["access_token"])
    assert (await world.refresh(fresh["refresh_token"])).status_code == 401


async def test_what_is_no_refresh_token_is_refused_in_the_same_words(world: World, member: Person) -> None:
    details = set()
    await world.call("POST", "/api/v1/auth/logout", json={"refresh_token": member.refresh_token})
    for token in ("nonsense", "", "é" * 50, "a\x00b", member.refresh_token, member.tokens["access_token"][:256]):
        answer = await world.refresh(token)
        assert answer.status_code == 401, token
        details.add(answer.json()["detail"])
    assert len(details) == 1


async def test_a_logout_ends_its_session_alone_whichever_of_its_tokens_is_sent(world: World, member: Person) -> None:
    other = (await world.try_login(member.name)).json()
    newest = (await world.refresh(member.refresh_token)).json()
    for token in (member.refresh_token, member.refresh_token, "nonsense"):
        answer = await world.call("POST", "/api/v1/auth/logout", json={"refresh_token": token})
        assert (answer.status_code, answer.content) == (204, b"")
    assert not await world.is_alive(newest["access_token"])
    assert (await world.refresh(newest["refresh_token"])).status_code == 401
    assert await world.is_alive(other["access_token"])


async def test_logout_all_ends_every_session_of_the_user_and_no_key(world: World, member: Person) -> None:
    stranger = await world.member()
    others: list[dict[str, Any]] = [(await world.try_login(member.name)).json() for _ in range(2)]
    key = await world.create_key(member)
    assert (await world.call("POST", "/api/v1/auth/logout-all", member.principal)).status_code == 204
    for tokens in (member.tokens, *others):
        assert not await world.is_alive(tokens["access_token"])
        assert (await world.refresh(tokens["refresh_token"])).status_code == 401
    assert (await world.resolve_key(key["api_key"])).status_code == 200
    assert await world.is_alive(stranger.tokens["access_token"])
    assert (await world.try_login(member.name)).status_code == 200
