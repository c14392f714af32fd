"""The fields of the Fetch standard on what the edge answers to web pages."""

from gateway.api.exchange import Exchange
from gateway.domain.errors import OriginRefused
from gateway.domain.origins import ALLOWED_HEADERS, ALLOWED_METHODS, EXPOSED_HEADERS, PREFLIGHT_S, page_of
from gateway.domain.ports import Resolved

__all__ = ["VARY", "allow", "answer_preflight", "asking_page", "hold_to_tenant", "is_preflight"]

VARY = {"Vary": "Origin"}
"""On whatever is answered, to whomever: what is kept for one page is not for another."""
_ALLOW = "Access-Control-Allow-Origin"
_EXPOSE = "Access-Control-Expose-Headers"
_METHOD = b"access-control-request-method"


def asking_page(exchange: Exchange) -> str | None:
    """The origin of the other page that asks, if it is one; several are none that anybody allows."""
    return page_of(exchange.header(b"origin"), exchange.header(b"host"))


def is_preflight(exchange: Exchange) -> bool:
    return exchange.method == "OPTIONS" and exchange.header(b"origin") is not None and exchange.header(_METHOD) is not None


def allow(exchange: Exchange, page: str) -> None:
    """Whatever is answered, a problem too, is for this page to read."""
    exchange.add({_ALLOW: page, _EXPOSE: EXPOSED_HEADERS})


def hold_to_tenant(exchange: Exchange, page: str, caller: Resolved) -> None:
    """OriginRefused, which this page is not to read, when some tenant allows it and the caller's does not."""
    if page not in caller.allowed_origins:
        exchange.drop(_ALLOW, _EXPOSE)
        raise OriginRefused


async def answer_preflight(exchange: Exchange) -> None:
    """Of a page that is allowed."""
    exchange.add(
        {
            "Access-Control-Allow-Methods": ALLOWED_METHODS,
            "Access-Control-Allow-Headers": ALLOWED_HEADERS,
            "Access-Control-Max-Age": str(PREFLIGHT_S),
        }
    )
    await exchange.start(204, [])
    await exchange.piece(b"", more=False)
