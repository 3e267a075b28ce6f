"""The broker over TLS: who shows no certificate stays out, an agent stays in its own subtree.

A real Mosquitto, certificates made at run time, spoken to by paho and by bare sockets.
"""

from __future__ import annotations

import queue
import socket
import ssl
import threading

import paho.mqtt.client as mqtt
import pytest
from cryptography import x509
from paho.mqtt.enums import CallbackAPIVersion

from ingest.broker import Guard, Mosquitto, find_mosquitto, guard_of
from ingest.broker_certificates import (
    CLIENT,
    INGEST,
    agent_certificate,
    agent_files,
    make_authority,
    tls_files,
)
from ingest.broker_config import agent_access, check_listener
from mrv.errors import InputError, MeterprintError
from mrv.verification.note import SecretKey
from tests.conftest import missing

SITE = "works"
ROOT = f"meterprint/1/{SITE}"
pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def keys(folder):
    make_authority(folder / "keys", SITE, ["broker.example", "192.0.2.9"])
    return folder / "keys"


@pytest.fixture(scope="module")
def broker(folder, keys):
    if find_mosquitto() is None:
        missing("mosquitto")
    running = Mosquitto(folder / "broker", 0, guard_of(keys, SITE, "127.0.0.1"))
    yield running
    running.stop()


def files_of(keys, name, site=SITE):
    """TLS files of a gateway that was enrolled: only its public key leaves it."""
    key = SecretKey.generate(name)
    folder = keys.parent / f"gateway-{name}"
    folder.mkdir(exist_ok=True)
    (folder / "gw.pem").write_bytes(agent_certificate(keys, site, key.public))
    return agent_files(folder, key, keys / "broker-ca.pem", folder / "gw.pem")


class Client:
    """A connected client and what it heard."""

    def __init__(self, port, context, name="", host="127.0.0.1"):
        self.heard = queue.Queue()
        self.granted = queue.Queue()
        self.lost = threading.Event()
        self.answer = queue.Queue()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name)
        if context is not None:
            self.client.tls_set_context(context)
        self.client.on_connect = lambda _c, _u, _f, reason, _p: self.answer.put(reason)
        self.client.on_message = lambda _c, _u, m: self.heard.put((m.topic, m.payload))
        self.client.on_subscribe = lambda _c, _u, _m, codes, _p: self.granted.put(codes)
        self.client.on_disconnect = lambda *_: self.lost.set()
        self.client.connect(host, port)
        self.client.loop_start()

    def reads(self, topic):
        self.client.subscribe(topic, 1)
        self.granted.get(timeout=10)

    def writes(self, topic, payload=b"x"):
        self.client.publish(topic, payload, 1).wait_for_publish(10)

    def tries(self, topic):
        """Publish what may be refused: some versions of Mosquitto hang up, some only drop it."""
        self.lost.clear()
        try:
            self.client.publish(topic, b"forged", 1).wait_for_publish(10)
        except RuntimeError:
            assert self.lost.wait(10)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def connect(broker):
    opened = []

    def open_client(files, name=""):
        ingest = files.certificate.name == "broker-ingest.pem"
        port = broker.ingest_port if ingest else broker.port
        client = Client(port, files.context(), name)
        opened.append(client)
        assert not client.answer.get(timeout=10).is_failure
        return client

    yield open_client
    for client in opened:
        client.close()


def test_an_agent_publishes_below_its_own_name_and_nowhere_else(broker, keys, connect):
    ingest = connect(tls_files(keys, CLIENT))
    ingest.reads(f"{ROOT}/#")
    files = files_of(keys, "gw-1")
    below = [f"gw-2/{kind}" for kind in ("readings/line", "birth", "state", "batch-events")]
    for topic in (*(f"{ROOT}/{name}" for name in below), f"{ROOT}/gw-1/receipt/line"):
        connect(files).tries(topic)
    connect(files).tries("meterprint/1/other/gw-1/readings/line")
    first = connect(files)
    first.writes(f"{ROOT}/gw-1/readings/line", b"own")
    assert ingest.heard.get(timeout=10) == (f"{ROOT}/gw-1/readings/line", b"own")
    assert ingest.heard.empty()


def test_an_agent_hears_its_own_receipts_and_nobody_elses(broker, keys, connect):
    ingest = connect(tls_files(keys, CLIENT))
    first, second = connect(files_of(keys, "gw-1")), connect(files_of(keys, "gw-2"))
    first.reads("#")
    first.reads(f"{ROOT}/gw-2/receipt/+")
    second.reads(f"{ROOT}/gw-2/receipt/+")
    ingest.writes(f"{ROOT}/gw-2/receipt/line", b"for two")
    ingest.writes(f"{ROOT}/gw-1/receipt/line", b"for one")
    assert second.heard.get(timeout=10) == (f"{ROOT}/gw-2/receipt/line", b"for two")
    assert first.heard.get(timeout=10) == (f"{ROOT}/gw-1/receipt/line", b"for one")
    assert first.heard.empty()


def test_nobody_ends_the_session_of_another_by_its_client_id(broker, keys, connect):
    victim = connect(files_of(keys, "gw-3"), "works-gw-3")
    thief = connect(files_of(keys, "gw-4"), "works-gw-3")
    thief.writes(f"{ROOT}/gw-4/readings/line")
    assert not victim.lost.is_set()
    victim.writes(f"{ROOT}/gw-3/readings/line")
    assert not victim.lost.is_set()


def test_sessions_of_ingest_have_names_of_their_own_and_no_agent_can_take_them(
    broker, keys, connect
):
    files = tls_files(keys, CLIENT)
    first, second = connect(files, f"{SITE}-ingest"), connect(files, f"{SITE}-ingest-gw-1")
    thief = connect(files_of(keys, "gw-4"), f"{SITE}-ingest")
    thief.writes(f"{ROOT}/gw-4/readings/line")
    assert not first.lost.is_set()
    assert not second.lost.is_set()
    assert not enters(broker.ingest_port, files_of(keys, "gw-4").context())
    assert not enters(broker.port, files.context())


def enters(port, context):
    """Whether a CONNECT over a socket (TLS where there is a context) is answered by a CONNACK."""
    packet = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02xy"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        try:
            link = context.wrap_socket(raw, server_hostname="127.0.0.1") if context else raw
            link.sendall(packet)
            return link.recv(2) == b"\x20\x02"
        except (ssl.SSLError, ConnectionError):
            return False


def test_without_a_certificate_of_this_site_nobody_comes_in(broker, keys, folder):
    assert enters(broker.port, files_of(keys, "gw-8").context())
    assert not enters(broker.port, ssl.create_default_context(cafile=str(keys / "broker-ca.pem")))
    assert not enters(broker.port, None)
    make_authority(folder / "stranger", SITE, [])
    forged = files_of(folder / "stranger", "gw-8")
    context = ssl.create_default_context(cafile=str(keys / "broker-ca.pem"))
    context.load_cert_chain(forged.certificate, forged.key)
    assert not enters(broker.port, context)


def test_a_broker_of_another_authority_is_not_spoken_to(broker, folder):
    make_authority(folder / "stranger", SITE, [])
    with pytest.raises(ssl.SSLError):
        Client(broker.port, files_of(folder / "stranger", "gw-1").context())


def test_the_server_certificate_holds_the_names_it_was_made_for(keys):
    made = x509.load_pem_x509_certificate((keys / "broker-server.pem").read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"localhost", "broker.example"}
    assert "192.0.2.9" in map(str, names.get_values_for_type(x509.IPAddress))
    assert all((path.stat().st_mode & 0o077) == 0 for path in keys.iterdir())


def test_a_second_init_keeps_the_authority_so_that_agents_stay_enrolled(keys):
    before = (keys / "broker-ca.pem").read_bytes()
    make_authority(keys, SITE, ["another.example"])
    assert (keys / "broker-ca.pem").read_bytes() == before


def test_off_loopback_a_broker_needs_certificates(tmp_path):
    with pytest.raises(InputError, match="has no certificates") as refused:
        guard_of(tmp_path, SITE, "0.0.0.0")
    assert "broker init" in refused.value.hint
    assert check_listener("0.0.0.0", secured=True) == "0.0.0.0"
    assert guard_of(tmp_path, SITE, "127.0.0.1") is None


@pytest.mark.parametrize(
    "name", [INGEST, "a/b", "a+b", "a#b", "x" * 65, f"{SITE}-ingest", f"{SITE}-ingest-gw-1"]
)
def test_no_agent_gets_a_certificate_that_means_more_than_its_own_name(keys, name):
    with pytest.raises(MeterprintError):
        agent_certificate(keys, SITE, SecretKey.generate(name).public)


def test_a_site_name_cannot_smuggle_in_a_pattern():
    with pytest.raises(InputError):
        agent_access("works/%u")


def test_files_that_do_not_fit_are_named(tmp_path, keys):
    files = files_of(keys, "gw-7")
    (tmp_path / "bad.pem").write_text("no certificate")
    with pytest.raises(InputError, match="do not fit"):
        type(files)(files.authority, tmp_path / "bad.pem", files.key).context()


def test_a_broker_killed_from_outside_is_started_again(folder, keys):
    if find_mosquitto() is None:
        missing("mosquitto")
    broker = Mosquitto(folder / "revived", 0, Guard(keys, SITE))
    try:
        assert not broker.revive()
        process = broker._process
        process.kill()
        process.wait()
        assert broker.revive()
        Client(broker.ingest_port, tls_files(keys, CLIENT).context()).close()
    finally:
        broker.stop()
    assert not broker.revive(), "one that was stopped stays stopped"
