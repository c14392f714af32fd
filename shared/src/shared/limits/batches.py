"""How many series a batch asks for: what its caller pays, and what a tier bounds. Gateway and service count alike."""

import math
from typing import Any, Protocol

import orjson

from shared.errors import InvalidInput, TierRequired
from shared.limits.plans import Entitlements, PlanBook

__all__ = ["check_outline", "check_series", "constructs_of", "day_cost", "series_in", "series_of"]

_SERIES_A_REQUEST = 10
_PARTS, _COMMAS = 8, 256
"""Of a series: objects and arrays (its construct, its item, its parameters, and as many again), and commas (its inputs may be
expressions). What has more is no batch, and would take many times the room of its bytes when it is read."""


class Plans(Protocol):
    @property
    def book(self) -> PlanBook: ...


def constructs_of(body: bytes) -> list[dict[str, Any]]:
    """Of `{"constructs": [{…, "indicators": [{…}, …]}, …]}`, with at least one series; what is inside is not looked at.

    InvalidInput."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput.field("body", msg=f"not JSON: {error}", type_="json_invalid") from None
    if not isinstance(document, dict):
        raise InvalidInput.field("body", msg="not an object", type_="dict_type")
    for name in document.keys() - {"constructs"}:
        raise InvalidInput.field("body", name[:64], msg="no such field; there is constructs", type_="extra_forbidden")
    constructs = document.get("constructs")
    if not isinstance(constructs, list):
        raise InvalidInput.field("body", "constructs", msg="an array of constructs is needed", type_="list_type")
    for at, construct in enumerate(constructs):
        items = construct.get("indicators") if isinstance(construct, dict) else None
        if not isinstance(items, list) or not items or set(map(type, items)) != {dict}:
            msg = "a construct has an array of indicators, each an object"
            raise InvalidInput.field("body", "constructs", at, "indicators", msg=msg, type_="list_type")
    if not constructs:
        raise InvalidInput.field("body", "constructs", msg="no constructs", type_="too_short")
    return constructs


def series_of(constructs: list[dict[str, Any]]) -> int:
    return sum(len(construct["indicators"]) for construct in constructs)


def series_in(body: bytes) -> int:
    """InvalidInput as of `constructs_of`."""
    return series_of(constructs_of(body))


def day_cost(series: int) -> int:
    return math.ceil(series / _SERIES_A_REQUEST)


def check_outline(body: bytes, entitlements: Entitlements, plans: Plans) -> None:
    """By a glance at a body that takes long to read: raises as `check_series` for one that names more indicators than the tier
    may have series, InvalidInput for one with more structure than so many need."""
    check_series(body.count(b'"indicator"'), entitlements, plans)
    most = entitlements.batch_series
    if body.count(b"{") + body.count(b"[") > _PARTS * most or body.count(b",") > _COMMAS * most:
        raise InvalidInput.field("body", msg=f"more objects and values than {most:,} series have", type_="too_long")


def check_series(series: int, entitlements: Entitlements, plans: Plans) -> None:
    """TierRequired for more than the tier allows in one batch, InvalidInput for more than any does."""
    most = entitlements.batch_series
    if series > most:
        required = plans.book.first_tier_batching(series)
        if required is None:
            raise InvalidInput.field("body", "constructs", msg=f"{series:,} series; no tier has that many at once")
        raise TierRequired(f"{series:,} series; this tier has {most:,} in a batch", required)
