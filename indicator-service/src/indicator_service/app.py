"""The wiring of indicator-service."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from indicator_service.adapters.custom import PostgresCustomIndicators
from indicator_service.adapters.data_client import DataClient
from indicator_service.adapters.kept_results import RedisResults
from indicator_service.api import batch, custom, expressions, patterns, routes, screener
from indicator_service.api.answering import Lanes
from indicator_service.api.describe import describe_indicators
from indicator_service.domain.results import Results, TimesToLive
from indicator_service.domain.saving import CustomIndicators
from indicator_service.domain.turns import Turns
from indicator_service.domain.unread import UnreadRoom
from indicator_service.settings import Settings
from shared.clock import Clock, system_clock
from shared.events import EventBus
from shared.http_client import ServiceClient
from shared.ids import new_id
from shared.limits.book import PlanWatcher
from shared.postgres import open_engine
from shared.service import Shell, service_app
from shared.settings import load_settings
from shared.store import open_store

__all__ = ["NAME", "create_app"]

NAME = "indicator-service"
_POSTGRES_S = 1.0
"""Well within what the gateway waits: without Postgres the catalogue still answers, a little later."""


def create_app(settings: Settings | None = None, *, clock: Clock = system_clock) -> FastAPI:
    settings = settings or load_settings(Settings)
    shell = Shell.of(NAME, settings, clock)
    redis = open_store(settings.redis_url.get_secret_value())
    bus = EventBus(settings.nats_url.get_secret_value(), service=NAME, clock=shell.clock, new_id=new_id)
    plans = PlanWatcher(redis)
    kept = RedisResults(redis, shell.metrics)
    ttl = TimesToLive(settings.cache_forming_ttl_s, settings.cache_ttl_s, settings.cache_group_ttl_s)
    url = settings.database_url.get_secret_value()
    engine = open_engine(url, service=NAME, pool_size=settings.pool_size, command_timeout_s=_POSTGRES_S)
    store = PostgresCustomIndicators(engine, within_s=_POSTGRES_S)
    data_service = ServiceClient(
        settings.data_urls, caller=NAME, audience="data-service", signer=shell.signer, telemetry=shell.telemetry
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with redis, kept, bus, data_service, store, Lanes() as lanes:
            await plans.start(bus)
            app.state.plans = plans
            kept.follow(bus)
            app.state.results = Results(kept, ttl, settings.cache_min_cost_ms / 1000, time.perf_counter)
            app.state.large = Turns()
            app.state.lanes = lanes
            app.state.reading = asyncio.Lock()
            app.state.unread = UnreadRoom(settings.unread_answers_mb << 20)
            app.state.custom = CustomIndicators(store, clock=clock, new_id=new_id)
            app.state.source = DataClient(data_service, settings.bars_cache_mb << 20)
            yield

    checks = {"nats": bus.check, "plans": plans.check, "data-service": data_service.check, "postgres": store.check}
    routers = [batch.router, custom.router, patterns.router, routes.router, expressions.router, screener.router]
    app = service_app(shell, lifespan=lifespan, routers=routers, checks=checks)
    describe_indicators(app)
    return app
