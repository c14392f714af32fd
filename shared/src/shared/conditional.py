"""Answers that are not sent twice: a strong ETag over the bytes (RFC 9110, section 8.8.3) and 304 for who has them."""

import hashlib
from collections.abc import Mapping

from fastapi import Request, Response

__all__ = ["conditional", "conditional_json", "etag_matches"]

VARY = "Accept, Authorization, X-API-Key, Origin"


def etag_matches(if_none_match: str | None, etag: str) -> bool:
    """RFC 9110, section 13.1.2: a list of tags or `*`; weak ones compare by their opaque part."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags


def conditional(
    request: Request, body: bytes, media_type: str, surrogate_key: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """200 with the body, or 304, either with `headers`: who has the bytes may not have the newest of what is said beside them.

    The surrogate key tells the gateway which data the answer was made from; without one it keeps no copy.
    """
    etag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
    told = {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": VARY, **(headers or {})}
    if surrogate_key is not None:
        told["Surrogate-Key"] = surrogate_key
    if etag_matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=told)
    return Response(body, headers=told, media_type=media_type)


def conditional_json(request: Request, body: bytes, surrogate_key: str) -> Response:
    return conditional(request, body, "application/json", surrogate_key)
