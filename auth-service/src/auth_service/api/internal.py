"""What the gateway asks: whom a credential stands for, and with which keys tokens are verified."""

from fastapi import APIRouter, Response

from auth_service.api.dependencies import Domain
from auth_service.api.schemas.internal import (
    ApiKeyQuestion,
    KeySet,
    OriginsAnswer,
    ResolveBatchBody,
    ResolveBody,
    ResolvedAnswer,
    ResolvedBatch,
    SessionQuestion,
)

__all__ = ["internal", "well_known"]

internal = APIRouter(prefix="/internal/v1", tags=["internal"])
well_known = APIRouter(prefix="/.well-known", tags=["auth"])


@internal.post("/resolve", summary="Whom a key or a session stands for")
async def resolve(question: ResolveBody, domain: Domain) -> ResolvedAnswer:
    """404 for what is unknown, revoked, expired, or of a disabled user."""
    if isinstance(question, ApiKeyQuestion):
        found = await domain.resolver.api_key(question.key_sha256)
    else:
        found = await domain.resolver.session(question.user_id, question.session_id)
    return ResolvedAnswer.model_validate(found)


@internal.post("/resolve/batch", summary="Whom each of many stands for")
async def resolve_batch(batch: ResolveBatchBody, domain: Domain) -> ResolvedBatch:
    """In the order of the questions; null for what a question of its own would be answered with 404."""
    keys = await domain.resolver.api_keys([one.about for one in batch.callers if isinstance(one, ApiKeyQuestion)])
    sessions = await domain.resolver.sessions([one.about for one in batch.callers if isinstance(one, SessionQuestion)])
    found = [keys.get(one.about) if isinstance(one, ApiKeyQuestion) else sessions.get(one.about) for one in batch.callers]
    return ResolvedBatch.model_validate({"callers": found})


@internal.get("/origins", summary="Every origin that some tenant allows")
async def origins(domain: Domain) -> OriginsAnswer:
    return OriginsAnswer(origins=list(await domain.resolver.origins()))


@well_known.get("/jwks.json", summary="The public keys of access tokens")
async def jwks(domain: Domain, response: Response) -> KeySet:
    """RFC 7517. A new key is listed a minute before it signs; one that signed before, until its last token has expired."""
    response.headers["Cache-Control"] = "public, max-age=30"
    return KeySet.model_validate(domain.jwks())
