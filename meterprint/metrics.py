"""Figures of the running site in the Prometheus text format, each with its help text."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ingest.quarantine import QuarantineError
from ingest.receiver import COMMIT_BOUNDS_S, Tally
from meterprint.live import LiveSite

NS = 10**9

log = structlog.get_logger("metrics")


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"meterprint_{name}", text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"meterprint_{name}", text, value=value)


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"meterprint_{name}", text, labels=[label])
    for key in sorted(values):
        family.add_metric([key], values[key])
    return family


def _commits(tally: Tally) -> Metric:
    """How long transactions took, the wait for the disk (fsync) with them."""
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip(COMMIT_BOUNDS_S, tally.commit_buckets, strict=False):
        total += count
        buckets.append((str(float(bound)), total))
    buckets.append(("+Inf", tally.commits))
    return HistogramMetricFamily(
        "meterprint_commit_seconds",
        "Time of a journal transaction until it is on disk (fsync), s",
        buckets=buckets,
        sum_value=tally.commit_seconds,
    )


class SiteCollector(Collector):
    """Reads the figures of a running site when they are asked for."""

    def __init__(self, live: LiveSite) -> None:
        self._live = live

    def collect(self) -> Iterable[Metric]:
        """Every family."""
        yield from self._ingest()
        yield from self._agents()
        yield from self._bridges()
        yield from self._engine()

    def _ingest(self) -> Iterator[Metric]:
        live, tally = self._live, self._live.receiver.tally
        yield _counter("messages_received", "MQTT messages taken since the start", tally.received)
        yield _counter("envelopes_accepted", "New journal entries since the start", tally.accepted)
        yield _counter(
            "messages_duplicate",
            "Messages the journal had already, since the start",
            tally.duplicates,
        )
        yield _counter("readings", "Readings in new envelopes since the start", tally.readings)
        refused = CounterMetricFamily(
            "meterprint_messages_quarantined",
            "Messages refused and kept in quarantine, by reason, since the site exists",
            labels=["reason"],
        )
        try:
            counts: Mapping[str, int] = live.site.quarantine.counts()
        except QuarantineError as error:
            log.warning("quarantine_unreadable", error=str(error), hint=error.hint)
            counts = tally.quarantined.copy()  # since the start at least
        for reason, count in sorted(counts.items()):
            refused.add_metric([reason], count)
        yield refused
        yield _commits(tally)
        yield _gauge(
            "ingest_queue_messages",
            "Messages that wait for the next transaction",
            sum(live.subscriber.waiting.values()),
        )
        yield _gauge("journal_entries", "Entries of the journal", live.site.journal.size)
        yield _gauge(
            "journal_size_bytes", "Size of the journal on disk", live.site.journal.bytes_on_disk()
        )
        yield _gauge(
            "chains_with_holes",
            "Streams of which envelopes must exist that have not come",
            live.subscriber.holes,
        )
        yield _gauge(
            "broker_connected",
            "1 while ingest is connected to the broker",
            live.subscriber.connected.is_set(),
        )

    def _agents(self) -> Iterator[Metric]:
        states, now = self._live.agent_states, time.time_ns()
        yield _gauges(
            "agent_online",
            "1 while an agent is connected to the broker",
            "agent",
            {name: float(state.online) for name, state in states.items()},
        )
        yield _gauges(
            "outbox_depth_envelopes",
            "Envelopes of an agent without a receipt, as it said last",
            "agent",
            {name: s.depth for name, s in states.items() if s.online and s.depth is not None},
        )
        yield _gauges(
            "outbox_oldest_seconds",
            "Age of an agent's oldest envelope without a receipt, 0 = it has none",
            "agent",
            {name: (s.behind(now) or 0) / NS for name, s in states.items() if s.online},
        )
        yield _gauges(
            "agent_silent_seconds",
            "Time since an agent's last readings came, since the start of the site's process",
            "agent",
            {name: max(now - at, 0) / NS for name, at in self._live.arrivals.items()},
        )

    def _bridges(self) -> Iterator[Metric]:
        taken = CounterMetricFamily(
            "meterprint_bridge_messages",
            "Foreign messages, by outcome: received, duplicate, or the reason they were refused",
            labels=["bridge", "outcome"],
        )
        readings = CounterMetricFamily(
            "meterprint_bridge_readings",
            "Readings of foreign messages: journalled, or null by flag",
            labels=["bridge", "outcome"],
        )
        for bridge in self._live.bridges:
            name, tally = bridge.mapping.agent, bridge.tally
            taken.add_metric([name, "received"], tally.received)
            taken.add_metric([name, "duplicate"], tally.duplicates)
            for reason, count in tally.refused.copy().items():
                taken.add_metric([name, reason], count)
            readings.add_metric([name, "journalled"], tally.readings)
            for flag, count in tally.flags.copy().items():
                readings.add_metric([name, flag], count)
        yield taken
        yield readings
        yield _gauges(
            "bridge_online",
            "1 while a bridge's broker is there",
            "bridge",
            {b.mapping.agent: float(b.connected.is_set()) for b in self._live.bridges},
        )

    def _engine(self) -> Iterator[Metric]:
        live, engine = self._live, self._live.site.engine
        troubles = live.troubles()
        yield _gauge("ready", "1 while nothing keeps the site from being up to date", not troubles)
        yield _gauges(
            "trouble",
            "1 for each thing that keeps the site from being up to date (as /readyz names it)",
            "code",
            {one.code: 1.0 for one in troubles},
        )
        yield _gauge(
            "engine_lag_entries", "Journal entries the engine has not taken in", engine.lag
        )
        states = Counter(result.state.value for result in list(engine.results.values()))
        yield _gauges("batches", "Batches known, by state", "state", states)
        yield _gauges("findings", "Findings of batches, by rule", "rule", engine.batch_findings())
        yield _gauges(
            "view_lag_entries",
            "Journal entries a view of the readings (influx) has not taken in",
            "view",
            {name: view.projector.lag for name, view in live.views.items()},
        )
        yield _gauges(
            "view_spool_readings",
            "Readings a view holds that are not durable in its store yet",
            "view",
            {name: view.store.pending for name, view in live.views.items()},
        )


def metrics_text(live: LiveSite) -> str:
    """The figures now, with help texts."""
    registry = CollectorRegistry()
    registry.register(SiteCollector(live))
    ProcessCollector(registry=registry)
    return generate_latest(registry).decode()
