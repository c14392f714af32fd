"""The shell every FastAPI service has: problems, health, metrics, guard and request middleware around its own routes."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from fastapi import APIRouter, FastAPI, Response
from starlette.middleware import Middleware

from shared.clock import Clock, system_clock
from shared.direct import AnswerDirectly
from shared.guard import Guard
from shared.health import Check, Readiness, health_router
from shared.metrics import Metrics
from shared.middleware import RequestMiddleware
from shared.principal import EnvelopeSigner, EnvelopeVerifier, KeyRing
from shared.problems import PROBLEM_RESPONSES, Problem, install_problem_handlers
from shared.settings import ServiceSettings
from shared.strict_query import RefuseUnknownQuery
from shared.telemetry import Telemetry

__all__ = ["Lifespan", "Shell", "edge_app", "service_app"]

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Shell:
    """What a service's wiring takes from here: made before its own resources, closed after them."""

    name: str
    clock: Clock
    telemetry: Telemetry
    metrics: Metrics
    readiness: Readiness
    signer: EnvelopeSigner
    verifier: EnvelopeVerifier

    @classmethod
    def of(cls, name: str, settings: ServiceSettings, clock: Clock = system_clock) -> "Shell":
        keys = KeyRing.parse(settings.principal_keys.get_secret_value())
        return cls(
            name=name,
            clock=clock,
            telemetry=Telemetry(name, settings.otlp_endpoint),
            metrics=Metrics(name),
            readiness=Readiness(),
            signer=EnvelopeSigner(keys, clock),
            verifier=EnvelopeVerifier(keys, name, clock),
        )


def service_app(shell: Shell, *, lifespan: Lifespan, routers: Sequence[APIRouter], checks: Mapping[str, Check]) -> FastAPI:
    """A service behind the gateway: nothing but health, metrics and keys answers without a signed principal.

    `lifespan` opens the service's resources; the app is ready once it has, until it is told to stop.
    """
    layers = [_requests(shell), Middleware(Guard, verifier=shell.verifier)]
    return _app(shell, lifespan, [_metrics_router(shell.metrics), *routers], checks, layers)


def edge_app(
    shell: Shell, *, lifespan: Lifespan, routers: Sequence[APIRouter], checks: Mapping[str, Check], edge: Middleware
) -> FastAPI:
    """The gateway: `edge` takes what is the services' to answer; metrics are served elsewhere, for clients come here."""
    return _app(shell, lifespan, routers, checks, [edge, _requests(shell)])


def _requests(shell: Shell) -> Middleware:
    return Middleware(RequestMiddleware, telemetry=shell.telemetry, metrics=shell.metrics)


def _app(
    shell: Shell,
    lifespan: Lifespan,
    routers: Sequence[APIRouter],
    checks: Mapping[str, Check],
    layers: Sequence[Middleware],
) -> FastAPI:

    @asynccontextmanager
    async def whole_lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with lifespan(app):
            shell.readiness.ready = True
            try:
                yield
            finally:
                shell.readiness.ready = False
        shell.telemetry.shutdown()

    app = FastAPI(
        title=shell.name,
        lifespan=whole_lifespan,
        dependencies=[RefuseUnknownQuery],
        responses=PROBLEM_RESPONSES,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # RequestMiddleware's part
        middleware=[*layers, Middleware(AnswerDirectly, routers=routers)],
    )
    app.state.readiness = shell.readiness
    app.state.shell = shell
    install_problem_handlers(app)
    app.include_router(health_router(shell.name, shell.readiness, checks))
    for router in routers:
        app.include_router(router)
    _describe_problems(app)
    return app


def _metrics_router(metrics: Metrics) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/metrics")
    async def render() -> Response:
        body, media_type = metrics.render()
        return Response(body, media_type=media_type)

    return router


def _describe_problems(app: FastAPI) -> None:
    plain = app.openapi

    def with_problem() -> dict[str, object]:
        document = plain()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = Problem.model_json_schema()
        return document

    app.openapi = with_problem  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
