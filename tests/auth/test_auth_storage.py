"""What the repositories promise the domain: bounded statements, and an index for each."""

import asyncio
import re
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, TypeVar

import asyncpg
import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from auth_service.adapters.argon2 import Argon2Hasher
from auth_service.adapters.postgres import PostgresDatabase, PostgresTransaction
from auth_service.api.dependencies import Services
from auth_service.app import _services, _tokens
from auth_service.domain.accounts import NewUser
from auth_service.domain.chain import sealed
from auth_service.domain.errors import AlreadyRegistered
from auth_service.domain.keys import NewKey
from auth_service.domain.model import AuditEvent, Credential, Origin, RefreshToken, SessionOf
from auth_service.domain.ports import AccountFilter, AuditFilter, KeyFilter
from auth_service.domain.rotating import RingReader
from auth_service.domain.throttling import Bucket, Pace
from auth_service.domain.using import KeyUsage
from shared.api_keys import digest as secret_digest
from shared.clock import system_clock
from shared.ids import new_id
from shared.scopes import DATA_SCOPES
from tests.auth.auth_store import (
    MONTH,
    NOW,
    Heads,
    Stored,
    digest,
    resolved_key,
    resolved_session,
    save,
    store_everything,
    store_user,
)
from tests.auth.auth_world import settings_of

T = TypeVar("T")


def cheap_hasher() -> Argon2Hasher:
    return Argon2Hasher(time_cost=1, memory_kib=8, parallelism=1, threads=1, waiting=1)


@contextmanager
def statements(engine: AsyncEngine) -> Iterator[list[tuple[str, Any]]]:
    """What is sent to Postgres meanwhile, but for BEGIN and COMMIT."""
    sent: list[tuple[str, Any]] = []

    def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        sent.append((statement, parameters))

    event.listen(engine.sync_engine, "before_cursor_execute", keep)
    yield sent
    event.remove(engine.sync_engine, "before_cursor_execute", keep)


async def test_records_come_back_as_they_were_stored(database: PostgresDatabase, stored: Stored) -> None:
    async with database.transaction(stored.user.tenant_id) as tx:
        assert await tx.users.by_id(stored.user.id) == stored.user
        assert await tx.users.lock(stored.user.id) == stored.user
        assert await tx.api_keys.page(stored.user.id, NOW, before=None, limit=10) == [stored.key]
        assert await tx.api_keys.get(stored.user.id, stored.key.id, NOW) == stored.key
        assert await tx.api_keys.lock(stored.user.id, stored.key.id) == stored.key
        assert await tx.sessions.lock_family(stored.token.token_sha256) == stored.session
        assert await tx.sessions.tokens([stored.token.token_sha256, digest()]) == {stored.token.token_sha256: stored.token}
        assert [await tx.users.by_id(new_id()), await tx.sessions.lock_family("")] == [None, None]


async def test_whom_a_name_or_a_token_belongs_to_is_found_in_any_tenant(database: PostgresDatabase, stored: Stored) -> None:
    lookups = database.lookups
    assert await lookups.by_login(stored.user.username.upper()) == stored.user
    assert await lookups.by_login(stored.user.email.upper()) == stored.user
    assert await lookups.tenant_of_user(stored.user.id) == stored.user.tenant_id
    assert await lookups.tenant_of_token(stored.token.token_sha256) == stored.user.tenant_id
    assert [await lookups.by_login(name) for name in ("nobody", "no@body", f"{stored.user.username}@")] == [None] * 3
    assert [await lookups.tenant_of_user(new_id()), await lookups.tenant_of_token("")] == [None, None]


async def test_what_may_change_of_a_user_is_saved(database: PostgresDatabase, stored: Stored) -> None:
    changed = replace(
        stored.user,
        email=f"x{stored.user.email}",
        password_hash="other",
        password_changed_at=NOW + MONTH,
        tier="pro",
        is_active=False,
    )
    async with database.transaction(stored.user.tenant_id) as tx:
        await tx.users.save(changed)
    async with database.transaction(stored.user.tenant_id) as tx:
        assert await tx.users.by_id(stored.user.id) == changed


async def test_a_taken_address_leaves_everything_as_it_was(database: PostgresDatabase, stored: Stored) -> None:
    other = await store_user(database)
    with pytest.raises(AlreadyRegistered):
        await save(database, replace(other, email=stored.user.email.upper(), tier="pro"))
    async with database.transaction(other.tenant_id) as tx:
        assert await tx.users.by_id(other.id) == other


async def test_revoking_tells_what_it_changed(database: PostgresDatabase, stored: Stored) -> None:
    async with database.transaction(stored.user.tenant_id) as tx:
        assert await tx.sessions.revoke_all(stored.user.id, NOW + MONTH) == [], "an expired session is not alive"
        assert await tx.sessions.revoke_all(stored.user.id, NOW) == [replace(stored.session, revoked_at=NOW)]
        assert await tx.sessions.revoke_all(stored.user.id, NOW) == []
        assert not await tx.sessions.revoke(stored.session.id, NOW)
        assert not await tx.api_keys.revoke(new_id(), stored.key.id, NOW), "somebody else's"
        assert await tx.api_keys.revoke(stored.user.id, stored.key.id, NOW) == replace(stored.key, revoked_at=NOW)
        assert not await tx.api_keys.revoke(stored.user.id, stored.key.id, NOW)
        assert await tx.api_keys.count(stored.user.id, NOW) == 0


def bucket(key: str) -> Bucket:
    return Bucket(key, key, Pace(free=3), "login")


async def test_a_family_is_changed_by_one_transaction_at_a_time(database: PostgresDatabase, stored: Stored) -> None:
    order: list[str] = []

    async def revoke_later() -> None:
        async with database.transaction(stored.user.tenant_id) as tx:
            session = await tx.sessions.lock_family(stored.token.token_sha256)
            order.append("second")
            assert session is not None
            assert session.revoked_at == NOW, "what the first one did is seen"

    async with database.transaction(stored.user.tenant_id) as tx:
        await tx.sessions.lock_family(stored.token.token_sha256)
        waiting = asyncio.create_task(revoke_later())
        await asyncio.wait({waiting}, timeout=0.05)
        await tx.sessions.revoke(stored.session.id, NOW)
        order.append("first")
    await waiting
    assert order == ["first", "second"]


async def test_a_locked_user_keeps_nobody_from_adding_a_session_or_a_key(database: PostgresDatabase, stored: Stored) -> None:
    async with database.transaction(stored.user.tenant_id) as first, database.transaction(stored.user.tenant_id) as second:
        await first.users.lock(stored.user.id)
        await second.api_keys.add(replace(stored.key, id=new_id(), key_sha256=digest()))
        session = replace(stored.session, id=new_id())
        await second.sessions.add(session, replace(stored.token, id=new_id(), session_id=session.id, token_sha256=digest()))


async def everything(database: PostgresDatabase, stored: Stored) -> None:
    """Each query once."""
    event_ = AuditEvent(new_id(), NOW, "user", "registered", Origin(None), stored.user.id, stored.user.tenant_id)
    following = RefreshToken(new_id(), stored.user.tenant_id, stored.session.id, digest(), NOW)
    async with database.transaction(stored.user.tenant_id) as tx:
        await tx.users.by_id(stored.user.id)
        await tx.users.lock(stored.user.id)
        await tx.users.save(stored.user)
        await tx.api_keys.count(stored.user.id, NOW)
        await tx.api_keys.page(stored.user.id, NOW, before=None, limit=10)
        await tx.api_keys.page(stored.user.id, NOW, before=stored.key.id, limit=10)
        await tx.api_keys.get(stored.user.id, stored.key.id, NOW)
        await tx.api_keys.lock(stored.user.id, stored.key.id)
        await tx.api_keys.replace(stored.key)
        await everything_of_a_tenant(tx, stored)
        await tx.api_keys.revoke(stored.user.id, stored.key.id, NOW)
        await tx.api_keys.remove(stored.user.id, [new_id()], NOW)
        await tx.sessions.lock_family(stored.token.token_sha256)
        await tx.sessions.tokens([stored.token.token_sha256, following.token_sha256])
        await tx.sessions.save_pace(stored.session)
        await tx.sessions.rotate(replace(stored.token, spent_at=NOW), following)
        await tx.sessions.revoke(stored.session.id, NOW)
        await tx.sessions.revoke_all(stored.user.id, NOW)
        await tx.networks.know(stored.user.owner, "", NOW)
        await tx.unlocking.clear("key")
        await tx.one_time.newest(stored.user.id, "reset")
        await tx.one_time.use(new_id(), NOW)
        await tx.one_time.void(stored.user.id, "reset", NOW)
        await tx.audit.record(event_)
    for name in (stored.user.username, stored.user.email):
        await database.lookups.by_login(name)
    await resolved_key(database, stored.key.key_sha256)
    await resolved_session(database, stored.user.id, stored.session.id)
    await database.lookups.tenant_of_user(stored.user.id)
    await database.lookups.tenant_of_token(stored.token.token_sha256)
    await database.lookups.one_time_token("digest")
    await database.lookups.knows_network(stored.user.id, "", NOW)
    await database.mails.take(NOW, NOW, 5)
    await database.mails.put_back(new_id(), NOW)
    await database.mails.done(new_id())
    await database.throttle.charge([bucket("key"), bucket("other")], NOW)
    await database.throttle.refund([bucket("key"), replace(bucket("other"), forgiving=True)], NOW)
    await database.key_uses.save({stored.key.id: NOW})
    await every_list(database, stored)
    await every_sweep(database)
    await database.trail.newest(AuditFilter(user_id=stored.user.id), before=10, limit=10)
    await database.trail.oldest(AuditFilter(), after=10, limit=10)
    await database.trail.head()
    with suppress(UndoneError):
        await relay_and_undo(database)


async def everything_of_a_tenant(tx: PostgresTransaction, stored: Stored) -> None:
    tenant_id = stored.user.tenant_id
    tenant = await tx.tenants.lock(tenant_id)
    assert tenant == await tx.tenants.get(tenant_id)
    assert tenant is not None
    await tx.tenants.save(tenant)
    for before in (None, stored.user.id):
        await tx.tenants.members(tenant_id, before=before, limit=10)
    assert await tx.tenants.count(tenant_id) == 1
    assert not await tx.tenants.has_other_owner(tenant_id, stored.user.id)
    assert await tx.tenants.join(tenant_id, stored.user.id, "owner")
    assert await tx.one_time.count_invitations(tenant_id, since=NOW) == 0
    assert await tx.one_time.invitations_to("a@example.com", since=NOW) == []
    for before in (None, new_id()):
        assert await tx.one_time.open_invitations(tenant_id, NOW, before=before, limit=10) == []
    await tx.one_time.void_invitations(tenant_id, "a@example.com", NOW)
    assert not await tx.one_time.use_invitation(new_id(), NOW)


async def every_list(database: PostgresDatabase, stored: Stored) -> None:
    for asked, before in ((AccountFilter(), None), (AccountFilter("A", "free", True), stored.user.id)):
        await database.listings.users(asked, before=before, limit=10)
        await database.listings.tenants(asked, before=before, limit=10)
    for whose in (KeyFilter(), KeyFilter(stored.user.id, stored.user.tenant_id)):
        await database.listings.keys(whose, NOW, before=stored.key.id, limit=10)
    await database.lookups.owner_of_key(stored.key.id)
    await database.lookups.origins()


async def every_sweep(database: PostgresDatabase) -> None:
    long_ago, rows = NOW - 100 * MONTH, database.sweeping
    for remove in (rows.refresh_tokens, rows.sessions, rows.one_time_tokens, rows.networks, rows.guesses):
        assert await remove(long_ago, 10) == 0
    assert await rows.ended_keys(long_ago, 10) == {}


class UndoneError(Exception):
    """Rolls a transaction back."""


async def relay_and_undo(database: PostgresDatabase) -> None:
    """What is sealed is sealed once, so who asks this again finds it as it was."""
    async with database.outbox() as outbox:
        await outbox.lock_sealing()
        links = sealed(await outbox.last(), await outbox.unsealed(100))
        await outbox.seal(links)
        await outbox.lock_publishing()
        await outbox.sealed(after=await outbox.published(), limit=10)
        await outbox.mark_published(links[-1].link.seq)
        await outbox.before(NOW)
        await outbox.head()
        await outbox.add_head(Heads().sign(links[-1].link, NOW))
        raise UndoneError


async def test_every_query_finds_its_rows_through_an_index(
    database: PostgresDatabase, engine: AsyncEngine, stored: Stored, admin_url: str
) -> None:
    """On tables this small a plan would rather read them whole; forbidden to, it shows whether it could do otherwise.

    As the app role, whom policies keep from some indexes; and of functions that look across tenants the statements inside.
    """
    with statements(engine) as sent:
        await everything(database, stored)
    connection = await asyncpg.connect(admin_url)
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=str, decoder=str)
    inside: list[str] = []
    connection.add_log_listener(lambda _connection, message: inside.append(str(message)))
    await connection.execute(
        f"""
        LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;
        SET auto_explain.log_level = notice; SET enable_seqscan = off; SET enable_sort = off;
        SET enable_incremental_sort = off;
        SET SESSION AUTHORIZATION auth_app; SET kalpi.tenant = '{stored.user.tenant_id}'
        """
    )
    plans: dict[str, str] = {}
    for statement, parameters in sent:
        called = re.search(r"auth\.\w+\(", statement)
        if called is None:
            plans[statement] = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}", *parameters))
        else:
            await connection.execute("BEGIN")
            prepared = await connection.prepare(statement)
            inside.clear()  # what the driver asked of the catalogue
            await prepared.fetch(*parameters)
            await connection.execute("ROLLBACK")
            plans[f"{called.group()} {parameters}"] = "\n".join(inside)
    await connection.close()
    assert len(plans) > 25
    assert all("Index" in plan for name, plan in plans.items() if name.startswith("auth.")), "what is inside is shown"
    assert {name: plan for name, plan in plans.items() if "Seq Scan" in plan or "Sort" in plan} == {}


async def test_resolving_is_one_statement(database: PostgresDatabase, engine: AsyncEngine, stored: Stored) -> None:
    with statements(engine) as sent:
        by_key = await resolved_key(database, stored.key.key_sha256)
        assert len(sent) == 1
        by_session = await resolved_session(database, stored.user.id, stored.session.id)
        assert len(sent) == 2
    assert by_key is not None
    assert by_session is not None
    assert (by_key.user_id, by_key.roles, by_key.key_id, by_key.session_id) == (stored.user.id, ("admin",), stored.key.id, None)
    assert (by_session.tenant_id, by_session.session_id, by_session.key_id) == (stored.user.tenant_id, stored.session.id, None)


async def test_resolving_many_is_one_statement_for_keys_and_one_for_sessions(
    database: PostgresDatabase, engine: AsyncEngine, stored: Stored
) -> None:
    everyone = [stored, *[await store_everything(database) for _ in range(4)]]
    digests, sessions = [one.key.key_sha256 for one in everyone], [SessionOf(one.user.id, one.session.id) for one in everyone]
    with statements(engine) as sent:
        by_key = await database.lookups.api_keys(["0" * 64, *digests, digests[0]], NOW)
        assert len(sent) == 1
        by_session = await database.lookups.sessions([SessionOf(stored.user.id, new_id()), *sessions], NOW)
        assert len(sent) == 2
        assert not await database.lookups.api_keys([], NOW)
        assert not await database.lookups.sessions([], NOW)
        assert len(sent) == 2
    assert {digest: found.key_id for digest, found in by_key.items()} == {one.key.key_sha256: one.key.id for one in everyone}
    assert {session: found.tenant_id for session, found in by_session.items()} == {
        session: one.user.tenant_id for session, one in zip(sessions, everyone, strict=True)
    }
    for one in everyone:
        assert by_key[one.key.key_sha256] == await resolved_key(database, one.key.key_sha256)
        assert by_session[SessionOf(one.user.id, one.session.id)] == await resolved_session(database, one.user.id, one.session.id)


async def test_a_page_or_a_batch_is_one_statement_however_long_it_is(
    database: PostgresDatabase, engine: AsyncEngine, stored: Stored
) -> None:
    tenant_id = stored.user.tenant_id
    events = [AuditEvent(new_id(), NOW, "user", "updated", Origin(None), stored.user.id, tenant_id) for _ in range(20)]
    with statements(engine) as sent:
        async with database.transaction(tenant_id) as tx:
            assert len(sent) == 1, "whose rows"
            await tx.audit.record(*events)
            assert len(sent) == 2
            await tx.api_keys.page(stored.user.id, NOW, before=None, limit=100)
            assert len(sent) == 3
        await database.listings.users(AccountFilter(), before=None, limit=100)
        assert len(sent) == 4
        async with database.outbox() as outbox:
            await outbox.lock_sealing()
            rows = sealed(await outbox.last(), await outbox.unsealed(1000))
            assert len(sent) == 7, "the lock, the end of the chain, and the rows"
            await outbox.seal(rows)
            assert len(sent) == 8


async def test_no_operation_sends_more_statements_where_there_are_more_rows(
    database: PostgresDatabase, engine: AsyncEngine, database_url: str, nats_url: str
) -> None:
    settings = settings_of(database_url, nats_url)
    tokens = _tokens(settings, system_clock)
    await RingReader(database, tokens.use, system_clock).read()
    uses = KeyUsage(database, dropped=lambda: None)
    async with cheap_hasher() as hasher:
        services = _services(settings, database, hasher, tokens, uses, Heads().signer, system_clock)
        counts = [await statements_of_a_life(services, engine, many) for many in (1, 6)]
    assert counts[0] == counts[1]
    assert max(counts[0].values()) <= 17, counts


async def statements_of_a_life(services: Services, engine: AsyncEngine, many: int) -> dict[str, int]:
    """By operation, of a user with so many sessions and keys."""
    origin, password = Origin(None), "correct horse battery"
    name = f"u{new_id().hex[8:]}"
    counts: dict[str, int] = {}

    async def counted(operation: str, work: Awaitable[T]) -> T:
        with statements(engine) as sent:
            result = await work
        counts[operation] = len(sent)
        return result

    user = await counted("register", services.accounts.register(NewUser(name, f"{name}@example.com", password), origin))
    credential = Credential(user.owner, DATA_SCOPES)
    grant = await counted("login", services.sessions.login(name, password, origin))
    secret, _ = await counted("create a key", services.keys.create(credential, NewKey(), origin))
    for _ in range(many):
        await services.sessions.login(name, password, origin)
        await services.keys.create(credential, NewKey(), origin)
    await counted("login again", services.sessions.login(name, password, origin))
    await counted("refresh", services.sessions.refresh(grant.refresh_token, origin))
    await counted("resolve", services.resolver.api_key(secret_digest(secret)))
    await counted("list keys", services.keys.list(user.owner, before=None, limit=100))
    await counted("list users", services.accounts.list(AccountFilter(), before=None, limit=100))
    await counted("log out everywhere", services.sessions.logout_all(user.owner, origin))
    for _ in range(many):
        await services.sessions.login(name, password, origin)
    await counted("change the password", services.accounts.change_password(user.owner, password, f"{password} 2", origin))
    return counts
