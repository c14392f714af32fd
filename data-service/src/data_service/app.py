"""The wiring of data-service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from data_service.adapters.dataset import Dataset
from data_service.adapters.leading import keep_in_memory, lead
from data_service.adapters.nats import BarFacts, Feed, declare_market_streams
from data_service.api import many, routes, versions
from data_service.api.imports import import_router
from data_service.domain.live import LiveBars
from data_service.domain.store import BarStore
from data_service.settings import Settings
from shared.events import EventBus
from shared.ids import new_id
from shared.limits.book import PlanWatcher
from shared.service import Shell, service_app
from shared.settings import load_settings
from shared.store import open_store
from shared.tasks import end_task, log_failure

__all__ = ["NAME", "create_app"]

NAME = "data-service"


def create_app(settings: Settings | None = None) -> FastAPI:
    settings = settings or load_settings(Settings)
    shell = Shell.of(NAME, settings)
    redis = open_store(settings.redis_url.get_secret_value())
    bus = EventBus(settings.nats_url.get_secret_value(), service=NAME, clock=shell.clock, new_id=new_id)
    plans = PlanWatcher(redis)

    dataset = Dataset(settings.state_dir, settings.bars_path, settings.loading)
    store = BarStore(dataset.snapshot)
    facts = BarFacts(bus, dataset.versions)
    feed = Feed(bus, LiveBars(dataset, facts), shell.metrics)
    leading: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        nonlocal leading
        await asyncio.to_thread(dataset.open)
        app.state.store, app.state.writer, app.state.plans, app.state.clock = store, dataset, plans, shell.clock
        async with redis, bus:
            await declare_market_streams(bus, facts)
            await plans.start(bus)
            leading = asyncio.create_task(lead(settings.state_dir, dataset, facts, feed.start))
            leading.add_done_callback(log_failure)
            keeping = asyncio.create_task(keep_in_memory(dataset))
            keeping.add_done_callback(log_failure)
            yield
            await end_task(keeping)
            await end_task(leading)

    async def live() -> None:
        if leading is not None and leading.done():
            leading.result()

    checks = {"nats": bus.check, "plans": plans.check, "live": live}
    return service_app(
        shell,
        lifespan=lifespan,
        routers=[routes.public, import_router(settings.import_max_bytes), routes.internal, many.router, versions.router],
        checks=checks,
    )
