"""What Prometheus reads from ``/metrics``: what this server's clients got, and the engine at this moment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from exsa_lab import loading
from exsa_lab.engine.generation import Generation
from exsa_lab.errors import EngineNotLoaded
from exsa_lab.events import RoundEvent

__all__ = ["CONTENT_TYPE", "Metrics"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_GAPS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 5.0)
_GAUGES = {
    "exsa_running": ("running", "Generations that run, those of cells included."),
    "exsa_waiting": ("waiting", "Generations that wait for a slot."),
    "exsa_slots": ("slots", "Generations that can run at once."),
    "exsa_slots_used": ("slots_used", "Slots of running generations."),
    "exsa_slots_cached": ("slots_cached", "Slots that keep a finished generation's cells for reuse."),
    "exsa_cells": ("cells", "Cells of the KV cache, in tokens."),
    "exsa_cells_used": ("cells_used", "Cells in use."),
    "exsa_cells_cached": ("cells_cached", "Cells held only for reuse."),
}


class Metrics:
    """The numbers of one server. Written by its event loop."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_EngineNow())
        self.requests = Counter(
            "exsa_http_requests", "Requests by route and status.", ["route", "status"], registry=self._registry
        )
        self._tokens = Counter(
            "exsa_tokens", "Tokens of prompts, those of them from the cache, and generated.", ["kind"],
            registry=self._registry,
        )  # fmt: skip
        self._drafts = Counter(
            "exsa_draft_tokens", "Draft tokens by drafter, proposed and accepted.", ["drafter", "outcome"],
            registry=self._registry,
        )  # fmt: skip
        self._ttft = Histogram(
            "exsa_ttft_seconds", "From submission to the first token.", buckets=_SECONDS, registry=self._registry
        )
        self._gap = Histogram(
            "exsa_gap_seconds", "Between two rounds of a text, each of which adds one token or more.", buckets=_GAPS,
            registry=self._registry,
        )  # fmt: skip

    def count(self, generation: Generation) -> None:
        """Add what a generation that is over came to."""
        stats = generation.stats
        self._tokens.labels("prompt").inc(stats.prompt_tokens)
        self._tokens.labels("cached").inc(stats.cached_prompt_tokens)
        self._tokens.labels("generated").inc(len(generation.tokens))
        self._count_rounds([event for event in generation.events if isinstance(event, RoundEvent)])

    def _count_rounds(self, rounds: Sequence[RoundEvent]) -> None:
        before: float | None = None
        for event in rounds:
            if before is None:
                self._ttft.observe(event.time_s)
            else:
                self._gap.observe(event.time_s - before)
            before = event.time_s
            if event.drafter is not None:
                self._drafts.labels(event.drafter, "proposed").inc(event.k)
                self._drafts.labels(event.drafter, "accepted").inc(event.accepted)

    def text(self) -> bytes:
        """Return all of it in Prometheus's text format."""
        return generate_latest(self._registry)


class _EngineNow(Collector):
    """The engine's status, looked at when it is asked for."""

    def collect(self) -> Iterable[Metric]:
        try:
            status = loading.get_engine().status()
        except EngineNotLoaded:
            yield GaugeMetricFamily("exsa_up", "Whether an engine is loaded.", value=0)
            return
        yield GaugeMetricFamily("exsa_up", "Whether an engine is loaded.", value=1)
        for name, (field, text) in _GAUGES.items():
            yield GaugeMetricFamily(name, text, value=getattr(status, field))
