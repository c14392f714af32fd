"""`Link` to the next page, for formats that have no room for a cursor."""

from functools import lru_cache
from urllib.parse import quote, urlencode

from fastapi import Request
from starlette.datastructures import QueryParams

__all__ = ["next_link"]


def next_link(request: Request, cursor: str | None, written: str) -> dict[str, str]:
    """`Link` to the page after this one (RFC 8288, section 3), in this page's format whatever `Accept` it is fetched with."""
    if cursor is None:
        return {}
    target = _first_page(request.scope["path"], request.scope["query_string"], written)
    return {"Link": f'<{target}&cursor={cursor}>; rel="next"'}  # base64url: it stands in a query as it is


@lru_cache(256)
def _first_page(path: str, query: bytes, written: str) -> str:
    """What was asked, in a format and from the beginning."""
    asked = [(name, value) for name, value in QueryParams(query).multi_items() if name not in {"cursor", "format"}]
    return f"{quote(path)}?{urlencode([*asked, ('format', written)])}"
