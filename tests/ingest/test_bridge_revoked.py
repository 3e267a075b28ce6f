"""A bridge whose key is revoked signs nothing more, and no start enrols that key again."""

from __future__ import annotations

import pytest

from ingest.enrolled_keys import EnrolledKeys
from ingest.entry import EntryKind
from ingest.facts import FactWriter
from meterprint.bridges import PlacedMapping, open_bridge
from meterprint.plant_file import PlantFile
from meterprint.site import open_site
from mrv.errors import InputError
from tests.ingest.bridging import SITE, mapping, message, plant
from tests.ingest.test_bridge import MS, TOPIC, Place, Publisher, envelopes, values


@pytest.mark.broker
def test_a_bridge_ends_where_its_key_is_revoked_and_acknowledges_nothing_more(tmp_path, mosquitto):
    place = Place(tmp_path, mosquitto.port)
    writer = FactWriter(place.journal, place.ring)
    writer.enrol("agent", place.key.public, "test")
    enrolled = EnrolledKeys()
    enrolled.learn(place.journal)
    place.bridge._enrolled = enrolled
    place.start()
    publisher = Publisher(mosquitto.port)
    publisher.send((TOPIC, message(MS)))
    place.wait(lambda tally: tally.envelopes == 2)  # its start is one of them
    revoked_at = writer.revoke(place.key.public, "test").index
    publisher.send((TOPIC, message(MS + 1000)))
    place.bridge._thread.join(30)
    assert not place.bridge._thread.is_alive()
    assert not place.bridge.ended  # no fault of the program
    assert "not in force" in place.bridge.fault
    assert max(entry.index for entry in envelopes(place)) < revoked_at
    assert len(values(place)) == 1
    place.close()
    again = Place(tmp_path, mosquitto.port)  # the broker still has what was not acknowledged
    again.start()
    again.wait(lambda tally: tally.readings == 2)
    assert len(values(again)) == 2
    again.close()
    publisher.close()


def test_a_start_does_not_enrol_a_revoked_key_again(tmp_path):
    site = open_site(tmp_path / "state", SITE)
    site.state_plant(PlantFile(tmp_path / "plant.yaml", plant(), _tree(), (), ()), 0)
    placed = PlacedMapping(mapping(), tmp_path)
    broker = _Broker()
    bridge = open_bridge(site, placed, broker, lambda _: None, lambda *_: None)
    assert bridge._key in site.keys_of("hall-bridge")
    site.revoke_agent("hall-bridge")
    before = site.journal.size
    with pytest.raises(InputError, match="was revoked"):
        open_bridge(site, placed, broker, lambda _: None, lambda *_: None)
    assert site.keys_of("hall-bridge") == ()
    assert site.journal.size == before
    (site.state / "keys" / "bridge-hall-bridge.key").unlink()
    open_bridge(site, placed, broker, lambda _: None, lambda *_: None)
    assert len(site.keys_of("hall-bridge")) == 1
    assert {e.kind for e in site.journal.entries()} == {EntryKind.FACT}
    site.close()


def _tree():
    import yaml

    from tests.ingest.bridging import PLANT

    return yaml.load(PLANT, Loader=yaml.BaseLoader)


class _Broker:
    """Where a broker would be; nothing connects."""

    ingest_port, host, username, password, tls = 1, "127.0.0.1", "", "", None
