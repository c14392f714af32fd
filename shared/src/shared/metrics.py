"""Prometheus metrics of one service, in a registry of its own so that several apps can live in one process."""

from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

__all__ = ["Metrics"]


class Metrics:
    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        labels = ("service", "method", "route", "status")
        self._requests = Counter("kalpi_http_requests", "Requests answered", labels, registry=self.registry)
        self._seconds = Histogram("kalpi_http_request_seconds", "Time to answer", ("service", "route"), registry=self.registry)
        self._service = service
        self._of = lru_cache(1024)(self._labelled)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        count, duration = self._of(method, route, status)
        count.inc()
        duration.observe(seconds)

    def _labelled(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        return self._requests.labels(self._service, method, route, str(status)), self._seconds.labels(self._service, route)

    def counter(self, name: str, documentation: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(name, documentation, labels, registry=self.registry)

    def render(self) -> tuple[bytes, str]:
        """The exposition text and its media type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
