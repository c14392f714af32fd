"""The wiring of auth-service."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

from fastapi import FastAPI

from auth_service.adapters.argon2 import Argon2Hasher
from auth_service.adapters.heads import Ed25519Heads, ExportedHeads
from auth_service.adapters.mailers import mailer_of
from auth_service.adapters.nats import KEPT, AuthFacts
from auth_service.adapters.postgres import PostgresDatabase
from auth_service.adapters.tokens import SignedTokens
from auth_service.api import (
    accounts,
    admin_api_keys,
    admin_audit,
    admin_tenants,
    admin_users,
    api_keys,
    internal,
    passwords,
    sessions,
    tenant,
)
from auth_service.api.dependencies import Services
from auth_service.domain.accounts import Accounts
from auth_service.domain.guessing import PasswordGate
from auth_service.domain.heads import HeadKeeper
from auth_service.domain.invitations import LIFETIME as INVITATION_LIFETIME
from auth_service.domain.invitations import InvitationRules, Invitations
from auth_service.domain.keys import KeyService
from auth_service.domain.likeness import keep_nobody_alike
from auth_service.domain.mailing import Postman, email_changed, password_changed
from auth_service.domain.relaying import Relay
from auth_service.domain.resetting import ResetRules, Resets
from auth_service.domain.resolving import Resolver
from auth_service.domain.rotating import RingReader
from auth_service.domain.sessions import SessionRules, SessionService
from auth_service.domain.sweeping import Retention, Sweeper
from auth_service.domain.tenants import TenantAdministration, TenantService
from auth_service.domain.throttling import Counting
from auth_service.domain.trail import Trail
from auth_service.domain.using import KeyUsage
from auth_service.settings import Settings
from shared.clock import Clock, system_clock
from shared.events import EventBus, Fact
from shared.ids import new_id
from shared.metrics import Metrics
from shared.periodic import PeriodicTask, running_tasks
from shared.service import Shell, service_app
from shared.settings import decode_key, load_settings
from shared.subjects import AUTH_STREAM, auth_subject

__all__ = ["NAME", "create_app", "database_of", "gate_of", "hasher_of"]

NAME = "auth-service"
_NOTICE_KEPT = timedelta(days=3)
_RING_S = 10.0
_LIKENESS_S = 600.0
_LOOK_S = 1.0
"""How soon what a process that died has written is found; what is written here is looked for at once."""


def create_app(settings: Settings | None = None, *, clock: Clock = system_clock) -> FastAPI:
    settings = settings or load_settings(Settings)
    shell = Shell.of(NAME, settings, clock)
    written = asyncio.Event()
    database = database_of(settings, written, clock)
    hasher = hasher_of(settings)
    bus = EventBus(settings.nats_url.get_secret_value(), service=NAME, clock=clock, new_id=new_id)
    facts = AuthFacts(bus)
    signer = Ed25519Heads(decode_key(settings.audit_key.get_secret_value()))
    dropped = shell.metrics.counter("kalpi_auth_key_uses_dropped", "Uses of API keys that were not written down")
    uses = KeyUsage(database, dropped=dropped.inc)
    relay = Relay(database, facts, _head_keeper(settings, database, signer, clock), written, clock=clock)
    tokens = _tokens(settings, clock)
    ring = RingReader(database, tokens.use, clock)
    services = _services(settings, database, hasher, tokens, uses, signer, clock)
    postman = _postman(settings, database, services, shell.metrics, clock)
    sweeper = _sweeper(settings, database, shell.metrics, clock)
    rotated = asyncio.Event()
    relaying = PeriodicTask("relay", relay.relay, every_s=_LOOK_S, wake=written)
    reading = PeriodicTask("signing-keys", ring.read, every_s=_RING_S, wake=rotated)
    flushing = PeriodicTask("key-uses", uses.flush, every_s=settings.key_use_flush_s)
    mailing = PeriodicTask("mail", postman.deliver, every_s=_LOOK_S, wake=database.posted)
    likeness = PeriodicTask("likeness", partial(keep_nobody_alike, database, hasher), every_s=_LIKENESS_S)
    sweeping = PeriodicTask("sweeping", sweeper.sweep, every_s=settings.sweep_every_s)

    async def ring_changed(_fact: Fact | None = None) -> None:
        rotated.set()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with database, hasher, bus:
            await facts.declare(on_new=partial(relay.publish_again, KEPT))
            app.state.services = services
            await reading.once()
            bus.follow(AUTH_STREAM, [auth_subject("signing-key", "rotated")], ring_changed, on_gap=ring_changed)
            async with running_tasks(shell.metrics, relaying, reading, flushing, mailing, likeness, sweeping):
                yield
            await flushing.once()

    checks = {
        "nats": bus.check,
        "postgres": database.check,
        "relay": relaying.check,
        "signing-keys": reading.check,
        "mail": postman.check,
    }
    if settings.replica_url is not None:
        checks["replica"] = database.check_replica
    own = [accounts.router, passwords.router, sessions.router, api_keys.router, tenant.router]
    admin = [admin_users.router, admin_tenants.router, admin_api_keys.router, admin_audit.router]
    routers = [*own, *admin, internal.internal, internal.well_known]
    return service_app(shell, lifespan=lifespan, routers=routers, checks=checks)


def database_of(settings: Settings, written: asyncio.Event, clock: Clock = system_clock) -> PostgresDatabase:
    url = settings.database_url.get_secret_value()
    replica_url = settings.replica_url.get_secret_value() if settings.replica_url is not None else None
    return PostgresDatabase.open(url, written, service=NAME, pool_size=settings.pool_size, replica_url=replica_url, clock=clock)


def hasher_of(settings: Settings) -> Argon2Hasher:
    return Argon2Hasher(
        time_cost=settings.argon2_time_cost,
        memory_kib=settings.argon2_memory_kib,
        parallelism=settings.argon2_parallelism,
        threads=settings.hashing_threads,
        waiting=settings.hashing_waiting,
    )


def gate_of(settings: Settings, database: PostgresDatabase, hasher: Argon2Hasher, clock: Clock) -> PasswordGate:
    counting = Counting(
        decode_key(settings.refresh_key.get_secret_value()),
        failures_per_minute=settings.ip_failures_per_minute,
        registrations_per_minute=settings.ip_registrations_per_minute,
    )
    return PasswordGate(database, hasher, counting, clock, new_id)


def _tokens(settings: Settings, clock: Clock) -> SignedTokens:
    masters = [settings.signing_key, *filter(None, [settings.previous_signing_key])]
    return SignedTokens([decode_key(master.get_secret_value()) for master in masters], clock=clock, new_id=new_id)


def _head_keeper(settings: Settings, database: PostgresDatabase, signer: Ed25519Heads, clock: Clock) -> HeadKeeper:
    after = timedelta(seconds=settings.audit_head_after_s)
    export = ExportedHeads(settings.audit_heads_path)
    return HeadKeeper(database, signer, export, clock, every=settings.audit_head_every, after=after)


def _services(
    settings: Settings,
    database: PostgresDatabase,
    hasher: Argon2Hasher,
    tokens: SignedTokens,
    uses: KeyUsage,
    signer: Ed25519Heads,
    clock: Clock,
) -> Services:
    key = decode_key(settings.refresh_key.get_secret_value())
    rules = SessionRules(key, timedelta(days=settings.session_days), settings.refreshes_per_minute)
    gate = gate_of(settings, database, hasher, clock)
    invitations = InvitationRules(rules.refresh_key, settings.invite_url)
    resets = ResetRules(rules.refresh_key, timedelta(minutes=settings.reset_minutes), settings.reset_url)
    return Services(
        accounts=Accounts(database, hasher, gate, clock, new_id),
        sessions=SessionService(database, hasher, gate, tokens, rules, clock=clock, new_id=new_id, random=os.urandom),
        keys=KeyService(database, clock=clock, new_id=new_id, random=os.urandom),
        resets=Resets(database, hasher, gate, resets, clock=clock, new_id=new_id),
        resolver=Resolver(database, uses, clock),
        invitations=Invitations(database, invitations, clock=clock, new_id=new_id),
        tenants=TenantService(database, clock=clock, new_id=new_id),
        all_tenants=TenantAdministration(database, clock=clock, new_id=new_id),
        trail=Trail(database.trail),
        audit_public_key=signer.public_key,
        jwks=tokens.jwks,
    )


def _postman(settings: Settings, database: PostgresDatabase, services: Services, metrics: Metrics, clock: Clock) -> Postman:
    counted = metrics.counter("kalpi_auth_mails", "Mails by what became of them", ("kind", "outcome"))
    return Postman(
        database,
        mailer_of(settings.mail_url.get_secret_value(), settings.mail_from, clock),
        {
            "reset": services.resets.letter,
            "invite": services.invitations.letter,
            "email_changed": email_changed,
            "password_changed": password_changed,
        },
        lambda kind, outcome: counted.labels(kind, outcome).inc(),
        kept_for={
            "reset": timedelta(minutes=settings.reset_minutes),
            "invite": INVITATION_LIFETIME,
            "email_changed": _NOTICE_KEPT,
            "password_changed": _NOTICE_KEPT,
        },
        clock=clock,
    )


def _sweeper(settings: Settings, database: PostgresDatabase, metrics: Metrics, clock: Clock) -> Sweeper:
    swept = metrics.counter("kalpi_auth_swept", "Rows removed, long after they ended", ("what",))
    return Sweeper(
        database,
        Retention(timedelta(days=settings.sessions_kept_days), timedelta(days=settings.keys_kept_days)),
        lambda what, count: swept.labels(what).inc(count),
        clock=clock,
        new_id=new_id,
    )
