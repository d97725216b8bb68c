"""What a node counts, and how /metrics shows it.

Counters live in one piece of memory that all workers of a node share, a row of cells for each worker, so that whichever worker is
asked shows the whole node, and counting costs one addition without a lock.
"""

import mmap
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client.core import Metric

DOORS = ("handle-udp", "handle-tcp", "dns-udp", "dns-tcp", "http")
OUTCOMES = ("answer", "referral", "not-found", "no-data", "refused", "failed", "malformed", "dropped")
LATENCY_BOUNDS = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 1e-3, 5e-3, 2.5e-2, 0.1, 0.5, 2.5)  # seconds
CACHES = ("hit", "miss")

_CELL_OCTETS = 8
_NAMES: list[tuple[str, ...]] = [
    *[("query", door, outcome) for door in DOORS for outcome in OUTCOMES],
    *[("cache", door, event) for door in DOORS for event in CACHES],
    *[("latency", door, str(bound)) for door in DOORS for bound in (*LATENCY_BOUNDS, "inf")],
    *[("latency_sum_ns", door) for door in DOORS],
]
_CELL = {name: number for number, name in enumerate(_NAMES)}
_LATENCY = {door: (_CELL["latency", door, str(LATENCY_BOUNDS[0])], _CELL["latency_sum_ns", door]) for door in DOORS}


def cell(*name: str) -> int:
    """The number of a counter, e.g. cell("query", "dns-udp", "answer"). To be looked up once, not for each packet."""
    return _CELL[name]


class Metrics:
    """The counters of one worker, and the sight of all. `cells[n] += 1` counts; see `cell`."""

    def __init__(self, shared: mmap.mmap | None = None, worker: int = 0) -> None:
        """`shared` comes from `shared_cells`, made before the workers were; None for a node of one worker."""
        self._all = memoryview(shared or shared_cells(1)).cast("Q")
        self.cells = self._all[worker * len(_NAMES) : (worker + 1) * len(_NAMES)]

    def total(self, *name: str) -> int:
        """A counter, added up over all workers."""
        return sum(self._all[_CELL[name] :: len(_NAMES)])

    def observe(self, door: str, seconds: float, count: int = 1) -> None:
        """`count` answers that took `seconds` each: a burst is timed as a whole."""
        first, total = _LATENCY[door]
        self.cells[first + bisect_left(LATENCY_BOUNDS, seconds)] += count
        self.cells[total] += int(seconds * 1e9) * count


def shared_cells(workers: int) -> mmap.mmap:
    """Zeroed memory for the counters of `workers` workers, shared with processes forked later."""
    return mmap.mmap(-1, max(1, workers) * len(_NAMES) * _CELL_OCTETS)


class Collector:
    """Shows a node's counters to prometheus-client. `gauges` gives figures that are read only when asked for."""

    def __init__(self, metrics: Metrics, gauges: Callable[[], dict[str, float]]) -> None:
        self._metrics = metrics
        self._gauges = gauges

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        total = self._metrics.total
        queries = CounterMetricFamily("waymark_queries", "Questions by door and outcome", labels=["door", "outcome"])
        for door in DOORS:
            for outcome in OUTCOMES:
                queries.add_metric([door, outcome], total("query", door, outcome))
        yield queries
        cache = CounterMetricFamily("waymark_answer_cache", "Questions looked up among ready answers", labels=["door", "event"])
        for door in DOORS:
            for event in CACHES:
                cache.add_metric([door, event], total("cache", door, event))
        yield cache
        latency = HistogramMetricFamily("waymark_latency_seconds", "From the request read to the answer sent", labels=["door"])
        for door in DOORS:
            count, buckets = 0, []
            for bound in (*map(str, LATENCY_BOUNDS), "inf"):
                count += total("latency", door, bound)
                buckets.append(("+Inf" if bound == "inf" else bound, float(count)))
            latency.add_metric([door], buckets, total("latency_sum_ns", door) / 1e9)
        yield latency
        for name, figure in self._gauges().items():
            yield GaugeMetricFamily(f"waymark_{name}", name.replace("_", " "), figure)
