"""Many requests in one message: columns, and each caller and each kind of call written once (docs/services.md)."""

from collections.abc import Sequence
from typing import Any

from gateway.domain.request_buffer import Lost
from gateway.domain.requests import CallerRecord, CallRecord, RequestRecord

__all__ = ["batch_of"]

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_LONGEST_ID = 64
"""Of a request id: a client's own may have twice that, and is then found by its beginning."""


def batch_of(records: Sequence[RequestRecord], lost: Lost) -> dict[str, Any]:
    callers: dict[CallerRecord, int] = {}
    calls: dict[CallRecord, int] = {}
    return {
        "lost": list(lost),
        "caller": [callers.setdefault(record.caller, len(callers)) for record in records],
        "call": [calls.setdefault(record.call, len(calls)) for record in records],
        "at": [int(record.at.timestamp() * 1000) for record in records],
        "latency_us": [record.latency_us for record in records],
        "units": [record.units for record in records],
        "bytes_out": [record.bytes_out for record in records],
        "request_id": [record.request_id[:_LONGEST_ID] for record in records],
        "callers": list(map(tuple, callers)),
        "calls": list(map(_row, calls)),
    }


def _row(call: CallRecord) -> tuple[str | int, ...]:
    """Method, endpoint, indicator, symbol, status, and what the cache had to do with it."""
    method = call.method if call.method in _METHODS else "OTHER"
    return method, _endpoint(call), call.indicator, call.symbol, call.status, call.cache


def _endpoint(call: CallRecord) -> str:
    """As the public document writes it: what a route has beneath it is one endpoint."""
    if call.indicator:
        return f"{call.route}/{{name}}"
    return f"{call.route}/{{symbol}}" if call.symbol else call.route
