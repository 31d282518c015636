"""Metrics (Prometheus).

Several server processes share one ``/metrics``: prometheus_client's multiprocess mode keeps each process's
numbers in a mapped file of PROMETHEUS_MULTIPROC_DIR, which must be set before this module is imported
(``ingest.server`` does). Requests are counted in a plain list and folded into the counters on a tick,
so that a beacon pays an integer addition and no more.
"""

from __future__ import annotations

import os

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

from relo_ingest.outcomes import OUTCOMES

MULTIPROC = "PROMETHEUS_MULTIPROC_DIR"

REQUESTS = Counter("relo_requests_total", "Requests by what happened to them.", ["outcome", "status"])
EVENTS = Counter("relo_events_stored_total", "Events that were acknowledged.")
ROWS_FLUSHED = Counter("relo_rows_flushed_total", "Rows that ClickHouse took.", ["lane"])
ROWS_LOST = Counter("relo_rows_lost_total", "Rows of a damaged segment that could not be recovered.")
SEGMENTS_DAMAGED = Counter("relo_segments_damaged_total", "Segments set aside because their header is damaged.")
FLUSH_SECONDS = Histogram("relo_flush_seconds", "Duration of one insert.", ["lane"])
FLUSH_FAILURES = Counter(
    "relo_flush_failures_total",
    "Inserts that failed, by what is done about it: retry, bisect, park.",
    ["lane", "verdict"],
)
ROWS_QUARANTINED = Counter("relo_rows_quarantined_total", "Rows that ClickHouse refused, now in quarantine.", ["lane"])
ROWS_SPOOLED = Counter("relo_rows_spooled_total", "Rows in segments that were sealed.", ["lane"])
BYTES_SPOOLED = Counter("relo_bytes_spooled_total", "Bytes of rows in segments that were sealed.", ["lane"])
SEGMENTS_ADOPTED = Counter("relo_segments_adopted_total", "Segments taken over from processes that died.")
SPOOL_BYTES = Gauge("relo_spool_disk_bytes", "Disk that all segments take.", multiprocess_mode="livemax")
SPOOL_OLDEST = Gauge(
    "relo_spool_oldest_seconds", "Age of the oldest segment that is not flushed.", multiprocess_mode="livemax"
)
SPOOL_PARKED = Gauge(
    "relo_spool_parked_segments", "Segments that wait for a migration or a person.", multiprocess_mode="livesum"
)
FLUSH_FAILING = Gauge("relo_flush_failing_seconds", "Time since inserts stopped working.", multiprocess_mode="livemax")


class RequestCounts:
    """Outcomes of this process since the last fold; ``counts[outcome.index] += 1`` is the whole cost."""

    def __init__(self) -> None:
        self.counts = [0] * len(OUTCOMES)
        self.events = 0
        self._series = [REQUESTS.labels(o.name, str(o.status)) for o in OUTCOMES]

    def fold(self) -> None:
        """Add what was counted to the metrics."""
        for index, count in enumerate(self.counts):
            if count:
                self._series[index].inc(count)
                self.counts[index] = 0
        if self.events:
            EVENTS.inc(self.events)
            self.events = 0


def exposition() -> bytes:
    """The metrics of all processes in Prometheus' text format."""
    if MULTIPROC not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
