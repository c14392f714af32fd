"""JSON lines on stdout, each with the service, the request id and the trace."""

import asyncio
import logging
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, BinaryIO

import orjson
import structlog
from opentelemetry import trace
from structlog.typing import FilteringBoundLogger

from shared.context import current_request_id

__all__ = ["configure_logging", "get_logger", "log_request"]

Event = MutableMapping[str, Any]


def _add_request(_logger: object, _method: str, event: Event) -> Event:
    if request_id := current_request_id():
        event.setdefault("request_id", request_id)
    event.update(_trace())
    return event


def _trace() -> dict[str, str]:
    span = trace.get_current_span().get_span_context()
    return {"trace_id": format(span.trace_id, "032x")} if span.is_valid else {}


def _to_json(event: Any, **_: object) -> bytes:
    return orjson.dumps(event, default=str)


def _to_text(_logger: object, _method: str, line: Any) -> str:
    text: str = line.decode()
    return text


class _RequestLines:
    """Lines as structlog would write them, without its way from one processor to the next; those of one turn in one write."""

    def __init__(self, service: str, level: int, stream: BinaryIO) -> None:
        self._service = service
        self._level = level
        self._stream = stream
        self._waiting: list[bytes] = []

    def add(self, method: str, path: str, status: int, seconds: float, level: int) -> None:
        if level < self._level:
            return
        line = {
            "method": method,
            "path": path,
            "status": status,
            "ms": round(seconds * 1000, 2),
            "event": "request",
            "level": "debug" if level == logging.DEBUG else "info",
            "logger": "request",
            "timestamp": datetime.now(UTC),
            "service": self._service,
            "request_id": current_request_id(),
            **_trace(),
        }
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._write)
        self._waiting.append(orjson.dumps(line, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE))

    def _write(self) -> None:
        lines, self._waiting = self._waiting, []
        self._stream.write(b"".join(lines))
        self._stream.flush()


_request_lines: _RequestLines | None = None


def log_request(method: str, path: str, status: int, seconds: float, *, quiet: bool = False) -> None:
    """The line of a request that has ended; of a `quiet` one only where all is logged. None before `configure_logging`."""
    if _request_lines is not None:
        _request_lines.add(method, path, status, seconds, logging.DEBUG if quiet else logging.INFO)


def configure_logging(service: str, level: str) -> None:
    """Writes structlog's records and the standard library's as lines of JSON on stdout; called once, by a process's main."""
    global _request_lines  # noqa: PLW0603 - as structlog's own configuration, one a process

    def add_service(_logger: object, _method: str, event: Event) -> Event:
        event["service"] = service
        return event

    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_service,
        _add_request,
    ]
    written: list[structlog.types.Processor] = [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=_to_json),
    ]
    number = logging.getLevelNamesMapping()[level.upper()]
    _request_lines = _RequestLines(service, number, sys.stdout.buffer)
    # not by way of the standard library, whose records cost several times what the line does
    structlog.configure(
        processors=[*shared, *written],
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *written, _to_text],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(number)
    # a line for each call to another service says nothing that its span does not
    logging.getLogger("httpx").setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "nats"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = name != "uvicorn.access"


def get_logger(name: str) -> FilteringBoundLogger:
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger
