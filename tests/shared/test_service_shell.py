"""What every service does alike: guard, problems, request ids, health, metrics, strict queries."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel, ConfigDict

from shared.errors import Conflict, InvalidInput, NotFound, RateLimited, TierRequired, Unavailable
from shared.guard import Caller, require_role
from shared.service import Shell, service_app
from shared.settings import Port, ServiceSettings, service_config
from tests.support.asgi import running
from tests.support.principals import PRINCIPAL_KEYS, headers_for, user

NAME = "example-service"


class Settings(ServiceSettings):
    model_config = service_config("EXAMPLE_")
    port: Port = 1


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int


ERRORS = {
    "missing": NotFound("no such thing"),
    "taken": Conflict("already there"),
    "tier": TierRequired("needs more", "pro"),
    "slow-down": RateLimited("too fast", 7, ["burst", "day"]),
    "away": Unavailable("gone", 3),
    "field": InvalidInput.field("query", "size", msg="too large"),
    "bug": ZeroDivisionError("secret detail"),
}


def create_app(broken: bool = False) -> FastAPI:
    router = APIRouter()

    @router.get("/me")
    async def me(caller: Caller, colour: str = "red") -> dict[str, str]:
        return {"user": caller.principal.user_id, "colour": colour}

    @router.get("/admin", dependencies=[require_role("admin")])
    async def admin() -> str:
        return "welcome"

    @router.get("/internal/v1/secret")
    async def internal() -> str:
        return "for services"

    @router.get("/fail/{how}")
    async def fail(how: str) -> None:
        raise ERRORS[how]

    @router.post("/body")
    async def body(body: Body) -> Body:
        return body

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield

    async def check() -> None:
        if broken:
            raise ConnectionError("secret host name")

    shell = Shell.of(NAME, Settings(principal_keys=PRINCIPAL_KEYS))
    return service_app(shell, lifespan=lifespan, routers=[router], checks={"store": check})


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app()) as client:
        yield client


def signed(roles: tuple[str, ...] = ()) -> dict[str, str]:
    return headers_for(user(roles=roles), NAME)


async def test_without_a_signed_principal_nothing_answers_but_health_and_metrics(client: httpx.AsyncClient) -> None:
    for path in ("/me", "/nowhere", "/internal/v1/secret", "/openapi.json", "/docs"):
        refused = await client.get(path)
        assert refused.status_code == 401, path
        assert refused.headers["content-type"] == "application/problem+json"
    for path in ("/health", "/health/live", "/health/ready", "/metrics"):
        assert (await client.get(path)).status_code == 200, path


async def test_a_principal_for_another_service_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.get("/me", headers=headers_for(user(), "other-service"))).status_code == 401


async def test_two_principals_are_refused(client: httpx.AsyncClient) -> None:
    both = [*signed().items(), *signed().items()]
    assert (await client.get("/me", headers=both)).status_code == 401


async def test_users_do_not_reach_internal_paths(client: httpx.AsyncClient) -> None:
    assert (await client.get("/internal/v1/secret", headers=signed())).status_code == 404


async def test_a_role_is_required_where_it_says_so(client: httpx.AsyncClient) -> None:
    assert (await client.get("/admin", headers=signed())).status_code == 403
    assert (await client.get("/admin", headers=signed(("admin",)))).status_code == 200


@pytest.mark.parametrize(
    ("how", "status", "members", "headers"),
    [
        ("missing", 404, {"detail": "no such thing"}, {}),
        ("taken", 409, {}, {}),
        ("tier", 403, {"required_tier": "pro"}, {}),
        ("slow-down", 429, {"violated-policies": ["burst", "day"]}, {"retry-after": "7"}),
        ("away", 503, {}, {"retry-after": "3"}),
        ("field", 422, {"errors": [{"loc": ["query", "size"], "msg": "too large", "type": "value_error"}]}, {}),
    ],
)
async def test_each_error_becomes_its_problem(
    client: httpx.AsyncClient, how: str, status: int, members: dict[str, object], headers: dict[str, str]
) -> None:
    answer = await client.get(f"/fail/{how}", headers={**signed(), "X-Request-ID": "mine-1"})
    problem = answer.json()
    assert answer.status_code == problem["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["instance"] == f"/fail/{how}"
    assert problem["request_id"] == answer.headers["x-request-id"] == "mine-1"
    assert members.items() <= problem.items()
    assert headers.items() <= dict(answer.headers).items()


async def test_an_unexpected_error_is_a_500_that_tells_nothing(client: httpx.AsyncClient) -> None:
    answer = await client.get("/fail/bug", headers=signed())
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_unknown_paths_and_methods_are_problems(client: httpx.AsyncClient) -> None:
    assert (await client.get("/nowhere", headers=signed())).json()["title"] == "Not Found"
    wrong = await client.delete("/me", headers=signed())
    assert (wrong.status_code, wrong.headers["content-type"]) == (405, "application/problem+json")


async def test_unknown_query_parameters_are_named(client: httpx.AsyncClient) -> None:
    assert (await client.get("/me?colour=blue", headers=signed())).json()["colour"] == "blue"
    refused = await client.get("/me?color=blue", headers=signed())
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["loc"] == ["query", "color"]


async def test_a_bad_body_names_its_fields(client: httpx.AsyncClient) -> None:
    refused = await client.post("/body", json={"size": "x", "tier": "pro"}, headers=signed())
    assert refused.status_code == 422
    assert {tuple(error["loc"]) for error in refused.json()["errors"]} == {("body", "size"), ("body", "tier")}


@pytest.mark.parametrize("sent", ["", "has space", "x" * 129, "nul\u0001", "ümlaut"])
async def test_an_insane_request_id_is_replaced(client: httpx.AsyncClient, sent: str) -> None:
    answer = await client.get("/health", headers=[(b"X-Request-ID", sent.encode())])
    assert answer.headers["x-request-id"] not in {"", sent}


async def test_health_names_a_dependency_that_fails_and_not_its_secrets() -> None:
    async with running(create_app(broken=True)) as client:
        health = await client.get("/health")
    assert health.json()["dependencies"] == {"store": "failed (ConnectionError)"}
    assert health.json()["status"] == "degraded"
    assert "secret" not in health.text


async def test_metrics_count_requests_by_route(client: httpx.AsyncClient) -> None:
    await client.get("/fail/missing", headers=signed())
    text = (await client.get("/metrics")).text
    assert 'kalpi_http_requests_total{method="GET",route="/fail/{how}",service="example-service",status="404"} 1.0' in text
