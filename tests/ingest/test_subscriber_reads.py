"""A disk that cannot be read while a receipt is made: the worker waits for it, as for a write."""

from __future__ import annotations

import threading

import pytest

from edge_agent.chain import StreamChain
from edge_agent.source import RawReading
from ingest import subscriber
from ingest.journal import Journal, JournalError
from mrv.envelope import Clock, ClockState
from tests.ingest.test_agent_session import SITE, Listening

pytestmark = pytest.mark.broker
CLOCK = Clock(ClockState.SYNCHRONISED, 5, "t")


def test_a_receipt_is_made_once_the_journal_can_be_read_again(tmp_path, mosquitto, monkeypatch):
    rig = Listening(tmp_path, mosquitto.port)
    rig.receiver.gate.set()
    runs, refusals, answered = Journal.runs, iter(range(5)), threading.Event()
    published = rig.subscriber._publish

    def reads(self, *place):
        if next(refusals, None) is not None:
            raise JournalError("the disk does not give it back")
        return runs(self, *place)

    def noted(agent, name, payload):
        published(agent, name, payload)
        if name.startswith("receipt/"):
            answered.set()

    monkeypatch.setattr(subscriber, "RETRY_S", 0.01)
    monkeypatch.setattr(Journal, "runs", reads)
    monkeypatch.setattr(rig.subscriber, "_publish", noted)
    try:
        chain = StreamChain(SITE, "l", rig.key, "", None, now=lambda: 1)
        rig.send([chain.cut([RawReading("m.e", 1, 0, 1)], CLOCK)[0].note])
        assert answered.wait(30)
        assert not rig.subscriber.ended
        assert rig.subscriber.refused >= 1
        assert rig.subscriber.refusal == ""
        assert next(refusals, None) is None
    finally:
        rig.close()
