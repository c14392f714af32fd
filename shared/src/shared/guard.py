"""Nothing of a service answers without the gateway's signed principal, but for what is listed here."""

from typing import Annotated

from fastapi import Depends, Request, params
from starlette.types import ASGIApp, Receive, Scope, Send

from shared import scopes
from shared.errors import Forbidden, KalpiError, NotFound, ScopeRequired, Unauthenticated
from shared.principal import HEADER, Envelope, EnvelopeVerifier
from shared.problems import problem_response

__all__ = ["Caller", "Guard", "require_role", "require_scope"]

_OPEN = ("/health", "/health/live", "/health/ready", "/metrics", "/.well-known/jwks.json")


class Guard:
    """Verifies the envelope of every request and keeps it in the request's state; `/internal/` is for services alone."""

    def __init__(self, app: ASGIApp, verifier: EnvelopeVerifier) -> None:
        self._app = app
        self._verifier = verifier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in _OPEN:
            try:
                scope.setdefault("state", {})["envelope"] = self._admit(scope)
            except KalpiError as error:
                await problem_response(error, scope["path"])(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope) -> Envelope:
        name = HEADER.lower().encode()
        sent = [value for key, value in scope["headers"] if key == name]
        envelope = self._verifier.verify(sent[0].decode("latin-1") if len(sent) == 1 else None)
        if scope["path"].startswith("/internal/") and envelope.principal.kind != "service":
            raise NotFound("no such path")
        return envelope


async def _caller(request: Request) -> Envelope:
    # async, as every dependency: FastAPI would run a plain one in a thread, for a tenth of a millisecond each
    envelope = getattr(request.state, "envelope", None)
    if not isinstance(envelope, Envelope):
        raise Unauthenticated("a signed principal is required")
    return envelope


Caller = Annotated[Envelope, Depends(_caller)]
"""In a route's signature: the envelope the guard verified."""


def require_role(role: str) -> params.Depends:
    """A dependency that refuses callers without the role."""

    async def check(caller: Caller) -> None:
        if role not in caller.principal.roles:
            raise Forbidden(f"the role {role} is required")

    dependency: params.Depends = Depends(check)
    return dependency


def require_scope(scope: scopes.Scope) -> params.Depends:
    """A dependency that refuses callers whose credential lacks the scope: the gateway has asked for it, and what changes
    something asks again."""

    async def check(caller: Caller) -> None:
        if scope not in caller.principal.scopes:
            raise ScopeRequired(scope)

    dependency: params.Depends = Depends(check)
    return dependency
