"""Another tenant's rows do not exist, whatever a query says: as the role that the service has."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from auth_service.adapters.isolation import RoleNotBound
from auth_service.adapters.postgres import PostgresDatabase
from auth_service.domain.model import Owner
from auth_service.migrate import migrate
from shared.ids import new_id
from shared.postgres import open_engine
from shared.roles import DatabaseUrls
from shared.scopes import DATA_SCOPES
from tests.auth.auth_store import (
    MONTH,
    NETWORK,
    NOW,
    Stored,
    audit_event,
    digest,
    resolved_key,
    resolved_session,
    save,
    store_everything,
)
from tests.auth.auth_world import running_world, settings_of

OF_TENANTS = {"tenant": "id"} | dict.fromkeys(
    ("user_account", "api_key", "session", "refresh_token", "known_network", "one_time_token", "audit_event"), "tenant_id"
)
OF_NOBODY = {"throttle", "mail", "signing_key", "alembic_version", "audit_relay", "audit_head"}
WRITTEN_BY_FUNCTIONS = {"api_key_use"}
each_table = pytest.mark.parametrize("table", OF_TENANTS)
FUNCTIONS = {
    "audit_changes",
    "audit_page",
    "audit_seq_before",
    "audit_states",
    "keys_used",
    "join_tenant",
    "key_page",
    "origins",
    "owner_of_key",
    "tenant_page",
    "tenant_role_of",
    "terms_of",
    "knows_network",
    "login_of",
    "one_time_of",
    "parameter_sets",
    "resolve_key",
    "resolve_session",
    "tenant_of_token",
    "tenant_of_user",
    "user_page",
    "outbox_take",
    "outbox_seal",
    "ended_keys",
    "invitations_to",
    "sweep_networks",
    "sweep_one_time_tokens",
    "sweep_refresh_tokens",
    "sweep_sessions",
}

FINDING = (
    "tenant_of_user",
    "tenant_of_token",
    "resolve_key",
    "resolve_session",
    "user_page",
    "tenant_page",
    "key_page",
    "owner_of_key",
)


@pytest.fixture
async def app(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """The service's own role, with SQL that the service does not have."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def neighbours(database: PostgresDatabase) -> tuple[Stored, Stored]:
    """Two tenants with a row in every table."""
    both = [await store_everything(database) for _ in range(2)]
    for one in both:
        async with database.transaction(one.user.tenant_id) as tx:
            await tx.audit.record(audit_event(one.user.id, tenant_id=one.user.tenant_id))
    return both[0], both[1]


async def as_tenant(connection: asyncpg.Connection, tenant_id: UUID) -> None:
    """For the transaction under way."""
    await connection.execute("SELECT set_config('kalpi.tenant', $1, true)", str(tenant_id))


async def test_every_table_either_is_isolated_by_force_or_is_known_to_hold_nobodys_rows(app: asyncpg.Connection) -> None:
    rows = await app.fetch(
        "SELECT relname, relrowsecurity AND relforcerowsecurity AS forced FROM pg_class "
        "WHERE relnamespace = 'auth'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')"
    )
    assert {row["relname"]: row["forced"] for row in rows} == dict.fromkeys(
        OF_TENANTS.keys() | WRITTEN_BY_FUNCTIONS, True
    ) | dict.fromkeys(OF_NOBODY, False)


@each_table
async def test_a_tenant_sees_its_own_rows_and_no_others(
    app: asyncpg.Connection, neighbours: tuple[Stored, Stored], table: str
) -> None:
    mine, theirs = (one.user.tenant_id for one in neighbours)
    column = OF_TENANTS[table]
    async with app.transaction():
        await as_tenant(app, mine)
        seen = await app.fetch(f"SELECT {column} FROM auth.{table}")  # noqa: S608
        aimed = await app.fetch(f"SELECT * FROM auth.{table} WHERE {column} = $1", theirs)  # noqa: S608
    assert {row[column] for row in seen} == {mine}
    assert aimed == []


@each_table
async def test_without_a_tenant_there_is_no_row(app: asyncpg.Connection, neighbours: tuple[Stored, Stored], table: str) -> None:
    assert await app.fetch(f"SELECT * FROM auth.{table}") == []  # noqa: S608


@pytest.mark.parametrize("table", sorted(OF_TENANTS.keys() - {"audit_event"}))
async def test_a_row_of_another_tenant_is_neither_changed_nor_deleted(
    app: asyncpg.Connection, neighbours: tuple[Stored, Stored], table: str
) -> None:
    mine, theirs = (one.user.tenant_id for one in neighbours)
    column = OF_TENANTS[table]
    async with app.transaction():
        await as_tenant(app, mine)
        for statement in (f"UPDATE auth.{table} SET {column} = {column}", f"DELETE FROM auth.{table}"):  # noqa: S608
            assert await app.execute(f"{statement} WHERE {column} = $1", theirs) in {"UPDATE 0", "DELETE 0"}
    async with app.transaction():
        await as_tenant(app, theirs)
        assert await app.fetchval(f"SELECT count(*) FROM auth.{table}") == 1  # noqa: S608


async def test_nobody_changes_the_trail_not_even_ones_own(app: asyncpg.Connection, neighbours: tuple[Stored, Stored]) -> None:
    mine = neighbours[0].user.tenant_id
    async with app.transaction():
        await as_tenant(app, mine)
        assert await app.execute("UPDATE auth.audit_event SET actor = 'nobody'") == "UPDATE 0"
        assert await app.fetchval("SELECT count(*) FROM auth.audit_event") == 1
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await app.execute("DELETE FROM auth.audit_event")


@each_table
async def test_no_row_is_put_into_another_tenant(app: asyncpg.Connection, neighbours: tuple[Stored, Stored], table: str) -> None:
    mine, theirs = (one.user.tenant_id for one in neighbours)
    transaction = app.transaction()
    await transaction.start()
    await as_tenant(app, mine)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security") as refused:
        await copy_into(app, table, theirs)
    assert refused.value.sqlstate == "42501"
    await transaction.rollback()


@pytest.mark.parametrize("table", sorted(OF_TENANTS.keys() - {"audit_event"}))
async def test_no_row_is_moved_into_another_tenant(
    app: asyncpg.Connection, neighbours: tuple[Stored, Stored], table: str
) -> None:
    mine, theirs = (one.user.tenant_id for one in neighbours)
    transaction = app.transaction()
    await transaction.start()
    await as_tenant(app, mine)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        await app.execute(f"UPDATE auth.{table} SET {OF_TENANTS[table]} = $1", new_id() if table == "tenant" else theirs)  # noqa: S608
    await transaction.rollback()


async def copy_into(connection: asyncpg.Connection, table: str, tenant_id: UUID) -> None:
    """One's own row once more, as another one's."""
    names: Sequence[str] = [
        row["attname"]
        for row in await connection.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND attidentity = ''", f"auth.{table}"
        )
    ]
    changed = {"id": "gen_random_uuid()", OF_TENANTS[table]: "$1"}
    values = ", ".join(changed.get(name, name) for name in names)
    await connection.execute(f"INSERT INTO auth.{table} ({', '.join(names)}) SELECT {values} FROM auth.{table}", tenant_id)  # noqa: S608


async def test_a_credential_cannot_lie_in_another_tenant_than_its_user(
    database: PostgresDatabase, neighbours: tuple[Stored, Stored]
) -> None:
    mine, theirs = neighbours
    with pytest.raises(Exception, match="api_key_tenant_id_fkey"):
        await add_key(database, mine.user.tenant_id, theirs.user.id)


async def add_key(database: PostgresDatabase, tenant_id: UUID, user_id: UUID) -> None:
    key = (await store_everything(database)).key
    async with database.transaction(tenant_id) as tx:
        await tx.api_keys.add(type(key)(new_id(), tenant_id, user_id, "", digest(), "…", NOW, None, DATA_SCOPES))


async def test_repositories_find_nothing_of_another_tenant(database: PostgresDatabase, neighbours: tuple[Stored, Stored]) -> None:
    mine, theirs = neighbours
    await save(database, theirs.user)
    async with database.transaction(mine.user.tenant_id) as tx:
        assert await tx.users.by_id(theirs.user.id) is None
        assert await tx.users.lock(theirs.user.id) is None
        assert await tx.api_keys.count(theirs.user.id, NOW) == 0
        assert await tx.api_keys.page(theirs.user.id, NOW, before=None, limit=10) == []
        assert not await tx.api_keys.revoke(theirs.user.id, theirs.key.id, NOW)
        assert await tx.sessions.lock_family(theirs.token.token_sha256) is None
        assert await tx.sessions.tokens([theirs.token.token_sha256]) == {}
        assert not await tx.sessions.revoke(theirs.session.id, NOW)
        assert await tx.sessions.revoke_all(theirs.user.id, NOW) == []
        assert await tx.api_keys.remove(theirs.user.id, [theirs.key.id], NOW + 2 * MONTH) == []
        assert await tx.one_time.newest(theirs.user.id, "reset") is None
        assert not await tx.one_time.use(theirs.one_time.id, NOW)
        await tx.one_time.void(theirs.user.id, "reset", theirs.one_time.expires_at)
    assert await resolved_key(database, theirs.key.key_sha256) is not None
    assert await resolved_session(database, theirs.user.id, theirs.session.id) is not None
    assert await database.lookups.one_time_token(theirs.one_time.token_sha256) == theirs.one_time


async def test_the_tenant_of_a_transaction_is_not_that_of_the_next_one_on_the_connection(database_url: str) -> None:
    """Neither after a commit nor after a rollback; the setting is then '' and not NULL, which no policy trips over."""
    engine = open_engine(database_url, service="test", pool_size=1, command_timeout_s=5)
    async with PostgresDatabase(engine, asyncio.Event()) as database:
        stored = await store_everything(database)
        pid = await backend(database)
        with pytest.raises(LookupError):
            await enter_and_fail(database, stored.user.tenant_id)
        async with database.outbox() as outbox:
            left: Any = await outbox._connection.exec_driver_sql(
                "SELECT current_setting('kalpi.tenant'), count(*) FROM auth.tenant"
            )
            assert tuple(left.one()) == ("", 0)
        assert await backend(database) == pid, "on the very same connection"


async def enter_and_fail(database: PostgresDatabase, tenant_id: UUID) -> None:
    async with database.transaction(tenant_id) as tx:
        assert await tx.users._connection.exec_driver_sql("SELECT 1 FROM auth.tenant") is not None
        raise LookupError


async def backend(database: PostgresDatabase) -> int:
    async with database.outbox() as outbox:
        return int((await outbox._connection.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one())


async def test_a_user_who_moves_takes_credentials_along(database: PostgresDatabase, neighbours: tuple[Stored, Stored]) -> None:
    mine, theirs = neighbours
    new_tenant = theirs.user.tenant_id
    async with database.transaction(new_tenant) as tx:
        assert await tx.tenants.join(new_tenant, mine.user.id, "member")
    by_key = await resolved_key(database, mine.key.key_sha256)
    by_session = await resolved_session(database, mine.user.id, mine.session.id)
    assert by_key is not None
    assert by_session is not None
    assert by_key.tenant_id == by_session.tenant_id == new_tenant
    assert await database.lookups.tenant_of_token(mine.token.token_sha256) == new_tenant
    assert await database.lookups.one_time_token(mine.one_time.token_sha256) == replace(mine.one_time, tenant_id=new_tenant)
    assert await database.lookups.knows_network(mine.user.id, NETWORK, NOW - MONTH)
    async with database.transaction(new_tenant) as tx:
        family = await tx.sessions.lock_family(mine.token.token_sha256)
        assert family is not None
        assert Owner(family.tenant_id, family.user_id) == Owner(new_tenant, mine.user.id)


async def test_nobody_is_moved_into_another_tenant_than_that_of_the_transaction(
    database: PostgresDatabase, neighbours: tuple[Stored, Stored]
) -> None:
    mine, theirs = neighbours
    async with database.transaction(mine.user.tenant_id) as tx:
        assert not await tx.tenants.join(theirs.user.tenant_id, mine.user.id, "owner")
    async with database.outbox() as outbox:
        moved = f"SELECT auth.join_tenant('{mine.user.id}', '{theirs.user.tenant_id}', 'owner')"
        assert not (await outbox._connection.exec_driver_sql(moved)).scalar_one()
    assert await database.lookups.tenant_of_user(mine.user.id) == mine.user.tenant_id


# ----- functions


async def test_functions_are_the_known_ones_and_run_as_the_owner_with_a_fixed_path(app: asyncpg.Connection) -> None:
    rows = await app.fetch(
        "SELECT proname, prosecdef, proconfig, proowner::regrole::text AS owner FROM pg_proc "
        "WHERE pronamespace = 'auth'::regnamespace AND prorettype <> 'trigger'::regtype"
    )
    assert {row["proname"] for row in rows} == FUNCTIONS
    assert {(row["prosecdef"], row["owner"]) for row in rows} == {(True, "auth_owner")}
    assert {row["proconfig"][0] for row in rows} == {"search_path=pg_catalog, pg_temp"}


async def test_functions_are_the_app_roles_and_not_everybodys(app: asyncpg.Connection, admin_url: str) -> None:
    may = "SELECT proname FROM pg_proc WHERE pronamespace = 'auth'::regnamespace AND has_function_privilege($1, oid, 'EXECUTE')"
    assert {row["proname"] for row in await app.fetch(may, "auth_app")} >= FUNCTIONS
    stranger = f"stranger_{new_id().hex}"
    admin = await asyncpg.connect(admin_url)
    await admin.execute(f"CREATE ROLE {stranger}")
    assert await admin.fetch(may, stranger) == []
    await admin.execute(f"DROP ROLE {stranger}")
    await admin.close()


@pytest.mark.parametrize("function", FINDING)
async def test_a_function_gives_no_digest_and_no_hash(
    app: asyncpg.Connection, neighbours: tuple[Stored, Stored], function: str
) -> None:
    one = neighbours[0]
    arguments: dict[str, tuple[Any, ...]] = {
        "tenant_of_user": (one.user.id,),
        "tenant_of_token": (one.token.token_sha256,),
        "resolve_key": (one.key.key_sha256, NOW),
        "resolve_session": (one.user.id, one.session.id, NOW),
        "user_page": (None, None, None, None, 100),
        "tenant_page": (None, None, None, None, 100),
        "key_page": (None, None, NOW, None, 100),
        "owner_of_key": (one.key.id,),
    }
    given = arguments[function]
    places = ", ".join(f"${number}" for number in range(1, len(given) + 1))
    rows = await app.fetch(f"SELECT * FROM auth.{function}({places})", *given)  # noqa: S608
    secrets = (one.user.password_hash, one.key.key_sha256, one.token.token_sha256)
    assert rows
    assert not {value for row in rows for value in row.values() if value in secrets}
    assert not [name for name in rows[0].keys() if "sha256" in name or "password" in name]  # noqa: SIM118 - a Record is no dict


async def test_a_table_put_in_the_way_is_not_what_a_function_reads(
    app: asyncpg.Connection, neighbours: tuple[Stored, Stored]
) -> None:
    """The path is the function's own: neither the session's nor its temporary tables count."""
    user = neighbours[0].user
    await app.execute("CREATE TEMP TABLE user_account (id uuid, tenant_id uuid); SET search_path = pg_temp, auth, public")
    await app.execute("INSERT INTO pg_temp.user_account VALUES ($1, $2)", user.id, new_id())
    assert await app.fetchval("SELECT auth.tenant_of_user($1)", user.id) == user.tenant_id


async def test_a_disabled_tenants_credentials_stand_for_nobody_and_its_tier_is_its_members(
    database: PostgresDatabase, admin_url: str, stored: Stored
) -> None:
    admin = await asyncpg.connect(admin_url)
    change = "UPDATE auth.tenant SET tier = $2, is_active = $3 WHERE id = $1"
    await admin.execute(change, stored.user.tenant_id, "premium", True)
    found = await resolved_key(database, stored.key.key_sha256)
    assert found is not None
    assert found.tier == "premium"
    await admin.execute(change, stored.user.tenant_id, None, False)
    await admin.close()
    assert await resolved_key(database, stored.key.key_sha256) is None
    assert await resolved_session(database, stored.user.id, stored.session.id) is None


# ----- roles that policies do not bind


@pytest.mark.parametrize("which", ["superuser", "owner", "member of the owner", "bypass", "no row-level security"])
async def test_a_role_that_is_not_bound_starts_nothing(own_urls: DatabaseUrls, nats_url: str, which: str) -> None:
    admin = await asyncpg.connect(own_urls.admin)
    role = f"role_{new_id().hex}"
    made = {
        "member of the owner": f"CREATE ROLE {role} LOGIN PASSWORD 'x' IN ROLE auth_owner",
        "bypass": f"CREATE ROLE {role} LOGIN PASSWORD 'x' BYPASSRLS",
        "no row-level security": "ALTER TABLE auth.user_account DISABLE ROW LEVEL SECURITY",
    }
    await admin.execute(made.get(which, "SELECT"))
    if role in made.get(which, ""):
        await admin.execute(f"GRANT USAGE ON SCHEMA auth TO {role}")
    url = {"superuser": own_urls.admin, "owner": own_urls.owner, "no row-level security": own_urls.app}.get(
        which, f"postgresql://{role}:x@{own_urls.app.rpartition('@')[2]}"
    )
    why = {
        "superuser": "is a superuser",
        "owner": "owns the tables",
        "member of the owner": "is a member of the role that does",
        "bypass": "has BYPASSRLS",
        "no row-level security": "without row-level security",
    }[which]
    with pytest.raises(RoleNotBound, match=why) as refused:
        async with running_world(settings_of(url, nats_url)):
            pass
    assert "docs/operations.md" in str(refused.value)
    if role in made.get(which, ""):
        await admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    await admin.close()


async def test_a_role_that_is_not_bound_is_refused_too_when_the_database_comes_later(empty_urls: DatabaseUrls) -> None:
    async with PostgresDatabase.open(empty_urls.admin, asyncio.Event(), service="test", pool_size=1) as database:
        await asyncio.to_thread(migrate, empty_urls.owner, empty_urls.app)
        with pytest.raises(RoleNotBound):
            await database.lookups.by_login("nobody")
