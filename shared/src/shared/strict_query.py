"""Unknown query parameters are refused, never ignored: a misspelt parameter must not silently give another answer."""

from collections.abc import Iterator

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from shared.errors import InvalidInput

__all__ = ["RefuseUnknownQuery", "known_query_parameters"]


def known_query_parameters(route: APIRoute) -> frozenset[str]:
    """The names a route declares, alone or in a query model."""
    names: set[str] = set()
    for name, annotation in _query_fields(route.dependant):
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            names |= {info.alias or field for field, info in annotation.model_fields.items()}
        else:
            names.add(name)
    return frozenset(names)


def _query_fields(dependant: Dependant) -> Iterator[tuple[str, object]]:
    for field in dependant.query_params:
        yield field.alias, field.field_info.annotation
    for inner in dependant.dependencies:
        yield from _query_fields(inner)


def _refuse_unknown_query(request: Request) -> None:
    """A route with `openapi_extra={"x-own-query": True}` reads and checks `request.query_params` itself."""
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute) or (route.openapi_extra or {}).get("x-own-query"):
        return
    unknown = sorted(set(request.query_params) - known_query_parameters(route))
    if unknown:
        errors = [{"loc": ["query", name], "msg": "unknown parameter", "type": "extra_forbidden"} for name in unknown]
        raise InvalidInput(f"unknown query parameters: {', '.join(unknown)}", errors)


RefuseUnknownQuery = Depends(_refuse_unknown_query)
