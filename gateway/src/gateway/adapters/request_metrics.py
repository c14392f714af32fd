"""What the gateway counts of its requests and of its cache."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from gateway.domain.caching import CacheCounts
from gateway.domain.requests import RequestRecord
from shared.metrics import Metrics

__all__ = ["RequestMetrics"]


class RequestMetrics:
    """A recorder."""

    def __init__(self, metrics: Metrics, cache: CacheCounts) -> None:
        self._metrics = metrics
        self._cache = cache
        self._uses = {"hit": 0, "miss": 0, "bypass": 0, "none": 0}
        metrics.read(self._families)

    def __call__(self, record: RequestRecord) -> None:
        call = record.call
        self._uses[call.cache] += 1
        self._metrics.observe(call.method, call.route, call.status, record.latency_us / 1_000_000)

    def _families(self) -> Iterator[Metric]:
        cache = self._cache
        uses = CounterMetricFamily("kalpi_gateway_cache_requests", "Reads paid for, by what the cache did", labels=("result",))
        for result in ("hit", "miss", "bypass"):
            uses.add_metric((result,), self._uses[result])
        yield uses
        evictions = CounterMetricFamily("kalpi_gateway_cache_evictions", "Answers that went out of the cache", labels=("why",))
        for why, count in (("fact", cache.evicted_by_fact), ("age", cache.evicted_by_age), ("room", cache.evicted_for_room)):
            evictions.add_metric((why,), count)
        yield evictions
        yield CounterMetricFamily(
            "kalpi_gateway_cache_overtaken",
            "Answers not kept, made from bars that facts did not tell of",
            cache.overtaken,
        )
        yield GaugeMetricFamily("kalpi_gateway_cache_answers", "Answers in the cache", cache.answers)
        yield GaugeMetricFamily("kalpi_gateway_cache_bytes", "Bytes that they take", cache.bytes)
