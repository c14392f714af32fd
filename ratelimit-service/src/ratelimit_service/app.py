"""The wiring of ratelimit-service."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from ratelimit_service.adapters.plans import FilePlans, PublishedPlans
from ratelimit_service.adapters.postgres import PostgresDatabase
from ratelimit_service.api import routes
from ratelimit_service.domain.control import PlanControl
from ratelimit_service.settings import Settings
from shared.errors import Unavailable
from shared.events import EventBus
from shared.ids import new_id
from shared.limits.limiter import Limiter
from shared.limits.plans import PlanFileError
from shared.logging import get_logger
from shared.service import Shell, service_app
from shared.settings import EX_CONFIG, load_settings
from shared.store import open_store
from shared.tasks import end_task

__all__ = ["NAME", "create_app"]

NAME = "ratelimit-service"
_POSTGRES_S = 2.0
_log = get_logger("plans")


def create_app(settings: Settings | None = None) -> FastAPI:
    settings = settings or load_settings(Settings)
    shell = Shell.of(NAME, settings)
    redis = open_store(settings.redis_url.get_secret_value())
    bus = EventBus(settings.nats_url.get_secret_value(), service=NAME, clock=shell.clock, new_id=new_id)
    url = settings.database_url.get_secret_value()
    database = PostgresDatabase(url, service=NAME, pool_size=settings.pool_size, within_s=_POSTGRES_S)
    published = PublishedPlans(redis, bus)
    control = _control_of(FilePlans(settings.plans_path), published)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with redis, bus, database:
            await published.declare()
            app.state.control = control
            app.state.limiter = Limiter(redis)
            await control.publish()
            looking = asyncio.create_task(_keep_looking(control, settings.plans_look_s))
            yield
            await end_task(looking)

    async def store() -> None:
        await published.is_kept()

    checks = {"nats": bus.check, "redis": store, "postgres": database.check}
    return service_app(shell, lifespan=lifespan, routers=[routes.public], checks=checks)


def _control_of(file: FilePlans, published: PublishedPlans) -> PlanControl:
    """The control over a fit plan file, or the end of the process: one line for each fault."""
    try:
        return PlanControl(file, published)
    except (PlanFileError, OSError) as error:
        sys.stderr.write(f"plan file: {error}\n")
        sys.exit(EX_CONFIG)


async def _keep_looking(control: PlanControl, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await control.look_again()
        except Unavailable as error:
            _log.warning("plans not published; trying again", detail=error.detail)
