"""Counters and histograms in Prometheus' format, in a registry of their own."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class Metrics:
    """What this process measures. `gauge` names functions that are asked when someone reads."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Histogram(
            "kilonova_http_request_seconds",
            "Time per request",
            ("service", "route", "status"),
            registry=self._registry,
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
        )
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self._registry.register(_Gauges(self._gauges))

    def observe_request(self, service: str, route: str, status: int, seconds: float) -> None:
        """One request was answered."""
        self._requests.labels(service, route, str(status)).observe(seconds)

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Show the value that `read` returns under `name`."""
        self._gauges[name] = (help_text, read)

    def render(self) -> bytes:
        """Everything, in the text exposition format."""
        return generate_latest(self._registry)


class _Gauges(Collector):
    def __init__(self, gauges: dict[str, tuple[str, Callable[[], float]]]) -> None:
        self._gauges = gauges

    def collect(self) -> list[GaugeMetricFamily]:
        return [GaugeMetricFamily(name, text, value=read()) for name, (text, read) in self._gauges.items()]
