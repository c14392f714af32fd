"""Many requests in one message: columns, and each caller and each kind of call written once (docs/services.md)."""

from collections.abc import Sequence
from typing import Any

from gateway.domain.request_buffer import Lost
from gateway.domain.requests import RequestRecord

__all__ = ["batch_of"]

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_LONGEST_ID = 64
"""Of a request id: a client's own may have twice that, and is then found by its beginning."""


def batch_of(records: Sequence[RequestRecord], lost: Lost) -> dict[str, Any]:
    callers: dict[tuple[str, ...], int] = {}
    calls: dict[tuple[str | int, ...], int] = {}
    return {
        "lost": list(lost),
        "caller": [callers.setdefault(_caller(record), len(callers)) for record in records],
        "call": [calls.setdefault(_call(record), len(calls)) for record in records],
        "at": [int(record.at.timestamp() * 1000) for record in records],
        "latency_us": [record.latency_us for record in records],
        "units": [record.units for record in records],
        "bytes_out": [record.bytes_out for record in records],
        "request_id": [record.request_id[:_LONGEST_ID] for record in records],
        "callers": list(callers),
        "calls": [(method if method in _METHODS else "OTHER", *rest) for method, *rest in calls],
    }


def _caller(record: RequestRecord) -> tuple[str, ...]:
    """Tenant, user, key, how they were authenticated, tier, and whose counters they spend from; empty where that is not known."""
    return record.tenant_id, record.user_id, record.key_id, record.session_kind, record.tier, record.subject


def _call(record: RequestRecord) -> tuple[str | int, ...]:
    """Method, endpoint, indicator, symbol, status, and what the cache had to do with it."""
    return record.method, _endpoint(record), record.indicator, record.symbol, record.status, record.cache


def _endpoint(record: RequestRecord) -> str:
    """As the public document writes it: what a route has beneath it is one endpoint."""
    if record.indicator:
        return f"{record.route}/{{name}}"
    return f"{record.route}/{{symbol}}" if record.symbol else record.route
