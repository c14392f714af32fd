"""Which symbols there are and their versions, for other services: `GET /internal/v1/versions`.

Who keeps bars of thousands of symbols asks this alone, with the ETag of the answer before: a 304 says that all of them hold.
"""

import asyncio
import hashlib
from typing import Any
from weakref import WeakKeyDictionary

import orjson
from fastapi import APIRouter, Request, Response

from data_service.domain.errors import NotServed
from data_service.domain.intervals import Interval
from data_service.domain.ports import IndexedSnapshot
from data_service.domain.store import BarStore
from shared.conditional import etag_matches

__all__ = ["router"]

router = APIRouter(prefix="/internal/v1", tags=["internal"])
_told: WeakKeyDictionary[IndexedSnapshot, dict[str, tuple[str, bytes]]] = WeakKeyDictionary()
"""Of each snapshot that somebody still holds, and each interval: the ETag and the answer."""


@router.get("/versions", summary="Every symbol of an interval, with its version", response_class=Response)
async def versions(request: Request, interval: Interval = "1day") -> Response:
    """`symbols` in order, and of each its `versions`, the day of its `newest` bar; in `missing` those that have no bars of the
    interval, with the reason."""
    store: BarStore = request.app.state.store
    stored = store.snapshot()
    answers = _told.setdefault(stored, {})
    if interval not in answers:
        answers[interval] = await asyncio.to_thread(_answer, stored, interval)
    etag, body = answers[interval]
    if etag_matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers={"ETag": etag})
    return Response(body, headers={"ETag": etag}, media_type="application/json")


def _answer(stored: IndexedSnapshot, interval: Interval) -> tuple[str, bytes]:
    found: list[tuple[str, str, Any]] = []
    missing: dict[str, str] = {}
    for name in stored.symbols:
        symbol = stored.of(name)
        try:
            found.append((name, symbol.data_version, symbol.span(interval)[1]))
        except NotServed as error:
            missing[name] = error.detail
    symbols, known, newest = ([row[at] for row in found] for at in range(3))
    body = orjson.dumps({"symbols": symbols, "versions": known, "newest": newest, "missing": missing})
    return f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"', body
