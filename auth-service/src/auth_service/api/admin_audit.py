"""The audit trail as an administrator reads it."""

from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime, Field
from starlette.responses import StreamingResponse

from auth_service.api.dependencies import ADMINISTRATOR, Domain, Limit
from auth_service.api.schemas.admin_audit import AuditPage, HeadAnswer, Seq
from auth_service.domain.chain import Sealed, document
from auth_service.domain.ports import AuditFilter
from shared.errors import InvalidInput

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/admin/audit", tags=["admin"], dependencies=ADMINISTRATOR)
_LINES = "application/x-ndjson"
_EXPORT: dict[int | str, dict[str, Any]] = {
    200: {"description": "An event a line", "content": {_LINES: {"schema": {"type": "string"}}}}
}


Text = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00]*$")]


async def _asked(
    *,
    user_id: Annotated[UUID | None, Query(description="whom it concerns")] = None,
    tenant_id: Annotated[UUID | None, Query(description="whose they are")] = None,
    actor: Annotated[Text | None, Query(description="who did it: a user's id, or `svc:…`")] = None,
    noun: Annotated[Text | None, Query(description="user, key, session, tenant, …")] = None,
    event: Annotated[Text | None, Query(description="what happened; wants a `noun`")] = None,
    since: Annotated[AwareDatetime | None, Query(alias="from", description="not before")] = None,
    until: Annotated[AwareDatetime | None, Query(alias="to", description="before")] = None,
    request_id: Annotated[Text | None, Query(description="the `X-Request-ID` of the answer")] = None,
) -> AuditFilter:
    if event is not None and noun is None:
        raise InvalidInput.field("query", "event", msg="say of which noun")
    return AuditFilter(user_id, tenant_id, actor, noun, event, since, until, request_id)


Asked = Annotated[AuditFilter, Depends(_asked)]


@router.get("", summary="What was changed, by whom, from where: newest first")
async def events(
    domain: Domain,
    asked: Asked,
    limit: Limit = 50,
    cursor: Annotated[Seq | None, Query(description="`next_cursor` of the page before")] = None,
) -> AuditPage:
    """Events that have all of what is given. One is shown once it is a link of the chain, within a second."""
    return AuditPage.of(await domain.trail.page(asked, before=cursor, limit=limit + 1), limit)


@router.get("/export", response_class=StreamingResponse, responses=_EXPORT, summary="The trail as JSON lines, oldest first")
async def export(
    domain: Domain, asked: Asked, cursor: Annotated[Seq, Query(description="only what comes after this `seq`")] = 0
) -> StreamingResponse:
    """Each line holds all that its `hash` covers, so the chain can be verified without the database."""
    batches = domain.trail.batches(asked, after=cursor)
    # the first here, so that what cannot be read is a problem and not half an answer
    first = await anext(batches)
    return StreamingResponse(_lines(first, batches), media_type=_LINES)


@router.get("/head", summary="The newest signed head of the chain")
async def head(domain: Domain) -> HeadAnswer:
    """Keep it elsewhere: a trail that does not lead to it any more was cut or rewritten."""
    return HeadAnswer.of(await domain.trail.head(), domain.audit_public_key)


async def _lines(first: list[Sealed], batches: AsyncIterator[list[Sealed]]) -> AsyncIterator[bytes]:
    yield _text(first)
    async for batch in batches:
        yield _text(batch)


def _text(batch: list[Sealed]) -> bytes:
    return b"".join(orjson.dumps(document(row), option=orjson.OPT_APPEND_NEWLINE) for row in batch)
