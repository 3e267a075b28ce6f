"""Figures of the running site in the Prometheus text format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from meterprint.live import LiveSite


def metrics_text(live: LiveSite) -> str:
    """The figures now, with help texts."""
    registry = CollectorRegistry()
    tally = live.receiver.tally

    def gauge(name: str, text: str, value: float) -> None:
        Gauge(f"meterprint_{name}", text, registry=registry).set(value)

    gauge("messages_received", "MQTT messages taken since the start", tally.received)
    gauge("envelopes_accepted", "New journal entries since the start", tally.accepted)
    gauge("messages_duplicate", "Messages the journal had already", tally.duplicates)
    gauge("readings", "Readings in new envelopes since the start", tally.readings)
    gauge("commits", "Journal transactions since the start", tally.commits)
    gauge("commit_seconds", "Time spent in journal transactions, s", tally.commit_seconds)
    gauge("journal_entries", "Entries of the journal", live.site.journal.size)
    gauge("journal_bytes", "Size of the journal on disk, bytes", live.site.journal.bytes_on_disk())
    refused = Gauge(
        "meterprint_messages_quarantined",
        "Messages refused, by reason",
        ["reason"],
        registry=registry,
    )
    for reason, count in live.site.quarantine.counts().items():
        refused.labels(reason).set(count)
    depth = Gauge(
        "meterprint_outbox_depth",
        "Envelopes of an agent without a receipt, as it said last",
        ["agent"],
        registry=registry,
    )
    for agent, state in live.agent_states.items():
        if isinstance(state.get("depth"), int):
            depth.labels(agent).set(state["depth"])
    _bridges(registry, live)
    gauge("engine_lag", "Journal entries the engine has not taken in", live.site.engine.lag)
    gauge("chains_with_holes", "Streams whose agent is asked for envelopes", live.subscriber.holes)
    gauge("batches", "Batches known", len(live.site.engine.results))
    lag = Gauge(
        "meterprint_view_lag",
        "Journal entries a view has not taken in",
        ["view"],
        registry=registry,
    )
    for name, view in live.views.items():
        lag.labels(name).set(view.projector.lag)
    odd = Gauge(
        "meterprint_findings",
        "Findings of batches, by rule",
        ["rule"],
        registry=registry,
    )
    for rule, count in live.site.engine.batch_findings().items():
        odd.labels(rule).set(count)
    return generate_latest(registry).decode()


def _bridges(registry: CollectorRegistry, live: LiveSite) -> None:
    """What each bridge has taken in since the start."""
    if not live.bridges:
        return
    taken = Gauge(
        "meterprint_bridge_messages",
        "Foreign messages, by outcome: received, duplicate, or the reason they were refused",
        ["bridge", "outcome"],
        registry=registry,
    )
    readings = Gauge(
        "meterprint_bridge_readings",
        "Readings of foreign messages: journalled, or null by flag",
        ["bridge", "outcome"],
        registry=registry,
    )
    online = Gauge(
        "meterprint_bridge_online",
        "Whether the foreign broker is there",
        ["bridge"],
        registry=registry,
    )
    for bridge in live.bridges:
        name, tally = bridge.mapping.agent, bridge.tally
        online.labels(name).set(bridge.connected.is_set())
        taken.labels(name, "received").set(tally.received)
        taken.labels(name, "duplicate").set(tally.duplicates)
        for reason, count in tally.refused.copy().items():
            taken.labels(name, reason).set(count)
        readings.labels(name, "journalled").set(tally.readings)
        for flag, count in tally.flags.copy().items():
            readings.labels(name, flag).set(count)
