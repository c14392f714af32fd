"""The wiring of ratelimit-service."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from functools import partial

from fastapi import FastAPI

from ratelimit_service.adapters.counters import RedisCounters, ToldGateways
from ratelimit_service.adapters.partitions import schedules
from ratelimit_service.adapters.plans import FilePlans, PublishedPlans
from ratelimit_service.adapters.postgres import PostgresDatabase
from ratelimit_service.adapters.usage import UsageTaking
from ratelimit_service.adapters.usage_reader import PostgresAnalytics, PostgresHistory
from ratelimit_service.adapters.usage_units import PostgresUnits
from ratelimit_service.api import admin_limits, admin_plans, analytics, check, routes, usage_history
from ratelimit_service.api.dependencies import Services
from ratelimit_service.domain.auditing import Changes
from ratelimit_service.domain.control import PlanControl
from ratelimit_service.domain.deciding import Deciding
from ratelimit_service.domain.overriding import Overriding
from ratelimit_service.domain.publishing import Publishing
from ratelimit_service.domain.refilling import Refill
from ratelimit_service.domain.resetting import Resetting
from ratelimit_service.domain.sweeping import Sweeper
from ratelimit_service.domain.versions import Recorder
from ratelimit_service.settings import Settings
from shared.clock import Clock, system_clock
from shared.events import EventBus
from shared.ids import new_id
from shared.limits.book import PlanWatcher
from shared.limits.limiter import Limiter
from shared.limits.plans import PlanFileError
from shared.periodic import PeriodicTask, running_tasks
from shared.replica import Replicated
from shared.scripts import ScriptConnection
from shared.service import Shell, service_app
from shared.settings import EX_CONFIG, load_settings
from shared.store import open_store

__all__ = ["NAME", "create_app"]

NAME = "ratelimit-service"
_POSTGRES_S = 2.0
_WRITING_S = 20.0
_READING_S = 5.0
_AWAY = "usage cannot be read or written now"
_LOST_LOOK_S = 1.0
_REFILL_LOOK_S = 0.5
_HOUR_S = 3600.0


def create_app(settings: Settings | None = None, *, clock: Clock = system_clock) -> FastAPI:
    settings = settings or load_settings(Settings)
    shell = Shell.of(NAME, settings, clock)
    redis = open_store(settings.redis_url.get_secret_value())
    scripts = ScriptConnection(settings.redis_url.get_secret_value())
    limiter = Limiter(scripts, metrics=shell.metrics)
    bus = EventBus(settings.nats_url.get_secret_value(), service=NAME, clock=clock, new_id=new_id)
    url = settings.database_url.get_secret_value()
    database = PostgresDatabase(url, service=NAME, pool_size=settings.pool_size, within_s=_POSTGRES_S)
    plans = PlanWatcher(redis)
    usage = PostgresDatabase(url, service=NAME, pool_size=2, within_s=_WRITING_S, away=_AWAY)
    reads, replica = _reads_of(settings)
    kept = schedules(
        log_days=settings.keep_log_days,
        minute_days=settings.keep_minute_days,
        hour_days=settings.keep_hour_days,
        day_days=settings.keep_day_days,
    )
    published = PublishedPlans(redis, bus)
    changed = asyncio.Event()
    recorder = Recorder(clock, new_id)
    control = _control_of(FilePlans(settings.plans_path), database, published, plans, recorder)
    counters = RedisCounters(redis)
    resetting = Resetting(counters, ToldGateways(bus), database, recorder)
    lagging = Replicated(reads.connection, replica.connection if replica is not None else None, clock)
    services = _services(database, lagging, resetting, limiter, plans, recorder, changed)
    refill = Refill(PostgresUnits(reads.connection), counters, limiter, plans, clock)
    sweeper = Sweeper(database, services.overriding, timedelta(days=settings.history_days), clock)
    taking = UsageTaking(bus, usage.connection, shell.metrics, clock, kept=kept, log_per_s=settings.log_per_s)
    looking = PeriodicTask("plans", control.look, every_s=settings.plans_look_s, wake=changed)
    partitions = PeriodicTask("partitions", taking.keep_partitions, every_s=_HOUR_S)
    others = (
        PeriodicTask("sweeping", sweeper.sweep, every_s=_HOUR_S),
        PeriodicTask("refill", refill.look, every_s=_REFILL_LOOK_S),
        # of gateways that died: counted and logged, each once, by whichever replica finds it
        PeriodicTask("lost-leases", limiter.lost_leases, every_s=_LOST_LOOK_S),
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with redis, scripts, database, usage, reads, replica or nullcontext(), bus:
            await published.declare()
            app.state.services = services
            await looking.once()
            await plans.start(bus)
            async with running_tasks(shell.metrics, looking, partitions, *others):
                yield

    async def store() -> None:
        await published.state()

    own = {"plans": looking.check, "partitions": partitions.check}
    checks = {"nats": bus.check, "redis": store, "postgres": database.check, **own}
    if replica is not None:
        checks["replica"] = replica.check
    routers = [
        routes.public,
        usage_history.router,
        analytics.router,
        check.router,
        admin_plans.router,
        admin_limits.router,
        routes.admin,
    ]
    return service_app(shell, lifespan=lifespan, routers=routers, checks=checks)


def _control_of(
    file: FilePlans,
    database: PostgresDatabase,
    published: PublishedPlans,
    plans: PlanWatcher,
    recorder: Recorder,
) -> PlanControl:
    """The control over a fit plan file, or the end of the process: one line for each fault."""
    try:
        return PlanControl(file, database, published, plans, recorder)
    except (PlanFileError, OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"plan file: {error}\n")
        sys.exit(EX_CONFIG)


def _reads_of(settings: Settings) -> tuple[PostgresDatabase, PostgresDatabase | None]:
    """Where usage is read: the primary, and a replica where there is one."""
    opened = partial(PostgresDatabase, service=NAME, pool_size=settings.usage_pool_size, within_s=_READING_S, away=_AWAY)
    replica_url = settings.replica_url
    replica = opened(replica_url.get_secret_value()) if replica_url is not None else None
    return opened(settings.database_url.get_secret_value()), replica


def _services(
    database: PostgresDatabase,
    lagging: Replicated,
    resetting: Resetting,
    limiter: Limiter,
    plans: PlanWatcher,
    recorder: Recorder,
    changed: asyncio.Event,
) -> Services:
    return Services(
        plans=plans,
        limiter=limiter,
        publishing=Publishing(database, plans, recorder, changed),
        overriding=Overriding(database, recorder, changed),
        resetting=resetting,
        deciding=Deciding(limiter, plans, recorder.clock),
        history=PostgresHistory(lagging),
        analytics=PostgresAnalytics(lagging),
        changes=Changes(database),
        clock=recorder.clock,
    )
