"""The wiring of data-service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from data_service.adapters.nats import BarFacts, Feed, declare_market_streams
from data_service.adapters.parquet import Overlay, load_store
from data_service.api import routes
from data_service.domain.live import LiveBars
from data_service.settings import Settings
from shared.events import EventBus
from shared.ids import new_id
from shared.limits.book import PlanWatcher
from shared.service import Shell, service_app
from shared.settings import load_settings
from shared.store import open_store

__all__ = ["NAME", "create_app"]

NAME = "data-service"


def create_app(settings: Settings | None = None) -> FastAPI:
    settings = settings or load_settings(Settings)
    shell = Shell.of(NAME, settings)
    redis = open_store(settings.redis_url.get_secret_value())
    bus = EventBus(settings.nats_url.get_secret_value(), service=NAME, clock=shell.clock, new_id=new_id)
    plans = PlanWatcher(redis)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        overlay = Overlay(settings.state_dir)
        app.state.store = store = load_store(settings.bars_path, overlay)
        app.state.plans = plans
        async with redis, bus:
            facts = BarFacts(bus, store)
            await declare_market_streams(bus, facts)
            await plans.start(bus)
            await facts.announce_changed()
            Feed(bus, LiveBars(store, overlay, facts), shell.metrics).start()
            yield

    checks = {"nats": bus.check, "plans": plans.check}
    return service_app(shell, lifespan=lifespan, routers=[routes.public, routes.internal], checks=checks)
