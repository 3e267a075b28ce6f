"""What a lenient broker may deliver to an agent: a topic that is no text ends no thread."""

from __future__ import annotations

import threading

from edge_agent.outbox import Outbox
from edge_agent.publisher import Publisher
from ingest import mqtt_wire as wire
from mrv.verification.note import SecretKey
from tests.ingest.test_agent_session import Broker


def test_a_topic_that_is_no_text_is_passed_over(tmp_path):
    outbox = Outbox(tmp_path / "outbox.db")
    broker = Broker()
    accepted = threading.Thread(target=broker.accept)
    accepted.start()
    publisher = Publisher(outbox, "x", "a", SecretKey.generate("r").public, broker.port)
    accepted.join(30)
    broker.line.sendall(wire.publish(b"meterprint/1/x/a/want/\xff\xfe", b"[]", 1))
    broker.line.sendall(wire.publish("meterprint/1/x/a/want/l", b'[["e",0,1]]', 2))
    acknowledged = set()
    while acknowledged != {b"\0\x01", b"\0\x02"}:
        head, body = broker.next()
        if head == wire.PUBACK:
            acknowledged.add(body)
    publisher.stop()
    broker.close()
    outbox.close()
