"""The wiring of ratelimit-service."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

from fastapi import FastAPI

from ratelimit_service.adapters.counters import RedisCounters
from ratelimit_service.adapters.day_counters import DayCounters
from ratelimit_service.adapters.partitions import schedules
from ratelimit_service.adapters.plans import FilePlans, PublishedPlans
from ratelimit_service.adapters.postgres import PostgresDatabase
from ratelimit_service.adapters.usage import taking_usage
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
from shared.errors import Unavailable
from shared.events import EventBus
from shared.ids import new_id
from shared.limits.book import PlanWatcher
from shared.limits.limiter import Limiter
from shared.limits.plans import PlanFileError
from shared.scripts import ScriptConnection
from shared.service import Shell, service_app
from shared.settings import EX_CONFIG, load_settings
from shared.store import open_store
from shared.tasks import end_task, log_failure

__all__ = ["NAME", "create_app"]

NAME = "ratelimit-service"
_POSTGRES_S = 2.0
_WRITING_S = 20.0
_READING_S = 5.0
_AWAY = "usage cannot be read or written now"
_LOST_LOOK_S = 1.0
_REFILL_LOOK_S = 0.5


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
    reads = PostgresDatabase(url, service=NAME, pool_size=settings.usage_pool_size, within_s=_READING_S, away=_AWAY)
    kept = schedules(
        log_days=settings.keep_log_days,
        minute_days=settings.keep_minute_days,
        hour_days=settings.keep_hour_days,
        day_days=settings.keep_day_days,
    )
    published = PublishedPlans(redis, bus)
    changed = asyncio.Event()
    recorder = Recorder(clock, new_id)
    control = _control_of(FilePlans(settings.plans_path), database, published, plans, recorder, changed)
    services = _services(database, reads, RedisCounters(redis, bus), limiter, plans, recorder, changed)
    refill = Refill(PostgresUnits(reads.connection), DayCounters(redis), limiter, clock)
    sweeper = Sweeper(database, services.overriding, timedelta(days=settings.history_days), clock)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        taking = taking_usage(bus, usage, shell.metrics, shell.clock, kept=kept, log_per_s=settings.log_per_s)
        async with redis, scripts, database, usage, reads, bus, taking:
            await published.declare()
            app.state.services = services
            await control.try_look()
            await plans.start(bus)
            works = (control.run(settings.plans_look_s), sweeper.run(), refill.run(_REFILL_LOOK_S), _keep_finding(limiter))
            tasks = [asyncio.create_task(work) for work in works]
            for task in tasks:
                task.add_done_callback(log_failure)
            yield
            await asyncio.gather(*map(end_task, tasks))

    async def store() -> None:
        await published.state()

    checks = {"nats": bus.check, "redis": store, "postgres": database.check, "plans": control.check}
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
    changed: asyncio.Event,
) -> PlanControl:
    """The control over a fit plan file, or the end of the process: one line for each fault."""
    try:
        return PlanControl(file, database, published, plans, recorder, changed)
    except (PlanFileError, OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"plan file: {error}\n")
        sys.exit(EX_CONFIG)


def _services(
    database: PostgresDatabase,
    reads: PostgresDatabase,
    counters: RedisCounters,
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
        resetting=Resetting(counters, database, recorder),
        deciding=Deciding(limiter, plans, recorder.clock),
        history=PostgresHistory(reads.connection),
        analytics=PostgresAnalytics(reads.connection),
        changes=Changes(database),
        clock=recorder.clock,
    )


async def _keep_finding(limiter: Limiter) -> None:
    """Leases of gateways that died are counted and logged, each once, by whichever replica finds it."""
    while True:
        with suppress(Unavailable):
            await limiter.lost_leases()
        await asyncio.sleep(_LOST_LOOK_S)
