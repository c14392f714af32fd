"""Rows of auth-service, stored without the service."""

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_network
from uuid import UUID

import asyncpg

from auth_service.adapters.heads import Ed25519Heads
from auth_service.adapters.postgres import PostgresDatabase
from auth_service.domain.chain import Head, Link
from auth_service.domain.heads import HeadKeeper
from auth_service.domain.model import ApiKey, AuditEvent, Origin, RefreshToken, Resolved, Session, SessionOf, Tenant, User
from auth_service.domain.one_time import OneTimeToken
from shared.clock import Clock, system_clock
from shared.ids import new_id
from shared.roles import DatabaseUrls, create_roles
from shared.scopes import DATA_SCOPES

NOW = system_clock()
MONTH = timedelta(days=30)
NETWORK = "198.51.100.0/24"
NETWORKS = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))


@dataclass(frozen=True)
class Stored:
    """A user with a key, a session with a token, a network and a token by mail."""

    user: User
    key: ApiKey
    session: Session
    token: RefreshToken
    one_time: OneTimeToken


async def role_urls(admin_url: str) -> DatabaseUrls:
    """The roles of a database, made as `kalpi migrate` makes them; those of the test run's server are the same in all."""
    place = admin_url.rpartition("@")[2]
    urls = DatabaseUrls(f"postgresql://auth_app:x@{place}", f"postgresql://auth_owner:x@{place}", admin_url)
    await create_roles(urls)
    return urls


def digest() -> str:
    return new_id().hex * 2


async def resolved_key(database: PostgresDatabase, key_sha256: str) -> Resolved | None:
    return (await database.lookups.api_keys([key_sha256], NOW)).get(key_sha256)


async def resolved_session(database: PostgresDatabase, user_id: UUID, session_id: UUID) -> Resolved | None:
    asked = SessionOf(user_id, session_id)
    return (await database.lookups.sessions([asked], NOW)).get(asked)


async def store_user(database: PostgresDatabase) -> User:
    tenant = Tenant(new_id(), "t", NOW)
    name = f"u{new_id().hex[8:]}"
    user = User(new_id(), tenant.id, name, f"{name}@example.com", "hash", "free", ("admin",), True, NOW, NOW)
    async with database.transaction(tenant.id) as tx:
        await tx.users.add(tenant, user)
    return user


async def store_everything(database: PostgresDatabase) -> Stored:
    user = await store_user(database)
    key = ApiKey(new_id(), user.tenant_id, user.id, "laptop", digest(), "…", NOW, NOW + MONTH, DATA_SCOPES, NETWORKS)
    session = Session(new_id(), user.tenant_id, user.id, NOW, NOW + MONTH)
    token = RefreshToken(new_id(), user.tenant_id, session.id, digest(), NOW)
    one_time = OneTimeToken(new_id(), user.tenant_id, user.id, "reset", user.email, digest(), NOW, NOW + MONTH)
    async with database.transaction(user.tenant_id) as tx:
        await tx.api_keys.add(key)
        await tx.sessions.add(session, token)
        await tx.networks.know(user.owner, NETWORK, NOW)
        await tx.one_time.add(one_time)
    return Stored(user, key, session, token, one_time)


async def save(database: PostgresDatabase, user: User) -> None:
    async with database.transaction(user.tenant_id) as tx:
        await tx.users.save(user)


def audit_event(user_id: UUID | None = None, event: str = "registered", tenant_id: UUID | None = None) -> AuditEvent:
    return AuditEvent(new_id(), system_clock(), "user", event, Origin(None), user_id or new_id(), tenant_id or new_id())


class Heads:
    """Signed with a key of its own, and kept."""

    def __init__(self) -> None:
        self.signer = Ed25519Heads(os.urandom(32))
        self.exported: list[Head] = []
        self.error: Exception | None = None

    def sign(self, link: Link, at: datetime) -> Head:
        return self.signer.sign(link, at)

    async def export(self, head: Head) -> None:
        if self.error is not None:
            raise self.error
        self.exported.append(head)


def keeper_of(
    database: PostgresDatabase, heads: Heads | None = None, clock: Clock = system_clock, every: int = 100
) -> HeadKeeper:
    heads = heads or Heads()
    return HeadKeeper(database, heads, heads, clock, every=every, after=timedelta(minutes=1))


async def audit_events(admin_url: str, user_id: UUID) -> list[tuple[str, str]]:
    """What was recorded of this user, in order: noun and event."""
    connection = await asyncpg.connect(admin_url)
    statement = "SELECT noun, event FROM auth.audit_event WHERE user_id = $1 ORDER BY recorded"
    rows = await connection.fetch(statement, user_id)
    await connection.close()
    return [(row["noun"], row["event"]) for row in rows]


async def everything_stored(admin_url: str) -> str:
    """Every row of every table, as text."""
    connection = await asyncpg.connect(admin_url)
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'auth'")
    rows = [await connection.fetch(f"SELECT t::text FROM auth.{table['tablename']} t") for table in tables]  # noqa: S608
    await connection.close()
    return "\n".join(str(row[0]) for found in rows for row in found)
