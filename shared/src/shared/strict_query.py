"""Query parameters that are unknown or given twice are refused, never ignored: neither may silently give another answer."""

from collections import Counter
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


async def _refuse_unknown_query(request: Request) -> None:
    """A route with `openapi_extra={"x-own-query": True}` reads and checks `request.query_params` itself."""
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute) or (route.openapi_extra or {}).get("x-own-query"):
        return
    times = Counter(name for name, _ in request.query_params.multi_items())
    known = known_query_parameters(route)
    errors = [
        {"loc": ["query", name], "msg": "unknown parameter", "type": "extra_forbidden"} for name in times if name not in known
    ]
    errors += [{"loc": ["query", name], "msg": "given twice", "type": "value_error"} for name in times if times[name] > 1]
    if errors:
        raise InvalidInput(f"unfit query parameters: {', '.join(str(error['loc'][1]) for error in errors)}", errors)


RefuseUnknownQuery = Depends(_refuse_unknown_query)
