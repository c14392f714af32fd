"""The audit trail as an administrator reads it: pages, filters, export, the signed head."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from auth_service.adapters.heads import HeadVerifier
from auth_service.domain.chain import parse_head
from auth_service.domain.ports import AuditFilter
from shared.ids import new_id
from shared.principal import Principal
from shared.roles import DatabaseUrls
from tests.auth.auth_store import NOW
from tests.auth.auth_world import PASSWORD, Person, World, running_world, settings_of
from tests.support.poll import until
from tests.support.principals import user

PATH = "/api/v1/admin/audit"


@pytest.fixture
def admin() -> Principal:
    return user("enterprise", roles=("admin",))


@pytest.fixture
async def alone(own_database_url: str, nats_url: str) -> AsyncIterator[World]:
    async with running_world(settings_of(own_database_url, nats_url)) as world:
        yield world


async def events(world: World, admin: Principal, at_least: int, **query: Any) -> list[dict[str, Any]]:
    """What is listed, oldest first, once so many are."""

    async def listed() -> list[dict[str, Any]]:
        answer = await world.call("GET", PATH, admin, params={"limit": 100, **query})
        assert answer.status_code == 200, answer.text
        data: list[dict[str, Any]] = answer.json()["data"]
        return data[::-1] if len(data) >= at_least else []

    return await until(listed, what=f"{at_least} events")


async def test_an_event_says_who_did_what_from_where_and_what_changed(world: World, admin: Principal, member: Person) -> None:
    answer = await world.call("PATCH", f"/api/v1/admin/users/{member.id}", admin, json={"tier": "pro"})
    *_, event = await events(world, admin, 4, user_id=member.id)
    assert {name: event[name] for name in ("noun", "event", "actor", "client_ip", "request_id", "user_id", "tenant_id")} == {
        "noun": "user",
        "event": "updated",
        "actor": admin.user_id,
        "client_ip": world.client_ip,
        "request_id": answer.headers["x-request-id"],
        "user_id": str(member.id),
        "tenant_id": str(member.tenant_id),
    }
    assert (event["before"], event["after"], event["details"]) == ({"tier": "free"}, {"tier": "pro"}, {})


async def test_what_is_new_is_told_whole_but_for_its_secrets(world: World, admin: Principal, member: Person) -> None:
    key = await world.create_key(member, name="laptop")
    tenant, user, session, created = await events(world, admin, 4, user_id=member.id)
    assert [one["before"] for one in (tenant, user, session, created)] == [None] * 4
    assert tenant["after"]["name"] == member.name
    assert (user["after"]["username"], user["after"]["email"], user["after"]["roles"]) == (member.name, member.email, [])
    assert (created["key_id"], created["after"]["name"], created["after"]["revoked_at"]) == (key["id"], "laptop", None)
    text = json.dumps([tenant, user, session, created])
    assert not [word for word in ("password_hash", "sha256", "$argon2", PASSWORD, key["api_key"]) if word in text]


async def test_pages_are_newest_first_and_end(alone: World, admin: Principal) -> None:
    person = await alone.register()
    for _ in range(5):
        await alone.create_key(person)
    whole = await events(alone, admin, 7)
    assert [event["seq"] for event in whole] == list(range(1, 8))
    pages: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 3}
    for _ in range(3):
        page = (await alone.call("GET", PATH, admin, params=query)).json()
        pages += page["data"]
        query["cursor"] = page["next_cursor"]
    assert pages == whole[::-1]
    assert query["cursor"] is None


async def test_each_filter_leaves_what_it_names(alone: World, admin: Principal) -> None:
    first, other = await alone.register(), await alone.register()
    alone.clock.forward(hours=1)
    key = await alone.create_key(first)
    deleted = await alone.call("DELETE", f"/api/v1/auth/api-keys/{key['id']}", first.principal)
    await events(alone, admin, 6)

    async def kinds_of(**query: Any) -> list[str]:
        page = (await alone.call("GET", PATH, admin, params=query)).json()
        return [f"{event['noun']}.{event['event']}" for event in page["data"][::-1]]

    registered = ["tenant.created", "user.registered"]
    keys = ["key.created", "key.revoked"]
    later = (alone.clock.now - timedelta(minutes=1)).isoformat()
    assert await kinds_of(user_id=first.id) == registered + keys
    assert await kinds_of(tenant_id=other.tenant_id) == registered
    assert await kinds_of(actor=first.id) == keys
    assert await kinds_of(noun="key") == keys
    assert await kinds_of(noun="key", event="revoked") == ["key.revoked"]
    assert await kinds_of(**{"from": later}) == keys
    assert await kinds_of(to=later) == registered * 2
    assert await kinds_of(request_id=deleted.headers["x-request-id"]) == ["key.revoked"]
    assert await kinds_of(user_id=other.id, noun="key") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"event": "created"}, "event"),
        ({"user_id": "nobody"}, "user_id"),
        ({"from": "2026-11-25T00:00:00"}, "from"),
        ({"noun": "\x00"}, "noun"),
        ({"noun": "x" * 129}, "noun"),
        ({"cursor": str(1 << 63)}, "cursor"),
        ({"cursor": "-1"}, "cursor"),
        ({"limit": "101"}, "limit"),
        ({"nouns": "key"}, "nouns"),
    ],
)
async def test_an_unfit_question_is_refused_by_field(world: World, admin: Principal, query: dict[str, str], field: str) -> None:
    answer = await world.call("GET", PATH, admin, params=query)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["query", field]


async def test_only_the_role_admin_may_read_it(world: World, member: Person) -> None:
    for path in (PATH, f"{PATH}/export", f"{PATH}/head"):
        assert (await world.call("GET", path, member.principal)).status_code == 403
        assert (await world.call("GET", path)).status_code == 401


async def test_the_export_is_every_event_a_line_oldest_first(
    alone: World, admin: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auth_service.domain.trail._BATCH", 3)
    for _ in range(3):
        await alone.register()
    listed = await events(alone, admin, 6)
    answer = await alone.call("GET", f"{PATH}/export", admin)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["seq"] for line in lines] == [event["seq"] for event in listed]
    assert [line["hash"] for line in lines] == [event["hash"] for event in listed]
    rest = await alone.call("GET", f"{PATH}/export", admin, params={"cursor": 4, "noun": "user"})
    assert [json.loads(line)["seq"] for line in rest.text.splitlines()] == [6]
    nothing = await alone.call("GET", f"{PATH}/export", admin, params={"cursor": 6})
    assert (nothing.status_code, nothing.text) == (200, "")


async def test_the_head_can_be_verified_with_its_key(alone: World, admin: Principal) -> None:
    assert (await alone.call("GET", f"{PATH}/head", admin)).status_code == 404
    await alone.register()

    async def signed() -> dict[str, Any] | None:
        answer = await alone.call("GET", f"{PATH}/head", admin)
        return dict(answer.json()) if answer.status_code == 200 else None

    told = await until(signed, what="the first head")
    assert told is not None
    head = parse_head(json.dumps(told))
    (event,) = [one for one in await events(alone, admin, 2) if one["seq"] == head.link.seq]
    assert event["hash"] == told["hash"]
    assert HeadVerifier([told["public_key"]]).is_genuine(head)


FILTERS = {
    "audit_event_of_user": AuditFilter(user_id=new_id()),
    "audit_event_of_tenant": AuditFilter(tenant_id=new_id()),
    "audit_event_of_actor": AuditFilter(actor="somebody"),
    "audit_event_of_kind": AuditFilter(noun="key", event="revoked"),
    "audit_event_of_request": AuditFilter(request_id="a request"),
    "audit_event_by_time": AuditFilter(since=NOW, until=NOW + timedelta(hours=1)),
    "audit_event_seq_key": AuditFilter(),
}


@pytest.mark.parametrize("index", FILTERS)
async def test_each_filter_has_its_index(own_urls: DatabaseUrls, index: str) -> None:
    """With 20,000 events of 200 users over 200 days: the plans are those that Postgres prefers."""
    connection = await asyncpg.connect(own_urls.admin)
    await connection.execute(
        """
        INSERT INTO auth.audit_event
            (id, occurred_at, noun, event, actor, request_id, details, user_id, tenant_id, seq, hash)
        SELECT gen_random_uuid(), $1::timestamptz - interval '200 days' + n * interval '864 seconds',
            CASE WHEN n % 500 = 0 THEN 'key' ELSE 'session' END, 'revoked', (n % 200)::text, n::text, '{}',
            md5((n % 200)::text)::uuid, md5((n % 200)::text)::uuid, n, sha256(n::text::bytea)
        FROM generate_series(1, 20000) AS n
        """,
        NOW,
    )
    await connection.execute("ANALYZE auth.audit_event")
    await connection.execute(
        """
        LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;
        SET client_min_messages = log
        """
    )
    plans: list[str] = []
    connection.add_log_listener(lambda _, message: plans.append(str(message)))
    asked = FILTERS[index]
    await connection.fetch(
        "SELECT seq FROM auth.audit_page($1, $2, $3, $4, $5, $6, $7, $8, 0, 9223372036854775807, false, 50)",
        *(asked.user_id, asked.tenant_id, asked.actor, asked.noun, asked.event, asked.since, asked.until, asked.request_id),
    )
    await connection.close()
    (plan,) = [plan for plan in plans if "FROM auth.audit_event" in plan]
    assert index in plan
    assert "Seq Scan" not in plan
