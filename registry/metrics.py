"""What the registry's API counts, for /metrics (prometheus-client)."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

LATENCY_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)  # seconds

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class ApiMetrics:
    """The counters of one application. Label sets are bounded: routes and statuses, never names or tokens."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "waymark_registry_requests",
            "Requests by route, method and status",
            ("route", "method", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "waymark_registry_request_seconds", "From the head read to the answer made; a bulk request counts whole",
            ("route",), buckets=LATENCY_BOUNDS, registry=self._registry,
        )  # fmt: skip
        self._changes = Counter(
            "waymark_registry_changes", "Changes asked for, by how (single, bulk) and what became of them", ("how", "status"),
            registry=self._registry,
        )  # fmt: skip
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}  # looked up by labels they cost 2 us each
        self.bulk_streams = Gauge("waymark_registry_bulk_streams", "Bulk requests under way", registry=self._registry)
        self._committed = Gauge("waymark_registry_serial", "Serial of the newest committed change", registry=self._registry)
        self._published = Gauge(
            "waymark_registry_published_serial", "Serial of the answer table, which lags by the difference",
            registry=self._registry,
        )  # fmt: skip

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        labels = route, method if method in METHODS else "other", status
        if labels not in self._known:
            self._known[labels] = self._requests.labels(*labels), self._seconds.labels(route)
        counter, histogram = self._known[labels]
        counter.inc()
        histogram.observe(seconds)

    def change(self, how: str, status: str, number: int = 1) -> None:
        self._changes.labels(how, status).inc(number)

    def shown(self, committed: int, published: int) -> bytes:
        """All counters and these two serials in the text format of Prometheus 0.0.4."""
        self._committed.set(committed)
        self._published.set(published)
        return generate_latest(self._registry)
