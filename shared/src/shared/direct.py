"""Routes that are asked often, answered without the framework in between.

FastAPI finds a route and solves its parameters anew for each request, for some 160 µs. A `DirectRoute` is declared and described
like any other, but a GET or a POST that fits it is answered here: what its path and query say is validated by FastAPI's own
fields, once, and remembered. Whatever does not fit goes on to FastAPI, which says what is wrong with it."""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any, get_type_hints

from fastapi import APIRouter, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.datastructures import QueryParams
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.errors import KalpiError
from shared.problems import problem_response

__all__ = ["AnswerDirectly", "DirectRoute"]

_REMEMBERED = 1024
_LONGEST_REMEMBERED = 1024
"""Bytes of path and query together."""
_KINDS = [field.name for field in fields(Dependant) if field.name.endswith(("_params", "_param_name", "dependencies"))]

Provider = Callable[[Request], Awaitable[Any]]


class _Unfit(Exception):
    """It is FastAPI's to answer, or to refuse."""


class DirectRoute(APIRoute):
    """For `APIRouter(route_class=…)`.

    The endpoint returns a `Response` or raises a `KalpiError`. It takes no more than the request, whose body it reads itself,
    dependencies that take the request alone, path parameters, and one query model, frozen because requests share it; TypeError
    for one that does.
    """

    def __init__(self, path: str, endpoint: Callable[..., Awaitable[Response]], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        asked = self.dependant
        if not _only(asked, "request_param_name", "dependencies", "path_params", "query_params"):
            raise TypeError(f"{path} takes what a direct route does not give")
        if not issubclass(get_type_hints(endpoint)["return"], Response):
            raise TypeError(f"{path} returns no Response")
        self._request_name = asked.request_param_name
        self._providers = [_provider_of(inner, path) for inner in asked.dependencies]
        self._query = _query_field(asked, path)
        self._own_query = bool((self.openapi_extra or {}).get("x-own-query"))

    def read(self, path_params: Mapping[str, Any], query: QueryParams) -> dict[str, Any]:
        """The endpoint's arguments that path and query give."""
        sent = dict(query)
        if len(sent) < len(query.multi_items()) or (sent and self._query is None and not self._own_query):
            raise _Unfit
        given = [(field, path_params[field.alias]) for field in self.dependant.path_params]
        if self._query is not None:
            given.append((self._query, sent))
        arguments = {}
        for field, value in given:
            arguments[field.name], faults = field.validate(value)
            if faults:
                raise _Unfit
        return arguments

    async def answer(self, request: Request, arguments: Mapping[str, Any]) -> Response:
        provided = {name: await provide(request) for name, provide in self._providers}
        if self._request_name is not None:
            provided[self._request_name] = request
        response: Response = await self.endpoint(**provided, **arguments)
        return response


def _only(asked: Dependant, *kinds: str) -> bool:
    return not any(getattr(asked, kind) for kind in _KINDS if kind not in kinds)


def _provider_of(asked: Dependant, path: str) -> tuple[str, Provider]:
    if asked.name is None or not inspect.iscoroutinefunction(asked.call) or not _only(asked, "request_param_name"):
        raise TypeError(f"{path} depends on more than the request")
    return asked.name, asked.call


def _query_field(asked: Dependant, path: str) -> Any:
    """The field of the one query model; None when there is none."""
    if not asked.query_params:
        return None
    field, *more = asked.query_params
    model = field.field_info.annotation
    config = model.model_config if isinstance(model, type) and issubclass(model, BaseModel) else {}
    if more or not config.get("frozen") or config.get("extra") != "forbid":
        raise TypeError(f"the query of {path} is not one model that is frozen and forbids what it does not know")
    return field


class AnswerDirectly:
    """Answers what the direct routes of the routers fit; an earlier route that is not direct comes first, as in FastAPI."""

    def __init__(self, app: ASGIApp, routers: Sequence[APIRouter]) -> None:
        self._app = app
        self._routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
        while self._routes and not isinstance(self._routes[-1], DirectRoute):
            self._routes.pop()
        self._remembered = lru_cache(_REMEMBERED)(self._find)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            route, arguments = self._route_of(scope)
        except _Unfit:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive)
        try:
            response = await route.answer(request, arguments)
        except KalpiError as error:
            response = problem_response(error, request.url.path)
        await response(scope, receive, send)

    def _route_of(self, scope: Scope) -> tuple[DirectRoute, dict[str, Any]]:
        if scope["type"] != "http" or scope["method"] not in {"GET", "POST"}:
            raise _Unfit
        path, query = scope["path"], scope["query_string"]
        find = self._remembered if len(path) + len(query) <= _LONGEST_REMEMBERED else self._find
        return find(scope["method"], path, query)

    def _find(self, method: str, path: str, query: bytes) -> tuple[DirectRoute, dict[str, Any]]:
        """The route, and its arguments, which the caller leaves as they are."""
        wanted = {"type": "http", "method": method, "path": path, "root_path": ""}
        for route in self._routes:
            match, found = route.matches(wanted)
            if match is Match.FULL:
                if not isinstance(route, DirectRoute):
                    break
                return route, route.read(found["path_params"], QueryParams(query))
        raise _Unfit
