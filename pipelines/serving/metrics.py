"""The metrics for Prometheus.

The values are held here and not in prometheus_client's counters: Feast, if it is imported first, switches those to
files that every registry of the process shares, so that a server would begin with the counts of another.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from pipelines.records import Arrival, Prediction
from pipelines.serving.features import MISSING

PREFIX = "flightdeck_"
BOUNDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds
COUNTERS = {
    "http_requests": ("Calls by endpoint and status", ("endpoint", "status")),
    "predictions": ("Requests answered, by the version that did", ("version",)),
    "version_errors": ("Requests that a version failed to score", ("version",)),
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


class Metrics(Collector):
    """The counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, dict[Labels, float]] = {name: defaultdict(float) for name in COUNTERS}
        self._gauges: dict[str, dict[Labels, float]] = {name: {} for name in GAUGES}
        self._buckets: dict[str, dict[Labels, list[int]]] = {
            name: defaultdict(lambda: [0] * (len(BOUNDS) + 1)) for name in HISTOGRAMS
        }
        self._sums: dict[str, dict[Labels, float]] = {name: defaultdict(float) for name in HISTOGRAMS}
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def note_call(self, endpoint: str, status: int, seconds: float) -> None:
        with self._lock:
            self._counts["http_requests"][endpoint, str(status)] += 1
            self._observe("http_request_seconds", (endpoint,), seconds)

    def note_predictions(self, predictions: Iterable[Prediction]) -> None:
        """Count new predictions, not repeated ones."""
        with self._lock:
            for prediction in predictions:
                self._counts["predictions"][(prediction.served,)] += 1
                for version, milliseconds in prediction.milliseconds.items():
                    self._observe("scoring_seconds", (version,), milliseconds / 1000)

    def note_errors(self, failed: Mapping[str, int]) -> None:
        """Count, by version, the requests that it failed to score."""
        with self._lock:
            for version, count in failed.items():
                self._counts["version_errors"][(version,)] += count

    def note_absences(self, absences: Mapping[tuple[str, str], int]) -> None:
        with self._lock:
            for (view, kind), count in absences.items():
                self._counts["features_missing" if kind == MISSING else "features_stale"][(view,)] += count

    def note_outcomes(self, arrivals: Iterable[Arrival]) -> None:
        with self._lock:
            for arrival in arrivals:
                self._counts["outcomes"][(arrival.value,)] += 1

    def note_models(self, plan: int, loaded: Mapping[str, bool]) -> None:
        """Set the plan that is served, and its versions; those of earlier plans are removed."""
        with self._lock:
            self._gauges["routing_plan"] = {(): plan}
            self._gauges["model_loaded"] = {(version,): float(is_loaded) for version, is_loaded in loaded.items()}

    def _observe(self, name: str, labels: Labels, seconds: float) -> None:
        self._buckets[name][labels][bisect_left(BOUNDS, seconds)] += 1
        self._sums[name][labels] += seconds

    def collect(self) -> Iterator[Metric]:
        """The metrics, for prometheus_client's registry."""
        with self._lock:
            families = [*self._families()]
        yield from families

    def _families(self) -> Iterator[Metric]:
        for name, (help_text, labels) in COUNTERS.items():
            counter = CounterMetricFamily(PREFIX + name, help_text, labels=labels)
            for key, value in self._counts[name].items():
                counter.add_metric(key, value)
            yield counter
        for name, (help_text, labels) in GAUGES.items():
            gauge = GaugeMetricFamily(PREFIX + name, help_text, labels=labels)
            for key, value in self._gauges[name].items():
                gauge.add_metric(key, value)
            yield gauge
        for name, (help_text, labels) in HISTOGRAMS.items():
            histogram = HistogramMetricFamily(PREFIX + name, help_text, labels=labels)
            for key, counts in self._buckets[name].items():
                bounds = [*map(str, BOUNDS), "+Inf"]
                histogram.add_metric(key, [*zip(bounds, accumulate(counts), strict=True)], self._sums[name][key])
            yield histogram

    def text(self) -> bytes:
        return generate_latest(self.registry)
