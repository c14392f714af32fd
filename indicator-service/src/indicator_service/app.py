"""The wiring of indicator-service."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from indicator_service.adapters.data_client import DataClient
from indicator_service.adapters.kept_results import RedisResults
from indicator_service.api import batch, expressions, patterns, routes, screener
from indicator_service.api.describe import describe_indicators
from indicator_service.domain.results import Results, TimesToLive
from indicator_service.settings import Settings
from shared.events import EventBus
from shared.http_client import ServiceClient
from shared.ids import new_id
from shared.limits.book import PlanWatcher
from shared.service import Shell, service_app
from shared.settings import load_settings
from shared.store import open_store

__all__ = ["NAME", "create_app"]

NAME = "indicator-service"


def create_app(settings: Settings | None = None) -> FastAPI:
    settings = settings or load_settings(Settings)
    shell = Shell.of(NAME, settings)
    redis = open_store(settings.redis_url.get_secret_value())
    bus = EventBus(settings.nats_url.get_secret_value(), service=NAME, clock=shell.clock, new_id=new_id)
    plans = PlanWatcher(redis)
    kept = RedisResults(redis, shell.metrics)
    ttl = TimesToLive(settings.cache_forming_ttl_s, settings.cache_ttl_s, settings.cache_group_ttl_s)
    data_service = ServiceClient(
        settings.data_urls, caller=NAME, audience="data-service", signer=shell.signer, telemetry=shell.telemetry
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with redis, bus, data_service:
            await plans.start(bus)
            app.state.plans = plans
            kept.follow(bus)
            app.state.results = Results(kept, ttl, settings.cache_min_cost_ms / 1000, time.perf_counter)
            app.state.large = asyncio.Semaphore(1)
            app.state.source = DataClient(data_service, settings.bars_cache_mb << 20)
            yield

    checks = {"nats": bus.check, "plans": plans.check, "data-service": data_service.check}
    routers = [batch.router, patterns.router, routes.router, expressions.router, screener.router]
    app = service_app(shell, lifespan=lifespan, routers=routers, checks=checks)
    describe_indicators(app)
    return app
