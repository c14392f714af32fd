"""Every change leaves as one fact, in order, also when nobody took it at first; and no fact holds a secret."""

import json
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from auth_service.adapters.nats import AuthFacts
from auth_service.domain.chain import Link, Recorded, Sealed
from auth_service.seed import SeedUser, seed
from shared.clock import system_clock
from shared.events import DeliverPolicy, EventBus, Fact
from shared.ids import new_id
from shared.roles import DatabaseUrls
from shared.subjects import AUTH_STREAM
from tests.auth.auth_store import audit_event
from tests.auth.auth_world import PASSWORD, Person, World, running_world, settings_of
from tests.support.poll import until
from tests.support.principals import user


class Reader:
    """Reads the whole stream; the facts of other users are those of other tests."""

    def __init__(self, bus: EventBus) -> None:
        self.bus = bus
        self.seen: list[Fact] = []

    async def start(self) -> None:
        self.bus.follow(AUTH_STREAM, ["kalpi.auth.>"], self._take, on_gap=self._forget, deliver=DeliverPolicy.ALL)

    async def _take(self, fact: Fact) -> None:
        self.seen.append(fact)

    async def _forget(self) -> None:
        self.seen.clear()

    def of(self, user_id: UUID) -> list[Fact]:
        return [fact for fact in self.seen if fact.data.get("user_id") == str(user_id)]

    async def until_last_is(self, user_id: UUID, subject: str) -> list[Fact]:
        async def arrived() -> bool:
            facts = self.of(user_id)
            return bool(facts) and facts[-1].type == subject

        await until(arrived, what=subject)
        return self.of(user_id)


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[EventBus]:
    async with EventBus(nats_url, service="test", clock=system_clock, new_id=new_id) as bus:
        await AuthFacts(bus).declare()
        yield bus


@pytest.fixture
async def reader(bus: EventBus) -> Reader:
    reader = Reader(bus)
    await reader.start()
    return reader


def short(fact: Fact) -> str:
    return fact.type.removeprefix("kalpi.auth.").removesuffix(".v1")


async def a_life(world: World) -> tuple[Person, list[str]]:
    """A user to whom everything happens once, and the secrets they were given or gave."""
    member = await world.member()
    admin = user("pro", roles=("admin",))
    key = await world.create_key(member, name="laptop")
    secrets = [PASSWORD, member.refresh_token, member.tokens["access_token"], key["api_key"]]
    await world.call("PATCH", f"/api/v1/admin/users/{member.id}", admin, json={"tier": "pro", "is_active": True})
    await world.call("PATCH", f"/api/v1/admin/users/{member.id}", admin, json={"tier": "pro"})
    first = (await world.refresh(member.refresh_token)).json()
    second = (await world.refresh(first["refresh_token"])).json()
    await world.refresh(member.refresh_token)
    await world.try_login(member.name, "wrong-password-of-this-test")
    third = (await world.try_login(member.name)).json()
    await world.call("POST", "/api/v1/auth/logout", json={"refresh_token": third["refresh_token"]})
    await world.call("POST", "/api/v1/auth/logout", json={"refresh_token": third["refresh_token"]})
    fourth = (await world.try_login(member.name)).json()
    body = {"current_password": PASSWORD, "new_password": "another horse battery"}
    world.clock.forward(minutes=1)
    await world.call("POST", "/api/v1/auth/password", member.principal, json=body)
    await world.call("DELETE", f"/api/v1/auth/api-keys/{key['id']}", member.principal)
    for tokens in (first, second, third, fourth):
        secrets += [tokens["access_token"], tokens["refresh_token"]]
    return member, [*secrets, "another horse battery", "wrong-password-of-this-test"]


LIFE = [
    "tenant.created",
    "user.registered",
    "session.created",
    "key.created",
    "user.updated",
    "session.revoked",
    "session.created",
    "session.revoked",
    "session.created",
    "user.password_changed",
    "session.revoked",
    "key.revoked",
]


async def test_every_change_is_one_fact_in_order(world: World, reader: Reader) -> None:
    member, _ = await a_life(world)
    facts = await reader.until_last_is(member.id, "kalpi.auth.key.revoked.v1")
    assert [short(fact) for fact in facts] == LIFE
    assert len({fact.id for fact in facts}) == len(facts)
    assert {fact.data["tenant_id"] for fact in facts} == {str(member.tenant_id)}
    assert {short(fact): fact.data["changed"] for fact in facts if fact.data["changed"]} == {
        "user.updated": ["tier"],
        "session.revoked": ["revoked_at"],
        "user.password_changed": ["password_changed_at"],
        "key.revoked": ["revoked_at"],
    }
    assert [fact.data["event"] for fact in facts] == [short(fact).partition(".")[2] for fact in facts]
    seqs = [fact.data["seq"] for fact in facts]
    assert seqs == sorted(set(seqs))
    by_noun = {noun: [fact.data for fact in facts if short(fact).startswith(noun)] for noun in ("key", "session", "user")}
    assert len({data["key_id"] for data in by_noun["key"]}) == 1
    assert len({data["session_id"] for data in by_noun["session"]}) == 3
    assert all(set(data) == {"user_id", "tenant_id", "seq", "event", "changed"} for data in by_noun["user"])


async def test_logout_all_tells_of_every_session_it_ends(world: World, reader: Reader, member: Person) -> None:
    for _ in range(2):
        await world.try_login(member.name)
    await world.call("POST", "/api/v1/auth/logout-all", member.principal)
    await world.call("POST", "/api/v1/auth/logout-all", member.principal)
    await world.create_key(member)
    facts = await reader.until_last_is(member.id, "kalpi.auth.key.created.v1")
    made = [fact.data["session_id"] for fact in facts if short(fact) == "session.created"]
    ended = [fact.data["session_id"] for fact in facts if short(fact) == "session.revoked"]
    assert (len(made), sorted(made)) == (3, sorted(ended))


async def test_a_refused_change_is_no_fact(world: World, reader: Reader, member: Person) -> None:
    other = await world.register()
    await world.call("PATCH", "/api/v1/auth/me", member.principal, json={"email": other.email})
    await world.call("PATCH", "/api/v1/auth/me", member.principal, json={"email": member.email})
    await world.call("DELETE", f"/api/v1/auth/api-keys/{new_id()}", member.principal)
    await world.refresh(member.refresh_token)
    await world.create_key(member)
    facts = await reader.until_last_is(member.id, "kalpi.auth.key.created.v1")
    assert [short(fact) for fact in facts] == ["tenant.created", "user.registered", "session.created", "key.created"]


@pytest.fixture
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """The relay does not look by itself."""
    monkeypatch.setattr("auth_service.app._LOOK_S", 3600.0)


@pytest.mark.usefixtures("seldom")
async def test_facts_leave_at_once_and_not_at_the_next_look(world: World, reader: Reader) -> None:
    person = await world.register()
    for count in range(1, 11):
        await world.create_key(person)

        async def arrived(expected: int = count) -> bool:
            return len([fact for fact in reader.of(person.id) if short(fact) == "key.created"]) == expected

        await until(arrived, what=f"fact {count}")


async def test_no_secret_is_in_a_fact_or_in_the_database(
    world: World, reader: Reader, admin_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    member, secrets = await a_life(world)
    facts = await reader.until_last_is(member.id, "kalpi.auth.key.revoked.v1")
    told = json.dumps([fact.model_dump(mode="json") for fact in facts])
    connection = await asyncpg.connect(admin_url)
    stored = ""
    for table in ("user_account", "api_key", "session", "refresh_token", "throttle", "one_time_token", "audit_event"):
        stored += "\n".join(str(tuple(row)) for row in await connection.fetch(f"SELECT * FROM auth.{table}"))  # noqa: S608
    await connection.close()
    logged = capsys.readouterr()
    texts = {"facts": told, "rows": stored, "logs": logged.out + logged.err}
    assert len(set(secrets)) > 10
    assert {name: secret for name, text in texts.items() for secret in secrets if secret in text} == {}
    assert "$argon2" not in told + texts["logs"]


async def test_an_audit_row_says_who_did_it_from_where(world: World, member: Person, admin_url: str) -> None:
    admin = user("pro", roles=("admin",))
    answer = await world.call("PATCH", f"/api/v1/admin/users/{member.id}", admin, json={"tier": "pro"})
    connection = await asyncpg.connect(admin_url)
    rows = await connection.fetch("SELECT * FROM auth.audit_event WHERE user_id = $1 ORDER BY recorded", member.id)
    await connection.close()
    assert [row["actor"] for row in rows] == [None, None, None, admin.user_id]
    assert {row["client_ip"] for row in rows} == {world.client_ip}
    assert rows[-1]["request_id"] == answer.headers["x-request-id"]


async def test_what_was_written_while_no_relay_ran_is_told_in_order_once_one_does(
    own_urls: DatabaseUrls, nats_url: str, reader: Reader
) -> None:
    settings = settings_of(own_urls.app, nats_url)
    name = f"u{new_id().hex[8:]}"
    asked = SeedUser(
        username=name, email=f"{name}@example.com", password=PASSWORD, tier="pro", roles=(), key_name="", api_key=None
    )
    for _ in range(30):
        await seed(settings, [asked])
    async with running_world(settings) as world:
        answer = await world.try_login(name)
        user_id = UUID((await world.verified(answer.json()["access_token"]))["sub"])
        facts = await reader.until_last_is(user_id, "kalpi.auth.session.created.v1")
        rows = await until(lambda: all_published(own_urls.admin), what="the last row marked")
    assert [short(fact) for fact in facts] == ["tenant.created", "user.registered", *["key.created"] * 30, "session.created"]
    assert [row["id"] for row in rows] == [fact.id for fact in facts]
    assert [row["seq"] for row in rows] == list(range(1, 34)), "without a gap"


async def all_published(admin_url: str) -> list[asyncpg.Record]:
    """Every audit row in the order of writing; none while one is not marked as published."""
    connection = await asyncpg.connect(admin_url)
    rows: list[asyncpg.Record] = await connection.fetch("SELECT id, seq FROM auth.audit_event ORDER BY recorded")
    await connection.close()
    return rows if all(row["seq"] is not None for row in rows) else []


async def test_the_same_event_twice_is_one_fact(bus: EventBus, reader: Reader) -> None:
    user_id = new_id()
    first, last = (Sealed(Link(1, bytes(32)), Recorded(1, audit_event(user_id, name))) for name in ("registered", "updated"))
    facts = AuthFacts(bus)
    for row in (first, first, last):
        await facts.publish(row)
    told = await reader.until_last_is(user_id, "kalpi.auth.user.updated.v1")
    assert [fact.id for fact in told] == [first.event.id, last.event.id]
