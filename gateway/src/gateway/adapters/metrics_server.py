"""Prometheus metrics on a port of their own, which is not the public one."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server

from shared.logging import get_logger
from shared.metrics import Metrics

__all__ = ["serving_metrics"]

_log = get_logger("metrics")


@contextmanager
def serving_metrics(metrics: Metrics, host: str, port: int) -> Iterator[None]:
    """OSError when the port is taken; 0 is any free one."""
    server, thread = start_http_server(port, addr=host, registry=metrics.registry)
    _log.info("metrics", port=server.server_port)
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
