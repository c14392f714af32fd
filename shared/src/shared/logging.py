"""JSON lines on stdout, each with the service, the request id and the trace."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog
from opentelemetry import trace
from structlog.typing import FilteringBoundLogger

from shared.context import current_request_id

__all__ = ["configure_logging", "get_logger"]

Event = MutableMapping[str, Any]


def _add_request(_logger: object, _method: str, event: Event) -> Event:
    if request_id := current_request_id():
        event.setdefault("request_id", request_id)
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event["trace_id"] = format(span.trace_id, "032x")
    return event


def _to_json(event: Any, **_: object) -> bytes:
    return orjson.dumps(event, default=str)


def _to_text(_logger: object, _method: str, line: Any) -> str:
    text: str = line.decode()
    return text


def configure_logging(service: str, level: str) -> None:
    """Writes structlog's records and the standard library's as lines of JSON on stdout; called once, by a process's main."""

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
