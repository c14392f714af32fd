"""The one place where errors become RFC 9457 problem+json."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.responses import Response

from shared.context import current_request_id
from shared.errors import InvalidInput, KalpiError

__all__ = [
    "PROBLEM_RESPONSES",
    "Problem",
    "install_problem_handlers",
    "internal_error",
    "problem_body",
    "problem_document",
    "problem_response",
]

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """RFC 9457, section 3; some problems carry more members (errors, required_scope, required_tier, violated-policies)."""

    model_config = ConfigDict(extra="allow")
    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str


PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {"description": "Problem", "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
}
"""For `FastAPI(responses=…)`: every route may answer with a problem."""


def problem_body(
    status: int, slug: str, title: str, detail: str, *, instance: str, members: Mapping[str, Any] | None = None
) -> bytes:
    return orjson.dumps(_document(status, slug, title, detail, instance, members))


def problem_document(error: KalpiError, instance: str) -> dict[str, Any]:
    """For a slot of an answer whose other slots succeeded."""
    return _document(error.status, error.slug, error.title, error.detail, instance, error.members)


def _document(
    status: int, slug: str, title: str, detail: str, instance: str, members: Mapping[str, Any] | None
) -> dict[str, Any]:
    return {
        "type": f"urn:kalpi:problem:{slug}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": instance,
        "request_id": current_request_id(),
        **(members or {}),
    }


def problem_response(error: KalpiError, instance: str) -> Response:
    body = problem_body(error.status, error.slug, error.title, error.detail, instance=instance, members=error.members)
    return Response(body, error.status, headers=dict(error.headers), media_type=MEDIA_TYPE)


def internal_error(instance: str) -> Response:
    """What is said of an error that nobody expected."""
    body = problem_body(500, "internal", "Internal error", "an unexpected error; it has been logged", instance=instance)
    return Response(body, 500, media_type=MEDIA_TYPE)


def install_problem_handlers(app: FastAPI) -> None:
    """Maps Kalpi's errors, FastAPI's and Starlette's; what is left is a 500 of `RequestMiddleware`."""

    @app.exception_handler(KalpiError)
    async def on_kalpi_error(request: Request, error: KalpiError) -> Response:
        return problem_response(error, request.url.path)

    @app.exception_handler(RequestValidationError)
    async def on_validation_error(request: Request, error: RequestValidationError) -> Response:
        errors = [{"loc": list(e["loc"]), "msg": e["msg"], "type": e["type"]} for e in error.errors()]
        fields = ", ".join(".".join(map(str, e["loc"])) for e in errors)
        return problem_response(InvalidInput(f"unfit: {fields}", errors), request.url.path)

    @app.exception_handler(HTTPException)
    async def on_http_exception(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        slug = status.phrase.lower().replace(" ", "-")
        body = problem_body(status, slug, status.phrase, error.detail, instance=request.url.path)
        return Response(body, status, headers=dict(error.headers or {}), media_type=MEDIA_TYPE)
