"""Requests as Prometheus reads them."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared import metrics as metrics_module
from shared.metrics import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, str], float]:
    """By name, and by the labels that matter here."""
    found = {}
    for family in text_string_to_metric_families(metrics.render()[0].decode()):
        for sample in family.samples:
            told = ("method", "route", "status", "le")
            found[sample.name, " ".join(sample.labels[name] for name in told if name in sample.labels)] = sample.value
    return found


def test_requests_are_counted_by_method_route_and_status_and_timed_by_route() -> None:
    metrics = Metrics("example")
    for method, status, seconds in (("GET", 200, 0.005), ("GET", 200, 0.3), ("GET", 404, 0.004), ("POST", 200, 99.0)):
        metrics.observe(method, "/a", status, seconds)
    metrics.observe("GET", "/b", 200, 0.0)
    found = samples(metrics)
    assert found["kalpi_http_requests_total", "GET /a 200"] == 2
    assert found["kalpi_http_requests_total", "GET /a 404"] == 1
    assert found["kalpi_http_requests_total", "POST /a 200"] == 1
    assert found["kalpi_http_request_seconds_count", "/a"] == 4
    assert found["kalpi_http_request_seconds_sum", "/a"] == pytest.approx(99.309)
    bounds = [("0.005", 2), ("0.01", 2), ("0.25", 2), ("0.5", 3), ("10.0", 3), ("+Inf", 4)]
    assert [(le, found["kalpi_http_request_seconds_bucket", f"/a {le}"]) for le, _ in bounds] == bounds
    assert found["kalpi_http_request_seconds_bucket", "/b 0.005"] == 1


def test_what_strangers_invent_takes_no_series_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_module, "_MOST", 3)
    metrics = Metrics("example")
    for number in range(10):
        metrics.observe("GET", f"/{number}", 200, 0.1)
    found = samples(metrics)
    assert sum(value for (name, _), value in found.items() if name == "kalpi_http_requests_total") == 10
    assert found["kalpi_http_requests_total", "other other 200"] == 7
