"""Another password by mail: for whoever reads the mail, once, and telling nobody who has an account."""

import asyncio
import re
from collections.abc import AsyncIterator
from email.message import EmailMessage

import pytest
from pydantic import SecretStr

from shared.ids import new_id
from shared.roles import DatabaseUrls
from shared.scopes import SCOPES
from tests.auth.auth_store import audit_events, everything_stored
from tests.auth.auth_world import PASSWORD, Person, World, new_ip, running_world, settings_of
from tests.auth.test_auth_throttling import guess, statements
from tests.support.poll import until
from tests.support.smtp import SmtpServer, smtp_server

NEW = "another horse battery"
RESET = "Choose a new password"


@pytest.fixture
async def server() -> AsyncIterator[SmtpServer]:
    async with smtp_server() as server:
        yield server


@pytest.fixture
async def world(own_database_url: str, nats_url: str, server: SmtpServer) -> AsyncIterator[World]:
    url = SecretStr(f"smtp://127.0.0.1:{server.port}?tls=none")
    more = {"mail_url": url, "reset_url": "https://app.example.com/reset"}
    async with running_world(settings_of(own_database_url, nats_url, **more)) as world:
        yield world


async def mails(server: SmtpServer, address: str, subject: str, count: int = 1) -> list[EmailMessage]:
    """Once there are so many."""

    async def found() -> list[EmailMessage]:
        some = [message for message in server.to(address) if message["Subject"] == subject]
        return some if len(some) >= count else []

    return await until(found, what=f"{count} mails: {subject}")


async def ask(world: World, email: str) -> None:
    answer = await world.call("POST", "/api/v1/auth/password/forgot", json={"email": email})
    assert (answer.status_code, answer.json()) == (202, {"detail": "if a user has this address, a mail is on its way"})


async def token_by_mail(world: World, server: SmtpServer, person: Person, count: int = 1) -> str:
    await ask(world, person.email)
    message = (await mails(server, person.email, RESET, count))[-1]
    found = re.search(r"https://app\.example\.com/reset#([\w-]{43})\s", message.get_content())
    assert found is not None
    return found[1]


async def reset(world: World, token: str, password: str = NEW, *, client_ip: str = "") -> tuple[int, str]:
    body = {"token": token, "new_password": password}
    answer = await world.call("POST", "/api/v1/auth/password/reset", client_ip=client_ip, json=body)
    return answer.status_code, answer.json()["detail"] if answer.content else ""


async def test_a_token_gives_a_new_password_and_ends_every_session(world: World, server: SmtpServer) -> None:
    member = await world.member()
    key = await world.create_key(member)
    token = await token_by_mail(world, server, member)
    assert await reset(world, token) == (204, "")
    assert not await world.is_alive(member.tokens["access_token"])
    assert (await world.refresh(member.refresh_token)).status_code == 401
    assert (await world.resolve_key(key["api_key"])).status_code == 200
    assert (await world.try_login(member.name, PASSWORD)).status_code == 401
    assert (await world.try_login(member.name, NEW)).status_code == 200
    assert len(await mails(server, member.email, "Your password was changed")) == 1


async def test_what_is_no_good_token_is_refused_in_the_same_words(world: World, server: SmtpServer) -> None:
    used, expired = await world.register(), await world.register()
    tokens = [await token_by_mail(world, server, person) for person in (used, expired)]
    assert (await reset(world, tokens[0]))[0] == 204
    world.clock.forward(minutes=30)
    answers = {await reset(world, token) for token in (*tokens, "nonsense", "", "é\x00", tokens[0][:-1], "x" * 256)}
    assert len(answers) == 1
    assert answers.pop()[0] == 401
    assert (await world.try_login(expired.name)).status_code == 200


async def test_an_unfit_password_is_a_422_and_spends_no_token(world: World, server: SmtpServer) -> None:
    person = await world.register()
    token = await token_by_mail(world, server, person)
    for unfit in ("short", "password", "x" * 300):
        assert (await reset(world, token, unfit))[0] == 422
        assert (await reset(world, "nonsense", unfit))[0] == 422
    assert (await reset(world, token))[0] == 204


async def test_of_ten_uses_at_once_one_counts(world: World, server: SmtpServer) -> None:
    person = await world.register()
    token = await token_by_mail(world, server, person)
    passwords = [f"a new password {number}" for number in range(10)]
    answers = await asyncio.gather(*(reset(world, token, password) for password in passwords))
    assert sorted(status for status, _ in answers) == [204] + [401] * 9
    winner = next(password for password, (status, _) in zip(passwords, answers, strict=True) if status == 204)
    assert (await world.try_login(person.name, winner)).status_code == 200


async def test_a_password_or_address_changed_meanwhile_makes_a_token_worthless(world: World, server: SmtpServer) -> None:
    first, second = await world.register(), await world.register()
    tokens = [await token_by_mail(world, server, person) for person in (first, second)]
    change = {"current_password": PASSWORD, "new_password": "yet another horse"}
    assert (await world.call("POST", "/api/v1/auth/password", first.principal, json=change)).status_code == 204
    move = {"current_password": PASSWORD, "email": f"new-{second.email}"}
    assert (await world.call("PATCH", "/api/v1/auth/me", second.principal, json=move)).status_code == 200
    assert [(await reset(world, token))[0] for token in tokens] == [401, 401]


async def test_asking_often_sends_one_mail_in_a_quarter_of_an_hour(world: World, server: SmtpServer) -> None:
    person, other = await world.register(), await world.register()
    await asyncio.gather(*(ask(world, person.email.upper()) for _ in range(8)))
    await mails(server, person.email, RESET)
    world.clock.forward(minutes=14)
    await ask(world, person.email)
    await token_by_mail(world, server, other)
    assert len(server.to(person.email)) == 1
    world.clock.forward(minutes=1)
    assert (await reset(world, await token_by_mail(world, server, person, count=2)))[0] == 204


async def test_nobody_and_the_disabled_are_sent_nothing_and_the_answer_is_the_same(world: World, server: SmtpServer) -> None:
    disabled, closed, last = await world.register(), await world.register(), await world.register()
    admin = last.principal.model_copy(update={"roles": ("admin",), "scopes": SCOPES})
    for what in (f"users/{disabled.id}", f"tenants/{closed.tenant_id}"):
        assert (await world.call("PATCH", f"/api/v1/admin/{what}", admin, json={"is_active": False})).status_code == 200
    sent = []
    for email in (last.email, f"nobody-{new_id().hex}@example.com", disabled.email, closed.email):
        with statements() as these:
            await ask(world, email)
        sent.append(these)
    assert sent[0] == sent[1] == sent[2] == sent[3] != [], "the same work, whoever it is"
    await token_by_mail(world, server, last)
    assert {taken.to for taken in server.taken} == {last.email}


async def test_a_token_of_a_tenant_that_was_disabled_since_is_refused(world: World, server: SmtpServer) -> None:
    person, other = await world.register(), await world.register()
    token = await token_by_mail(world, server, person)
    admin = other.principal.model_copy(update={"roles": ("admin",), "scopes": SCOPES})
    await world.call("PATCH", f"/api/v1/admin/tenants/{person.tenant_id}", admin, json={"is_active": False})
    assert (await reset(world, token))[0] == 401


async def test_a_reset_ends_the_wait_after_failed_logins_and_makes_the_network_known(world: World, server: SmtpServer) -> None:
    member = await world.member()
    away = new_ip()
    await guess(world, member.name, 5, client_ip=away)
    for _ in range(14):
        await guess(world, member.name, 1, client_ip=new_ip())
    assert (await world.try_login(member.name, client_ip=away)).status_code == 429
    token = await token_by_mail(world, server, member)
    assert (await reset(world, token, client_ip=away))[0] == 204
    assert (await world.try_login(member.name, NEW, client_ip=away)).status_code == 200
    for _ in range(14):
        await guess(world, member.name, 1, client_ip=new_ip())
    assert (await world.try_login(member.name, NEW, client_ip=away)).status_code == 200


async def test_a_reset_is_in_the_trail(world: World, server: SmtpServer, own_urls: DatabaseUrls) -> None:
    member = await world.member()
    assert (await reset(world, await token_by_mail(world, server, member)))[0] == 204
    assert (await audit_events(own_urls.admin, member.id))[-2:] == [("user", "password_reset"), ("session", "revoked")]


async def test_asking_is_bounded_by_address(own_database_url: str, nats_url: str) -> None:
    async with running_world(settings_of(own_database_url, nats_url, ip_registrations_per_minute=2)) as world:
        for _ in range(3):
            await ask(world, f"nobody-{new_id().hex}@example.com")
        answer = await world.call("POST", "/api/v1/auth/password/forgot", json={"email": "a@example.com"})
        assert (answer.status_code, answer.json()["violated-policies"]) == (429, ["ip"])


async def test_no_token_is_kept(world: World, server: SmtpServer, own_urls: DatabaseUrls) -> None:
    person = await world.register()
    token = await token_by_mail(world, server, person)
    assert token not in await everything_stored(own_urls.admin)


# ----- what wants a session


async def test_a_key_changes_neither_the_password_nor_the_address(world: World) -> None:
    member = await world.member()
    with_key = member.principal.model_copy(update={"session_id": None, "key_id": str(new_id())})
    change = {"current_password": PASSWORD, "new_password": NEW}
    assert (await world.call("POST", "/api/v1/auth/password", with_key, json=change)).status_code == 403
    move = {"current_password": PASSWORD, "email": f"new-{member.email}"}
    assert (await world.call("PATCH", "/api/v1/auth/me", with_key, json=move)).status_code == 403
    assert (await world.call("GET", "/api/v1/auth/me", with_key)).json()["email"] == member.email


async def test_the_address_before_is_told_of_the_new_one(world: World, server: SmtpServer) -> None:
    member = await world.member()
    wrong = {"current_password": "not the password", "email": f"new-{member.email}"}
    assert (await world.call("PATCH", "/api/v1/auth/me", member.principal, json=wrong)).status_code == 403
    same = {"current_password": PASSWORD, "email": member.email}
    assert (await world.call("PATCH", "/api/v1/auth/me", member.principal, json=same)).status_code == 200
    right = wrong | {"current_password": PASSWORD}
    assert (await world.call("PATCH", "/api/v1/auth/me", member.principal, json=right)).status_code == 200
    (notice,) = await mails(server, member.email, "Your e-mail address was changed")
    assert f"new-{member.email}" not in notice.get_content()
    assert server.to(f"new-{member.email}") == []


async def test_a_changed_password_is_told(world: World, server: SmtpServer) -> None:
    member = await world.member()
    change = {"current_password": PASSWORD, "new_password": NEW}
    assert (await world.call("POST", "/api/v1/auth/password", member.principal, json=change)).status_code == 204
    await mails(server, member.email, "Your password was changed")
