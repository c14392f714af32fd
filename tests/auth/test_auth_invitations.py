"""Invitations into a tenant: by mail, once, for the address they were sent to, before or after registering."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from auth_service.domain.invitations import MOST_INVITATIONS
from auth_service.domain.recipients import mailbox_of
from shared.ids import new_id
from shared.roles import DatabaseUrls
from tests.auth.auth_store import everything_stored
from tests.auth.auth_world import PASSWORD, Person, World, administrator, running_world, settings_of
from tests.auth.tenancy import organisation, there, with_member
from tests.auth.test_auth_rebuild import found
from tests.support.poll import until
from tests.support.smtp import SmtpServer, smtp_server

INVITATIONS = "/api/v1/tenant/invitations"
ACCEPT = f"{INVITATIONS}/accept"
REFUSED = (404, "this invitation is not valid (any more), or was sent to another address")


@pytest.fixture
async def server() -> AsyncIterator[SmtpServer]:
    async with smtp_server() as server:
        yield server


@pytest.fixture
async def world(own_database_url: str, nats_url: str, server: SmtpServer) -> AsyncIterator[World]:
    more = {"mail_url": SecretStr(f"smtp://127.0.0.1:{server.port}?tls=none"), "invite_url": "https://app.example.com/join"}
    async with running_world(settings_of(own_database_url, nats_url, **more)) as world:
        yield world


async def invite(world: World, by: Person, email: str, role: str = "member") -> httpx.Response:
    return await world.call("POST", INVITATIONS, by.principal, json={"email": email, "role": role})


async def invited(world: World, server: SmtpServer, by: Person, email: str, role: str = "member") -> str:
    """The token, as the mail has it."""
    before = tokens_to(server, email)
    answer = await invite(world, by, email, role)
    assert answer.status_code == 201, answer.text

    async def another() -> list[str]:
        return tokens_to(server, email)[len(before) :]

    (token,) = await until(another, what="the invitation")
    return token


def tokens_to(server: SmtpServer, email: str) -> list[str]:
    texts = [mail.get_content() for mail in server.to(email) if "invited" in str(mail["Subject"])]
    return [match[1] for text in texts if (match := re.search(r"https://app\.example\.com/join#([\w-]{43})\s", text))]


async def accept(world: World, person: Person, token: str) -> tuple[int, Any]:
    answer = await world.call("POST", ACCEPT, person.principal, json={"token": token})
    document = answer.json()
    return answer.status_code, document if answer.status_code == 200 else document["detail"]


async def register(world: World, email: str, token: str) -> httpx.Response:
    body = {"username": f"u{new_id().hex[8:]}", "email": email, "password": PASSWORD, "invitation": token}
    return await world.call("POST", "/api/v1/auth/register", json=body)


async def roles(world: World, person: Person) -> dict[str, str]:
    answer = await world.call("GET", "/api/v1/tenant/members", person.principal)
    return {one["id"]: one["tenant_role"] for one in answer.json()["data"]}


async def test_who_has_an_account_accepts_and_moves(world: World, server: SmtpServer) -> None:
    owner, person = await organisation(world, tier="premium"), await world.member()
    key = (await world.create_key(person))["api_key"]
    token = await invited(world, server, owner, person.email, "admin")
    status, tenant = await accept(world, person, token)
    assert (status, tenant["id"], tenant["tenant_role"]) == (200, str(owner.tenant_id), "admin")
    assert await roles(world, owner) == {str(owner.id): "owner", str(person.id): "admin"}
    assert (await world.resolve_key(key)).json()["tier"] == "premium"
    assert await accept(world, there(person, owner.tenant_id), token) == REFUSED, "once"


async def test_who_has_none_registers_into_the_tenant(world: World, server: SmtpServer) -> None:
    owner, email = await organisation(world), f"{new_id().hex}@example.com"
    token = await invited(world, server, owner, email)
    answer = await register(world, email.upper().replace("EXAMPLE.COM", "example.com"), token)
    assert (answer.status_code, answer.json()["tenant_id"], answer.json()["tier"]) == (201, str(owner.tenant_id), "free")
    assert (await roles(world, owner))[answer.json()["id"]] == "member"
    again = await register(world, f"x{email}", token)
    assert (again.status_code, again.json()["detail"]) == REFUSED


async def test_a_mail_says_into_what_the_token_is_not_stored_and_the_trail_tells_all_of_it(
    world: World, server: SmtpServer, own_urls: DatabaseUrls
) -> None:
    owner, person, email = await organisation(world, name="Engines"), await world.member(), f"{new_id().hex}@example.com"
    token = await invited(world, server, owner, email)
    (mail,) = server.to(email)
    assert "“Engines” as member" in mail.get_content()
    assert token not in await everything_stored(own_urls.admin)
    await register(world, email, token)
    await accept(world, person, await invited(world, server, owner, person.email))
    assert len(await roles(world, owner)) == 3
    assert await found(own_urls.app) == []


async def test_it_is_for_its_address_alone(world: World, server: SmtpServer) -> None:
    owner, person, other = await organisation(world), await world.member(), await world.member()
    token = await invited(world, server, owner, person.email)
    assert await accept(world, other, token) == REFUSED
    answer = await register(world, f"{new_id().hex}@example.com", token)
    assert (answer.status_code, answer.json()["detail"]) == REFUSED
    assert (await accept(world, person, token))[0] == 200, "what was refused has not used it"


async def test_what_is_no_invitation_is_refused(world: World, server: SmtpServer) -> None:
    owner, person = await organisation(world), await world.member()
    token = await invited(world, server, owner, person.email)
    for wrong in ("", "x", token[:-1], f"{token}x", "\x00", "é"):
        assert await accept(world, person, wrong) == REFUSED
        assert (await register(world, "a@example.com", wrong)).status_code == 404
    assert (await world.call("POST", ACCEPT, person.principal, json={"token": "x" * 257})).status_code == 422


async def test_it_ends_after_a_week(world: World, server: SmtpServer) -> None:
    owner, person = await organisation(world), await world.member()
    token = await invited(world, server, owner, person.email)
    world.clock.forward(days=7)
    assert await accept(world, person, token) == REFUSED


async def test_a_later_one_to_the_same_address_ends_those_before(world: World, server: SmtpServer) -> None:
    owner, person = await organisation(world), await world.member()
    first = await invited(world, server, owner, person.email)
    second = await invited(world, server, owner, person.email.upper().replace("EXAMPLE.COM", "example.com"))
    assert await accept(world, person, first) == REFUSED
    assert (await accept(world, person, second))[0] == 200


async def test_it_can_be_taken_back_by_its_own_tenant(world: World, server: SmtpServer) -> None:
    owner, stranger, person = await organisation(world), await organisation(world), await world.member()
    token = await invited(world, server, owner, person.email)
    answer = await invite(world, owner, person.email)
    path = f"{INVITATIONS}/{answer.json()['id']}"
    assert (await world.call("DELETE", path, stranger.principal)).status_code == 404
    assert (await world.call("DELETE", path, (await with_member(world, owner)).principal)).status_code == 403
    assert (await world.call("DELETE", path, owner.principal)).status_code == 204
    assert (await world.call("DELETE", path, owner.principal)).status_code == 404
    assert await accept(world, person, token) == REFUSED


async def test_owners_and_admins_see_who_is_invited_and_has_not_come_yet(world: World, server: SmtpServer) -> None:
    owner, person = await organisation(world), await world.member()
    admin, member = await with_member(world, owner, "admin"), await with_member(world, owner)
    other = await organisation(world)
    await invite(world, other, "theirs@example.com")
    await invite(world, owner, "expired@example.com")
    world.clock.forward(days=7)
    token = await invited(world, server, owner, person.email)
    await accept(world, person, token)
    emails = ("again@example.com", "again@example.com", "taken.back@example.com", "open@example.com")
    *_, back, last = [(await invite(world, owner, email)).json() for email in emails]
    await world.call("DELETE", f"{INVITATIONS}/{back['id']}", owner.principal)

    async def page(by: Person, query: str = "") -> Any:
        answer = await world.call("GET", f"{INVITATIONS}{query}", by.principal)
        return answer.json() if answer.status_code == 200 else answer.status_code

    shown = await page(owner)
    assert [one["email"] for one in shown["data"]] == ["open@example.com", "again@example.com"]
    assert shown["data"][0] == last
    assert await page(admin) == shown
    assert await page(member) == 403
    first = await page(owner, "?limit=1")
    rest = await page(owner, f"?limit=1&cursor={first['next_cursor']}")
    assert (first["data"] + rest["data"], rest["next_cursor"]) == (shown["data"], None)


async def test_of_many_who_use_it_at_once_it_is_used_once(world: World, server: SmtpServer) -> None:
    owner, email = await organisation(world), f"{new_id().hex}@example.com"
    token = await invited(world, server, owner, email)
    answers = await asyncio.gather(*(register(world, email, token) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers)[:1] == [201]
    assert {answer.status_code for answer in answers} <= {201, 404, 409}
    assert len(await roles(world, owner)) == 2


async def test_who_may_invite_whom(world: World) -> None:
    owner = await organisation(world)
    member, admin = await with_member(world, owner), await with_member(world, owner, "admin")
    for by, role, status in (
        (member, "member", 403),
        (admin, "member", 201),
        (admin, "admin", 201),
        (admin, "owner", 403),
        (owner, "owner", 201),
    ):
        assert (await invite(world, by, "somebody@example.com", role)).status_code == status


async def test_a_tenant_invites_so_many_in_a_week(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_INVITATIONS == 100
    monkeypatch.setattr("auth_service.domain.invitations.MOST_INVITATIONS", 2)
    owner = await organisation(world)
    statuses = [(await invite(world, owner, f"a{number}@example.com")).status_code for number in range(3)]
    assert statuses == [201, 201, 409]
    world.clock.forward(days=7)
    assert (await invite(world, owner, "later@example.com")).status_code == 201


async def test_an_organisations_last_owner_and_a_member_cannot_accept(world: World, server: SmtpServer) -> None:
    owner, other = await organisation(world), await organisation(world)
    await with_member(world, other)
    token = await invited(world, server, owner, other.email)
    assert (await accept(world, other, token))[0] == 409
    assert len(await roles(world, other)) == 2, "nothing was done"
    own = await invited(world, server, owner, owner.email)
    assert (await accept(world, owner, own))[0] == 409


async def test_nobody_comes_into_a_disabled_tenant(world: World, server: SmtpServer) -> None:
    owner, person, email = await organisation(world), await world.member(), f"{new_id().hex}@example.com"
    tokens = [await invited(world, server, owner, one) for one in (person.email, email)]
    path = f"/api/v1/admin/tenants/{owner.tenant_id}"
    await world.call("PATCH", path, administrator(), json={"is_active": False})
    assert await accept(world, person, tokens[0]) == REFUSED
    assert (await register(world, email, tokens[1])).status_code == 404


async def test_an_api_key_accepts_nothing_and_lets_nobody_in(world: World, server: SmtpServer) -> None:
    """It would be a way to rights that outlive the key, from any address and to all that an owner may."""
    owner, person = await organisation(world), await world.member()
    member = await with_member(world, owner)
    token = await invited(world, server, owner, person.email)
    for who, method, path, body in (
        (person, "POST", ACCEPT, {"token": token}),
        (owner, "POST", INVITATIONS, {"email": person.email, "role": "owner"}),
        (owner, "PATCH", f"/api/v1/tenant/members/{member.id}", {"role": "owner"}),
    ):
        with_key = who.principal.model_copy(update={"session_id": None, "key_id": str(new_id())})
        assert (await world.call(method, path, with_key, json=body)).status_code == 403, path
    assert await roles(world, owner) == {str(owner.id): "owner", str(member.id): "member"}


# ----- how often an address is invited


async def test_a_tenant_invites_an_address_three_times_a_day_and_others_may_go_on(world: World) -> None:
    owner, other, email = await organisation(world), await organisation(world), f"{new_id().hex}@example.com"
    assert [(await invite(world, owner, email)).status_code for _ in range(3)] == [201] * 3
    world.clock.forward(hours=1)
    refused = await invite(world, owner, email)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, str(23 * 3600))
    assert refused.json()["violated-policies"] == ["recipient"]
    assert (await invite(world, owner, f"x{email}")).status_code == 201
    assert (await invite(world, other, email)).status_code == 201
    world.clock.forward(hours=23)
    assert (await invite(world, owner, email)).status_code == 201


async def test_all_tenants_together_invite_an_address_five_times_a_day(world: World, server: SmtpServer) -> None:
    email = f"{new_id().hex}@example.com"
    owners = [await organisation(world) for _ in range(7)]
    statuses = [(await invite(world, owner, email)).status_code for owner in owners]
    assert statuses == [201] * 5 + [429] * 2

    async def delivered() -> bool:
        return len(server.to(email)) == 5

    await until(delivered, what="five mails")
    world.clock.forward(days=1)
    assert (await invite(world, owners[6], email)).status_code == 201


async def test_one_that_was_refused_leaves_what_was_sent_before(world: World, server: SmtpServer) -> None:
    owner, person = await organisation(world), await world.member()
    *_, token = [await invited(world, server, owner, person.email) for _ in range(3)]
    assert (await invite(world, owner, person.email)).status_code == 429
    assert (await accept(world, person, token))[0] == 200


async def test_taking_one_back_does_not_unsend_it(world: World) -> None:
    owner, email = await organisation(world), f"{new_id().hex}@example.com"
    for _ in range(3):
        answer = await invite(world, owner, email)
        await world.call("DELETE", f"{INVITATIONS}/{answer.json()['id']}", owner.principal)
    assert (await invite(world, owner, email)).status_code == 429


async def test_addresses_of_one_mailbox_are_counted_together(world: World) -> None:
    name = new_id().hex
    owners = [await organisation(world) for _ in range(3)]
    spelt = [f"{name}@example.com", f"{name.upper()}@example.com", f"{name}+a@example.com", f"{name[:3]}.{name[3:]}@example.com"]
    statuses = [
        (await invite(world, owners[n % 3], email)).status_code for n, email in enumerate([*spelt, f"{name}+b+c@EXAMPLE.com"])
    ]
    assert statuses == [201] * 5
    assert (await invite(world, owners[2], f"{name}+another@example.com")).status_code == 429
    assert (await invite(world, owners[2], f"{name}@example.org")).status_code == 201


async def test_invitations_by_many_tenants_at_once_are_counted_one_by_one(world: World) -> None:
    email, owners = f"{new_id().hex}@example.com", [await organisation(world) for _ in range(8)]
    answers = await asyncio.gather(*(invite(world, owner, email) for owner in owners))
    assert sorted(answer.status_code for answer in answers) == [201] * 5 + [429] * 3


async def test_who_may_not_invite_uses_nothing_up(world: World) -> None:
    owner, email = await organisation(world), f"{new_id().hex}@example.com"
    member = await with_member(world, owner)
    assert {(await invite(world, member, email)).status_code for _ in range(6)} == {403}
    assert (await invite(world, owner, email)).status_code == 201


@pytest.mark.parametrize(
    ("address", "mailbox"),
    [
        ("Ada.Lovelace+news@Example.com", "adalovelace@example.com"),
        ("+ada@example.com", "+ada@example.com"),
        ("a+b+c@example.com", "a@example.com"),
        ("josé@bücher.example", "josé@bücher.example"),
    ],
)
def test_a_mailbox_is_what_most_servers_take_an_address_for(address: str, mailbox: str) -> None:
    assert mailbox_of(address) == mailbox
