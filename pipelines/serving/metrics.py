"""The metrics for Prometheus.

The values are held here and not in prometheus_client's counters: Feast, if it is imported first, switches those to
files that every registry of the process shares, so that a server would begin with the counts of another.
"""

from __future__ import annotations

import os
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from pipelines.records import Arrival
from pipelines.serving.features import MISSING

LEFT = 1.0  # seconds between two writes of what a process has counted
PREFIX = "flightdeck_"
BOUNDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds
COUNTERS = {
    "http_requests": ("Calls by endpoint and status", ("endpoint", "status")),
    "predictions": ("Requests answered, by the version that did", ("version",)),
    "version_errors": ("Requests that a version failed to score", ("version",)),
    "version_late": ("Requests that a challenger did not score in time", ("version",)),
    "features_missing": ("Stored values that were not there", ("view",)),
    "features_stale": ("Stored values too old, or of the future", ("view",)),
    "outcomes": ("Outcomes by what became of them", ("arrival",)),
}
HISTOGRAMS = {
    "http_request_seconds": ("Duration of a call", ("endpoint",)),
    "scoring_seconds": ("Duration of the run that scores one or more requests, by version", ("version",)),
}
GAUGES = {
    "routing_plan": ("Version of the routing plan that is served", ()),
    "model_loaded": ("Whether a version of the plan is in memory", ("version",)),
}
Labels = tuple[str, ...]


class MetricCounts(msgspec.Struct):
    """What one process has counted: by metric, then by the metric's labels.

    Attributes:
        buckets: of histograms, by BOUNDS and beyond them.
        sums: of histograms, seconds.
    """

    counters: dict[str, dict[Labels, float]] = msgspec.field(default_factory=lambda: {name: {} for name in COUNTERS})
    buckets: dict[str, dict[Labels, list[int]]] = msgspec.field(
        default_factory=lambda: {name: {} for name in HISTOGRAMS}
    )
    sums: dict[str, dict[Labels, float]] = msgspec.field(default_factory=lambda: {name: {} for name in HISTOGRAMS})

    def count(self, name: str, labels: Labels, more: float) -> None:
        of_metric = self.counters[name]
        of_metric[labels] = of_metric.get(labels, 0.0) + more

    def observe(self, name: str, labels: Labels, seconds: float) -> None:
        buckets = self.buckets[name].setdefault(labels, [0] * (len(BOUNDS) + 1))
        buckets[bisect_left(BOUNDS, seconds)] += 1
        self.sums[name][labels] = self.sums[name].get(labels, 0.0) + seconds

    def add(self, other: MetricCounts) -> None:
        """Count what another process has counted, too."""
        for name, of_metric in other.counters.items():
            for labels, value in of_metric.items():
                self.count(name, labels, value)
        for name, by_labels in other.buckets.items():
            for labels, counts in by_labels.items():
                mine = self.buckets[name].get(labels, [0] * len(counts))
                self.buckets[name][labels] = [one + two for one, two in zip(mine, counts, strict=True)]
                self.sums[name][labels] = self.sums[name].get(labels, 0.0) + other.sums[name][labels]


class Metrics(Collector):
    """The counters of one server, in a registry of their own.

    Args:
        folder: where the processes of one server leave what they have counted, each in a file of its own that outlives
            it; each tells the sum. None where there is one process.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._counts = MetricCounts()
        self._gauges: dict[str, dict[Labels, float]] = {name: {} for name in GAUGES}
        self._file = folder / f"{os.getpid()}" if folder else None
        if self._file:
            threading.Thread(target=self._keep_leaving, name="metrics", daemon=True).start()
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def note_call(self, endpoint: str, status: int, seconds: float) -> None:
        with self._lock:
            self._counts.count("http_requests", (endpoint, str(status)), 1)
            self._counts.observe("http_request_seconds", (endpoint,), seconds)

    def note_predictions(self, served: Sequence[str], milliseconds: Mapping[str, float]) -> None:
        """Count the new predictions of a run by the versions that answered, and the run's time for each version."""
        with self._lock:
            for version in set(served):
                self._counts.count("predictions", (version,), served.count(version))
            for version, taken in milliseconds.items():
                self._counts.observe("scoring_seconds", (version,), taken / 1000)

    def note_errors(self, failed: Mapping[str, int]) -> None:
        """Count, by version, the requests that it failed to score."""
        with self._lock:
            for version, count in failed.items():
                self._counts.count("version_errors", (version,), count)

    def note_late(self, version: str, rows: int) -> None:
        with self._lock:
            self._counts.count("version_late", (version,), rows)

    def note_absences(self, absences: Mapping[tuple[str, str], int]) -> None:
        with self._lock:
            for (view, kind), count in absences.items():
                self._counts.count("features_missing" if kind == MISSING else "features_stale", (view,), count)

    def note_outcomes(self, arrivals: Iterable[Arrival]) -> None:
        with self._lock:
            for arrival in arrivals:
                self._counts.count("outcomes", (arrival.value,), 1)

    def note_models(self, plan: int, loaded: Mapping[str, bool]) -> None:
        """Set the plan that is served, and its versions; those of earlier plans are removed."""
        with self._lock:
            self._gauges["routing_plan"] = {(): plan}
            self._gauges["model_loaded"] = {(version,): float(is_loaded) for version, is_loaded in loaded.items()}

    def leave(self) -> None:
        """Write the file that the other processes read."""
        if self._file:
            with self._lock:
                content = msgspec.msgpack.encode(self._counts)
            beside = self._file.with_suffix(".new")
            beside.write_bytes(content)
            beside.replace(self._file)

    def _keep_leaving(self) -> None:
        while True:
            time.sleep(LEFT)
            with suppress(OSError):  # the folder goes with the server
                self.leave()

    def collect(self) -> Iterator[Metric]:
        """The metrics, for prometheus_client's registry."""
        total = MetricCounts()
        for file in self._file.parent.glob("*[0-9]") if self._file else ():
            if file != self._file:
                total.add(msgspec.msgpack.decode(file.read_bytes(), type=MetricCounts))
        with self._lock:
            total.add(self._counts)
            families = [*self._families(total)]
        yield from families

    def _families(self, total: MetricCounts) -> Iterator[Metric]:
        for name, (help_text, labels) in COUNTERS.items():
            counter = CounterMetricFamily(PREFIX + name, help_text, labels=labels)
            for key, value in total.counters[name].items():
                counter.add_metric(key, value)
            yield counter
        for name, (help_text, labels) in GAUGES.items():
            gauge = GaugeMetricFamily(PREFIX + name, help_text, labels=labels)
            for key, value in self._gauges[name].items():
                gauge.add_metric(key, value)
            yield gauge
        for name, (help_text, labels) in HISTOGRAMS.items():
            histogram = HistogramMetricFamily(PREFIX + name, help_text, labels=labels)
            for key, counts in total.buckets[name].items():
                bounds = [*map(str, BOUNDS), "+Inf"]
                histogram.add_metric(key, [*zip(bounds, accumulate(counts), strict=True)], total.sums[name][key])
            yield histogram

    def text(self) -> bytes:
        return generate_latest(self.registry)
