"""What is told of the services' instances: their present state is read when somebody looks, so it costs requests nothing."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from urllib.parse import urlsplit

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.domain.breaker import State
from gateway.domain.instances import Instance, Instances
from shared.metrics import Metrics

__all__ = ["UpstreamMetrics", "count_shed"]

_LABELS = ("service", "instance")
_STATES: Mapping[State, int] = {"closed": 0, "half-open": 1, "open": 2}


class UpstreamMetrics:
    def __init__(self, metrics: Metrics, instances: Mapping[str, Instances], clock: Callable[[], float]) -> None:
        self._failures = metrics.counter(
            "kalpi_gateway_upstream_failures",
            "Requests that an instance did not answer: refused, reset, timeout, malformed, or broken off in the middle",
            (*_LABELS, "kind"),
        )
        self._retries = metrics.counter(
            "kalpi_gateway_retries", "Requests to be sent again: sent, or refused by the budget", ("service", "outcome")
        )
        metrics.registry.register(_InstanceCollector(instances, clock))

    def failed(self, service: str, instance: Instance, kind: str) -> None:
        self._failures.labels(service, _place(instance), kind).inc()

    def retry(self, service: str, *, sent: bool) -> None:
        self._retries.labels(service, "sent" if sent else "refused").inc()


class _InstanceCollector(Collector):
    def __init__(self, instances: Mapping[str, Instances], clock: Callable[[], float]) -> None:
        self._instances = instances
        self._clock = clock

    def collect(self) -> Iterable[GaugeMetricFamily]:
        under_way = GaugeMetricFamily("kalpi_gateway_upstream_under_way", "Requests under way at an instance", labels=_LABELS)
        breaker = GaugeMetricFamily("kalpi_gateway_breaker_state", "0 closed, 1 half-open, 2 open", labels=_LABELS)
        for service, instance in self._each():
            labels = [service, _place(instance)]
            under_way.add_metric(labels, instance.under_way)
            breaker.add_metric(labels, _STATES[instance.breaker.state(self._clock())])
        return under_way, breaker

    def _each(self) -> Iterator[tuple[str, Instance]]:
        for service, instances in self._instances.items():
            for instance in instances:
                yield service, instance


def _place(instance: Instance) -> str:
    """Host and port: a URL may hold a password."""
    return urlsplit(instance.url).netloc.rpartition("@")[2]


def count_shed(metrics: Metrics) -> Callable[[str, bool], None]:
    """What `Shedding` tells."""
    shed = metrics.counter("kalpi_gateway_shed", "Requests not handed on, for too many were under way", ("service", "caller"))
    return lambda service, pays: shed.labels(service, "paid" if pays else "free").inc()
