"""The wiring of the gateway."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from redis.asyncio import Redis
from starlette.middleware import Middleware

from gateway.adapters.auth_client import AuthClient
from gateway.adapters.facts import MarketFacts, follow_auth, follow_counters
from gateway.adapters.metrics_server import serving_metrics
from gateway.adapters.request_metrics import RequestMetrics
from gateway.adapters.requests import RequestEvents
from gateway.adapters.route_files import RouteFile
from gateway.adapters.upstream_metrics import count_shed
from gateway.adapters.upstreams import Upstreams
from gateway.api import pages
from gateway.api.answers import CommonFields, ReadyAnswer
from gateway.api.asked import Targets
from gateway.api.edge import Edge
from gateway.api.forwarding import Forwarding
from gateway.api.hits import Hits
from gateway.api.misses import Misses
from gateway.api.reading import Reading
from gateway.api.settling import Ledger
from gateway.domain.admission import Admission
from gateway.domain.caching import AnswerCache
from gateway.domain.callers import Callers
from gateway.domain.origins import Origins
from gateway.domain.requests import told_each
from gateway.domain.route_file import RouteFileError
from gateway.domain.routing import AUTH, DATA, INDICATOR, RATELIMIT
from gateway.domain.shedding import Shedding
from gateway.domain.tokens import SigningKeys, TokenVerifier
from gateway.settings import Settings
from shared.events import EventBus
from shared.heads import Heads
from shared.health import Check
from shared.http_client import ServiceClient
from shared.ids import new_id
from shared.limits.book import PlanWatcher
from shared.limits.limiter import Limiter
from shared.metrics import Metrics
from shared.scripts import ScriptConnection
from shared.service import Shell, edge_app
from shared.settings import EX_CONFIG, load_settings
from shared.store import open_store
from shared.tasks import end_task, log_failure

__all__ = ["NAME", "create_app"]

NAME = "gateway"


def create_app(settings: Settings | None = None) -> FastAPI:
    settings = settings or load_settings(Settings)
    shell = Shell.of(NAME, settings)
    redis = open_store(settings.redis_url.get_secret_value())
    scripts = ScriptConnection(settings.redis_url.get_secret_value())
    limiter = _limiter_of(scripts, shell)
    bus = EventBus(settings.nats_url.get_secret_value(), service=NAME, clock=shell.clock, new_id=new_id)
    route_file = _route_file_of(settings.routes_path, shell.metrics)
    clients = _clients_of(settings, shell)
    plans = PlanWatcher(redis)
    upstreams = _upstreams_of(settings, shell, plans)
    market = MarketFacts()
    auth = AuthClient(clients[AUTH])
    keys = SigningKeys(auth)
    origins = Origins(auth)
    callers = Callers(auth, TokenVerifier(keys, shell.clock), shell.clock)
    admission = Admission(limiter, plans, shell.clock, new_id)
    requests = RequestEvents(
        bus, shell.metrics, new_id, most_bytes=settings.usage_mb << 20, stream_bytes=settings.usage_stream_mb << 20
    )
    common = CommonFields(settings.hsts_s)
    cache: AnswerCache[ReadyAnswer] = AnswerCache(market, settings.cache_mb << 20, time.monotonic)
    forwarding = Forwarding(upstreams, shell.signer, settings.max_body_bytes)
    reading = Reading(cache, admission, forwarding, common, 2 * settings.upstream_timeout_s)
    record = told_each(RequestMetrics(shell.metrics, cache.counts), requests.record)
    ledger = Ledger(record, log_hits=settings.log_hits)
    targets = Targets(route_file.table)
    misses = Misses(reading, shell.telemetry, ledger)
    heads = Heads()
    hits = Hits(targets, callers, admission, reading, misses, common, settings.trusted_proxies, record, shell.clock)
    edge = Middleware(
        Edge,
        name=NAME,
        targets=targets,
        callers=callers,
        origins=origins,
        admission=admission,
        reading=reading,
        forwarding=forwarding,
        common=common,
        held_body_bytes=settings.held_body_mb << 20,
        trusted_proxies=settings.trusted_proxies,
        telemetry=shell.telemetry,
        ledger=ledger,
        clock=shell.clock,
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with (
            redis,
            scripts,
            limiter,
            bus,
            clients[AUTH],
            clients[DATA],
            clients[INDICATOR],
            clients[RATELIMIT],
            upstreams,
        ):
            with serving_metrics(shell.metrics, settings.host, settings.metrics_port):
                await plans.start(bus)
                market.follow(bus, cache.evict)
                follow_auth(bus, callers, keys, origins)
                follow_counters(bus, limiter.forget)
                await requests.declare()
                await keys.refresh()
                works = (
                    admission.slots.keep(),
                    callers.keep_fresh(),
                    heads.keep_young(),
                    keys.run(),
                    origins.run(),
                    requests.run(),
                    route_file.keep_looking(settings.routes_look_s),
                )
                tasks = [asyncio.create_task(work) for work in works]
                for task in tasks:
                    task.add_done_callback(log_failure)
                yield
                await asyncio.gather(*map(end_task, tasks), reading.flights.close())
                admission.slots.close()
                await requests.flush()

    checks = _checks_of(redis, bus, limiter, plans, clients)
    app = edge_app(shell, lifespan=lifespan, routers=[pages.router], checks=checks, edge=edge)
    pages.mount_assets(app)
    if not shell.telemetry.exports and not settings.log_hits:  # a span or a line for each takes the long way
        app.state.at_once, app.state.heads = hits.answer, heads
        route_file.table.when_taken(heads.clear)
    return app


def _limiter_of(scripts: ScriptConnection, shell: Shell) -> Limiter:
    # as records of its leases name it
    name = f"{socket.gethostname()}.{os.getpid()}.{new_id().hex[-8:]}"
    return Limiter(scripts, metrics=shell.metrics, name=name, clock=shell.clock)


def _urls_of(settings: Settings) -> dict[str, tuple[str, ...]]:
    return {
        AUTH: settings.auth_urls,
        DATA: settings.data_urls,
        INDICATOR: settings.indicator_urls,
        RATELIMIT: settings.ratelimit_urls,
    }


def _clients_of(settings: Settings, shell: Shell) -> dict[str, ServiceClient]:
    """What the gateway asks for itself."""
    return {
        service: ServiceClient(
            instances,
            caller=NAME,
            audience=service,
            signer=shell.signer,
            telemetry=shell.telemetry,
            timeout_s=settings.upstream_timeout_s,
        )
        for service, instances in _urls_of(settings).items()
    }


def _checks_of(
    redis: Redis, bus: EventBus, limiter: Limiter, plans: PlanWatcher, clients: Mapping[str, ServiceClient]
) -> dict[str, Check]:
    async def store() -> None:
        await redis.ping()

    own: dict[str, Check] = {"nats": bus.check, "redis": store, "limits": limiter.check, "plans": plans.check}
    return own | {service: client.check_all for service, client in clients.items()}


def _upstreams_of(settings: Settings, shell: Shell, plans: PlanWatcher) -> Upstreams:
    """What it hands on for others."""
    urls = _urls_of(settings)
    shedding = Shedding(
        urls,
        plans,
        most=settings.forwarded_at_once,
        most_per_service=settings.forwarded_at_once_per_service,
        kept=settings.kept_for_paid,
        told=count_shed(shell.metrics),
    )
    return Upstreams(
        urls,
        telemetry=shell.telemetry,
        metrics=shell.metrics,
        shedding=shedding,
        timeout_s=settings.upstream_timeout_s,
        connections=settings.upstream_connections,
    )


def _route_file_of(path: Path | None, metrics: Metrics) -> RouteFile:
    """A fit route file, or the end of the process: one line for each fault."""
    try:
        return RouteFile(path, metrics)
    except (RouteFileError, OSError, UnicodeDecodeError) as error:
        sys.stderr.writelines(f"route file: {line}\n" for line in str(error).splitlines())
        sys.exit(EX_CONFIG)
