"""Prometheus metrics of one service, in a registry of its own so that several apps can live in one process."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

__all__ = ["Metrics"]


_BOUNDS = Histogram.DEFAULT_BUCKETS
_MOST = 4096
"""Series of requests; what comes beyond them, which no route and no method does, is counted as one."""


class Metrics:
    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        self._refused = Counter(
            "kalpi_http_refused", "Requests that no application has seen", ("service", "why"), registry=self.registry
        )
        self._service = service
        self._requests: dict[tuple[str, str, int], _Series] = {}
        self.read(self._request_families)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Of one request; by the event loop alone, so that no lock is needed."""
        series = self._requests.get((method, route, status))
        if series is None:
            key = (method, route, status) if len(self._requests) < _MOST else ("other", "other", status)
            series = self._requests.setdefault(key, _Series())
        series.seconds += seconds
        series.buckets[bisect_left(_BOUNDS, seconds)] += 1

    def refused(self, why: str) -> None:
        """One whose bytes the server would not take; `why` is one of a few words."""
        self._refused.labels(self._service, why).inc()

    def counter(self, name: str, documentation: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(name, documentation, labels, registry=self.registry)

    def read(self, families: Callable[[], Iterable[Metric]]) -> None:
        """Metrics of numbers that are kept elsewhere, read when somebody asks."""
        self.registry.register(_Read(families))

    def render(self) -> tuple[bytes, str]:
        """The exposition text and its media type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    def _request_families(self) -> Iterator[Metric]:
        counted = CounterMetricFamily("kalpi_http_requests", "Requests answered", labels=("service", "method", "route", "status"))
        took = HistogramMetricFamily("kalpi_http_request_seconds", "Time to answer", labels=("service", "route"))
        routes: dict[str, _Series] = {}
        for (method, route, status), series in sorted(self._requests.items()):
            counted.add_metric((self._service, method, route, str(status)), sum(series.buckets))
            whole = routes.setdefault(route, _Series())
            whole.seconds += series.seconds
            whole.buckets = [one + other for one, other in zip(whole.buckets, series.buckets, strict=True)]
        for route, series in routes.items():
            buckets = zip(map(floatToGoString, _BOUNDS), accumulate(series.buckets), strict=True)
            took.add_metric((self._service, route), list(buckets), series.seconds)
        return iter((counted, took))


class _Series:
    """How many requests took how long: one bucket for each bound, the last of which has no end."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.buckets = [0] * len(_BOUNDS)


class _Read(Collector):
    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()
