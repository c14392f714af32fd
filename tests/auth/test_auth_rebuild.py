"""Tenants, users and keys are made again from the trail: exactly what the tables hold, whatever was done."""

import asyncio
import itertools
import os
from contextlib import suppress
from dataclasses import fields
from datetime import datetime, timedelta
from ipaddress import ip_network
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from auth_service.adapters.recorded_states import snapshot
from auth_service.app import database_of, gate_of, hasher_of
from auth_service.cli.admin import app
from auth_service.domain.accounts import Accounts, NewUser
from auth_service.domain.auditing import state_of
from auth_service.domain.keys import KeyService, NewKey
from auth_service.domain.model import ApiKey, Credential, Mail, Origin, RefreshToken, Session, Tenant, User
from auth_service.domain.one_time import token_of
from auth_service.domain.rebuilding import NOUNS, differences
from auth_service.domain.resetting import ResetRules, Resets
from auth_service.domain.sweeping import Retention, Sweeper
from auth_service.domain.tenants import NewTenant, TenantAdministration, TenantService
from auth_service.migrate import downgrade, migrate
from auth_service.settings import Settings
from shared.errors import Conflict, Forbidden, NotFound
from shared.ids import new_id
from shared.postgres import open_engine
from shared.roles import DatabaseUrls
from shared.scopes import DATA_SCOPES
from tests.auth.auth_store import Stored
from tests.auth.auth_world import PASSWORD, MovableClock, settings_of
from tests.auth.tenancy import move

RESET_KEY = b"reset" * 8
KEPT = Retention(sessions=timedelta(days=1), keys=timedelta(days=2))
ORIGIN = Origin(None, "a request", "192.0.2.7")
SAME_KEY = "user_id, name, 'another digest', key_hint, created_at, expires_at, revoked_at, tenant_id, scopes"
STEPS = (
    "register",
    "address",
    "tier",
    "disable",
    "enable",
    "password",
    "reset",
    "create key",
    "rotate key",
    "revoke key",
    "sweep",
)
MOVES = ("organise", "join", "leave", "role", "tenant")


class Life:
    """Users to whom things happen, by the domain's own services."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = MovableClock()
        self.numbers = itertools.count()
        self.users: list[User] = []
        self.keys: list[ApiKey] = []
        self.tenants: set[UUID] = set()
        self.ended: dict[UUID, datetime] = {}
        self.swept: set[UUID] = set()
        self.password: dict[UUID, str] = {}

    async def run(self, steps: list[tuple[str, int]]) -> None:
        self.users, self.keys, self.tenants, self.ended, self.swept = [], [], set(), {}, set()
        async with database_of(self.settings, asyncio.Event()) as database, hasher_of(self.settings) as hasher:
            gate = gate_of(self.settings, database, hasher, self.clock)
            self.accounts = Accounts(database, hasher, gate, self.clock, new_id)
            rules = ResetRules(RESET_KEY, timedelta(minutes=30), "")
            self.resets = Resets(database, hasher, gate, rules, clock=self.clock, new_id=new_id)
            self.service = KeyService(database, clock=self.clock, new_id=new_id, random=os.urandom)
            self.own = TenantService(database, clock=self.clock, new_id=new_id)
            self.administration = TenantAdministration(database, clock=self.clock, new_id=new_id)
            self.database = database
            self.sweeper = Sweeper(database, KEPT, lambda *_: None, clock=self.clock, new_id=new_id)
            for step, which in [("register", 0), *steps]:
                self.clock.forward(seconds=1)
                with suppress(Conflict, NotFound, Forbidden):
                    await self.do(step, self.users[which % len(self.users)] if self.users else None, which)
                await self.find(which)

    async def find(self, which: int) -> None:
        """The user who was meant, as they are now, wherever they are."""
        user = self.users[which % len(self.users)]
        self.users[which % len(self.users)] = found = await self.accounts.get(await self.accounts.owner(user.id))
        self.tenants.add(found.tenant_id)

    async def move(self, step: str, user: User, which: int) -> None:
        other = self.users[which // 2 % len(self.users)]
        if step == "organise":
            await self.administration.create(NewTenant(f"organisation {which}", user.id, "pro"), ORIGIN)
        elif step == "join":
            await move(self.database, user.owner, other.tenant_id, ("member", "admin", "owner")[which % 3])
        elif step == "leave":
            await self.own.remove(other.owner, user.id, ORIGIN)
        elif step == "role":
            await self.own.change_role(other.owner, user.id, ("admin", "member")[which % 2], ORIGIN)
        else:
            changes = {"tier": (None, "premium")[which % 2], "quota": "shared", "is_active": which % 3 > 0}
            await self.administration.change(user.tenant_id, changes, ORIGIN)
            await self.own.change(user.owner, {"name": f"name {which}", "allowed_origins": ("https://a.example",)}, ORIGIN)

    async def do(self, step: str, user: User | None, which: int) -> None:
        if user is None or step == "register":
            name = f"u{new_id().hex[8:]}"
            user = await self.accounts.register(NewUser(name, f"{name}@example.com", PASSWORD), ORIGIN)
            self.users.append(user)
            self.password[user.id] = PASSWORD
            return
        changes: dict[str, dict[str, object]] = {
            "tier": {"tier": ("free", "pro")[which % 2]},
            "disable": {"is_active": False},
            "enable": {"is_active": True},
        }
        if step in MOVES:
            await self.move(step, user, which)
        elif step in changes:
            await self.accounts.change(user.owner, changes[step], ORIGIN)
        elif step in {"address", "password", "reset"}:
            await self.accounts.change(user.owner, {"is_active": True}, ORIGIN)
            await self.administration.change(user.tenant_id, {"is_active": True}, ORIGIN)
            await self.prove(step, user, which)
        elif step == "create key":
            asking = Credential(user.owner, DATA_SCOPES)
            networks = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")) if which % 3 else None
            wanted = NewKey(f"key {which}", expires_in=timedelta(days=which) if which % 2 else None, allowed_ips=networks)
            self.keep((await self.service.create(asking, wanted, ORIGIN))[1])
        elif step == "sweep":
            await self.sweep()
        elif self.keys:
            key = self.keys[which % len(self.keys)]
            owner = next(one.owner for one in self.users if one.id == key.user_id)
            if step == "rotate key":
                grace = timedelta(minutes=which % 2)
                self.keep((await self.service.rotate(Credential(owner, DATA_SCOPES), key.id, grace, ORIGIN))[1])
                self.end(key, self.clock() + grace)
            else:
                await self.service.revoke(owner, key.id, ORIGIN)
                self.end(key, self.clock())

    def keep(self, key: ApiKey) -> None:
        self.keys.append(key)
        if key.expires_at is not None:
            self.ended[key.id] = key.expires_at

    def end(self, key: ApiKey, at: datetime) -> None:
        self.ended[key.id] = min(at, self.ended.get(key.id, at))

    async def sweep(self) -> None:
        self.clock.forward(days=KEPT.keys.days)
        await self.sweeper.sweep()
        self.swept |= {key.id for key in self.keys if self.ended.get(key.id, self.clock()) <= self.clock() - KEPT.keys}
        self.keys = [key for key in self.keys if key.id not in self.swept]

    async def prove(self, step: str, user: User, which: int) -> None:
        """What is done with the current password, or with a mail in its place."""
        if step == "address":
            await self.accounts.change_email(user.owner, f"{which}-{user.email}", self.password[user.id], ORIGIN)
            return
        new = f"another password {next(self.numbers)}"
        if step == "password":
            await self.accounts.change_password(user.owner, self.password[user.id], new, ORIGIN)
        else:
            self.clock.forward(minutes=15)
            mail = Mail(new_id(), "reset", (await self.accounts.get(user.owner)).email, self.clock())
            assert await self.resets.letter(mail) is not None
            await self.resets.reset(token_of(RESET_KEY, mail.id), new, ORIGIN)
        self.password[user.id] = new


async def found(url: str) -> list[str]:
    engine = open_engine(url, service="test", pool_size=1, command_timeout_s=10)
    try:
        async with snapshot(engine) as both:
            return [
                f"{noun}: {one.words}" for noun in NOUNS async for one in differences(noun, both.changes(noun), both.states(noun))
            ]
    finally:
        await engine.dispose()


def test_replaying_any_sequence_of_operations_gives_what_the_tables_hold(database_url: str, nats_url: str) -> None:
    """On the database that all tests of this folder share: what others stored without the service is not compared."""
    life = Life(settings_of(database_url, nats_url))
    runner = asyncio.Runner()

    @settings(max_examples=20)
    @given(st.lists(st.tuples(st.sampled_from((*STEPS, *MOVES)), st.integers(0, 6)), max_size=16))
    def replayed(steps: list[tuple[str, int]]) -> None:
        runner.run(life.run(steps))
        mine = {user.id for user in life.users} | {key.id for key in life.keys} | life.tenants
        assert runner.run(of_subjects(database_url, mine | life.swept)) == ([], len(mine))

    with runner:
        replayed()


async def of_subjects(url: str, subjects: set[UUID]) -> tuple[list[str], int]:
    """What differs of these, and how many of them the tables hold."""
    engine = open_engine(url, service="test", pool_size=1, command_timeout_s=10)
    try:
        async with snapshot(engine) as both:
            differing, stored = [], 0
            for noun in NOUNS:
                stored += len([subject async for subject, _ in both.states(noun) if subject in subjects])
                compared = differences(noun, both.changes(noun), both.states(noun))
                differing += [f"{noun}: {one.words}" async for one in compared if one.subject in subjects]
            return differing, stored
    finally:
        await engine.dispose()


async def lived(url: str, nats_url: str) -> Life:
    life = Life(settings_of(url, nats_url))
    await life.run(
        [("create key", 1), ("tier", 1), ("password", 0), ("address", 0), ("reset", 0), ("revoke key", 0), ("create key", 2)]
    )
    return life


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE auth.user_account SET tier = 'enterprise'", ["user: tier is 'enterprise', and 'pro' by the trail"]),
        ("UPDATE auth.user_account SET roles = '{admin}'", ["user: roles is ['admin'], and [] by the trail"]),
        ("UPDATE auth.tenant SET name = 'mine'", ["tenant: name is 'mine', and"]),
        ("UPDATE auth.api_key SET revoked_at = NULL WHERE revoked_at IS NOT NULL", ["key: revoked_at is None, and '"]),
        ("DELETE FROM auth.api_key WHERE revoked_at IS NULL", ["key: in the trail, and not in the table"]),
        (
            f"INSERT INTO auth.api_key SELECT gen_random_uuid(), {SAME_KEY} FROM auth.api_key LIMIT 1",  # noqa: S608 - ours
            ["key: in the table, and not in the trail"],
        ),
    ],
)
async def test_what_was_changed_behind_the_trails_back_is_told(
    own_urls: DatabaseUrls, nats_url: str, statement: str, told: list[str]
) -> None:
    await lived(own_urls.app, nats_url)
    assert await found(own_urls.app) == []
    connection = await asyncpg.connect(own_urls.admin)
    await connection.execute(statement)
    await connection.close()
    differing = await found(own_urls.app)
    assert len(differing) == len(told)
    assert all(one.startswith(words) for one, words in zip(differing, told, strict=True)), differing


async def test_an_event_taken_from_the_trail_is_told_of_by_the_next(own_urls: DatabaseUrls, nats_url: str) -> None:
    life = Life(settings_of(own_urls.app, nats_url))
    await life.run([("tier", 1), ("tier", 0), ("tier", 1)])
    connection = await asyncpg.connect(own_urls.admin)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(
        "DELETE FROM auth.audit_event WHERE recorded = (SELECT min(recorded) FROM auth.audit_event WHERE event = 'updated')"
    )
    await connection.close()
    assert await found(own_urls.app) == ["user: updated: tier was 'pro' before it, and 'free' after the event before"]


async def test_changes_made_at_the_same_time_are_told_of_in_the_order_in_which_they_were_made(
    own_urls: DatabaseUrls, nats_url: str
) -> None:
    """Each holds its row's lock before it records: else what one found before it would not be what the last one left."""
    life = Life(settings_of(own_urls.app, nats_url, pool_size=20))
    await life.run([])
    (user,) = life.users
    async with database_of(life.settings, asyncio.Event()) as database, hasher_of(life.settings) as hasher:
        gate = gate_of(life.settings, database, hasher, life.clock)
        accounts = Accounts(database, hasher, gate, life.clock, new_id)
        changes = [accounts.change(user.owner, {"tier": f"tier_{number}"}, ORIGIN) for number in range(40)]
        await asyncio.gather(*changes)
    assert await found(own_urls.app) == []
    connection = await asyncpg.connect(own_urls.admin)
    assert await connection.fetchval("SELECT count(*) FROM auth.audit_event WHERE event = 'updated'") == 40
    await connection.close()


async def test_the_command_says_what_differs(own_urls: DatabaseUrls, nats_url: str) -> None:
    def run() -> tuple[int, str]:
        done = CliRunner().invoke(app, ["audit", "rebuild", "--database-url", own_urls.app])
        return done.exit_code, done.output

    life = await lived(own_urls.app, nats_url)
    assert await asyncio.to_thread(run) == (0, "tenants, users and keys are what the trail tells\n")
    connection = await asyncpg.connect(own_urls.admin)
    await connection.execute("UPDATE auth.user_account SET is_active = false")
    await connection.close()
    expected = f"user {life.users[0].id}: is_active is False, and True by the trail\n"
    assert await asyncio.to_thread(run) == (1, expected)


async def test_what_was_there_before_the_trail_told_of_states_is_recorded_when_it_begins_to(
    own_urls: DatabaseUrls, nats_url: str
) -> None:
    await lived(own_urls.app, nats_url)
    await asyncio.to_thread(downgrade, own_urls.owner, "0002")
    await asyncio.to_thread(migrate, own_urls.owner, own_urls.app)
    assert await found(own_urls.app) == []
    await lived(own_urls.app, nats_url)
    assert await found(own_urls.app) == []


def test_a_state_holds_every_field_but_the_secrets_and_where_a_credential_lies(stored: Stored) -> None:
    left_out = {
        record: sorted({one.name for one in fields(record)} - set(state_of(example)))
        for record, example in ((User, stored.user), (ApiKey, stored.key), (Session, stored.session))
    }
    assert left_out == {
        User: ["password_hash"],
        ApiKey: ["key_sha256", "last_used_at", "tenant_id"],
        Session: ["refresh_due_at", "tenant_id"],
    }
    assert [one.name for one in fields(RefreshToken) if not one.repr] == ["token_sha256"]
    assert set(state_of(Tenant(new_id(), "t", stored.user.created_at))) == {one.name for one in fields(Tenant)}
