"""What the limiter counts for its operators."""

from shared.metrics import Metrics

__all__ = ["LimiterMetrics"]


class LimiterMetrics:
    def __init__(self, metrics: Metrics | None = None) -> None:
        """Without metrics, nobody sees them."""
        metrics = metrics or Metrics("limits")
        self.shadowed = metrics.counter("kalpi_limits_shadowed", "Requests that a shadow policy would have refused", ("policy",))
        self.without_store = metrics.counter("kalpi_limits_without_store", "Decisions made without the store", ("decision",))
        self.guarded = metrics.counter("kalpi_limits_guarded", "Attempts that an address had to wait with", ("door",))
        self.emptied = metrics.counter("kalpi_limits_store_emptied", "Times that the counters were found emptied")
        self.restored = metrics.counter("kalpi_limits_restored_units", "Units added to counters of an emptied store")
        self.owed = metrics.counter("kalpi_limits_owed_units", "Units spent without the store, and added when it was back")
        self.lost = metrics.counter("kalpi_limits_lost_lease_units", "Units of leases that nobody gave back in time")
        self.unreleased = metrics.counter("kalpi_limits_slots_not_released", "Slots that end by themselves")
