"""Direct routes answer as FastAPI would: what differs is the time it takes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, Path, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from shared.direct import DirectRoute
from shared.errors import NotFound
from shared.guard import Caller, require_role
from shared.service import Shell, service_app
from shared.settings import Port, ServiceSettings, service_config
from tests.support.asgi import running
from tests.support.principals import PRINCIPAL_KEYS, Vouched, user

NAME = "example-service"


class Settings(ServiceSettings):
    model_config = service_config("EXAMPLE_")
    port: Port = 1


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    limit: Annotated[int, Field(ge=1, le=10)] = 3
    name: Annotated[str | None, Field(max_length=4)] = None


async def _shop(request: Request) -> str:
    if "closed" in request.headers:
        raise NotFound("the shop is closed")
    return "open"


Shop = Annotated[str, Depends(_shop)]
Thing = Annotated[str, Path(pattern="^[a-z]+$")]


def create_app(route_class: type[APIRoute]) -> FastAPI:
    router = APIRouter(prefix="/v1", route_class=route_class)

    @router.get("/things/{thing}")
    async def thing(request: Request, caller: Caller, shop: Shop, thing: Thing, query: Annotated[Asked, Query()]) -> Response:
        if thing == "nothing":
            raise NotFound("no such thing")
        told = (request.method, request.url.path, caller.principal.tier, shop, thing, query.limit, query.name)
        return Response(repr(told), headers={"X-Told": thing})

    @router.get("/plain")
    async def plain() -> Response:
        return Response("plain")

    @router.get("/own", openapi_extra={"x-own-query": True})
    async def own(request: Request) -> Response:
        return Response(repr(request.query_params.multi_items()))

    @router.post("/things/{thing}")
    async def put(request: Request, thing: Thing, query: Annotated[Asked, Query()]) -> Response:
        body = await request.body()
        return Response(repr((thing, query.limit, body)), status_code=201)

    @router.get("/broken")
    async def broken() -> Response:
        raise ZeroDivisionError

    ordinary = APIRouter()

    @ordinary.get("/v1/things/special")
    async def special() -> str:
        return "declared before"

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield

    shell = Shell.of(NAME, Settings(principal_keys=PRINCIPAL_KEYS))
    return service_app(shell, lifespan=lifespan, routers=[ordinary, router], checks={})


@pytest.fixture
async def both() -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """The same service with direct routes and with FastAPI's, asked by the same caller."""
    caller, mine = Vouched(user(), NAME), {"X-Request-ID": "mine-1"}
    async with running(create_app(DirectRoute), caller, mine) as direct, running(create_app(APIRoute), caller, mine) as plain:
        yield direct, plain


@pytest.mark.parametrize(
    "target",
    [
        "/v1/things/pen",
        "/v1/things/pen?limit=7&name=blue",
        "/v1/things/pen?name=",
        "/v1/things/pen?name=%C3%BC+x",
        "/v1/things/nothing",
        "/v1/things/special",
        "/v1/things/PEN",
        "/v1/things/pen?limit=0",
        "/v1/things/pen?limit=x&name=purple",
        "/v1/things/pen?limit=1&limit=1",
        "/v1/things/pen?colour=red",
        "/v1/things/pen?" + "&".join(f"p{number}=x" for number in range(500)),
        "/v1/things/",
        "/v1/things/pen/",
        "/v1/plain",
        "/v1/plain?limit=1",
        "/v1/own?a=1&a=2&b=",
        "/v1/broken",
        "/v1/nowhere",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_a_direct_route_answers_as_the_same_route_of_fastapi(
    both: tuple[httpx.AsyncClient, httpx.AsyncClient], method: str, target: str
) -> None:
    for _ in range(2):
        direct, plain = [await client.request(method, target) for client in both]
        assert (direct.status_code, direct.content) == (plain.status_code, plain.content)
        assert dict(direct.headers) == dict(plain.headers)


@pytest.mark.parametrize("body", [b"", b"abc", b"x" * 300_000])
async def test_what_is_posted_is_read_by_the_endpoint(both: tuple[httpx.AsyncClient, httpx.AsyncClient], body: bytes) -> None:
    for client in both:
        answer = await client.post("/v1/things/pen?limit=2", content=body)
        assert (answer.status_code, answer.text) == (201, repr(("pen", 2, body)))


async def test_what_a_dependency_refuses_is_its_problem(both: tuple[httpx.AsyncClient, httpx.AsyncClient]) -> None:
    for client in both:
        refused = await client.get("/v1/things/pen", headers={"closed": "1"})
        assert (refused.status_code, refused.json()["detail"]) == (404, "the shop is closed")


async def test_it_is_counted_by_its_route(both: tuple[httpx.AsyncClient, httpx.AsyncClient]) -> None:
    for client in both:
        await client.get("/v1/things/pen")
        text = (await client.get("/metrics")).text
        assert f'{{method="GET",route="/v1/things/{{thing}}",service="{NAME}",status="200"}} 1.0' in text


async def test_without_a_signed_principal_it_does_not_answer(both: tuple[httpx.AsyncClient, httpx.AsyncClient]) -> None:
    for client in both:
        assert (await client.get("/v1/plain", headers={"X-Kalpi-Principal": "none"})).status_code == 401


class Thawed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    limit: int = 1


class Lenient(BaseModel):
    model_config = ConfigDict(frozen=True)
    limit: int = 1


async def takes_a_header(agent: Annotated[str, Header()]) -> Response:
    return Response(agent)


async def takes_a_body(body: Asked) -> Response:
    return Response(repr(body))


async def takes_a_loose_parameter(limit: int = 1) -> Response:
    return Response(str(limit))


async def takes_a_model_that_may_change(query: Annotated[Thawed, Query()]) -> Response:
    return Response(repr(query))


async def takes_a_model_that_takes_anything(query: Annotated[Lenient, Query()]) -> Response:
    return Response(repr(query))


async def depends_on_more(shop: Annotated[Response, Depends(takes_a_header)]) -> Response:
    return shop


async def returns_no_response() -> str:
    return ""


@pytest.mark.parametrize(
    "endpoint",
    [
        takes_a_header,
        takes_a_body,
        takes_a_loose_parameter,
        takes_a_model_that_may_change,
        takes_a_model_that_takes_anything,
        depends_on_more,
        returns_no_response,
    ],
)
def test_what_a_direct_route_cannot_give_is_an_error_where_it_is_declared(endpoint: object) -> None:
    with pytest.raises(TypeError, match="/x"):
        APIRouter(route_class=DirectRoute).get("/x")(endpoint)  # type: ignore[type-var]


def test_a_condition_that_would_be_passed_over_is_an_error_where_it_is_declared() -> None:
    async def plain() -> Response:
        return Response()

    with pytest.raises(TypeError, match="/x"):
        APIRouter(route_class=DirectRoute).get("/x", dependencies=[require_role("admin")])(plain)
