"""The receiving client against a real Mosquitto: TLS, passwords, refusals, long silence."""

from __future__ import annotations

import datetime as dt
import ipaddress
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ingest import mqtt_feed
from ingest import mqtt_wire as wire
from ingest.broker import find_mosquitto, free_port
from ingest.mqtt_feed import BrokerAddress, FeedLost, MqttFeed
from tests.conftest import missing

pytestmark = pytest.mark.broker


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    paper, secret = folder / "cert.pem", folder / "key.pem"
    paper.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paper, secret


@pytest.fixture
def guarded(tmp_path):
    """A Mosquitto behind TLS and a password: (port, certificate)."""
    program, passwords = find_mosquitto(), shutil.which("mosquitto_passwd")
    if program is None or passwords is None:
        missing("mosquitto")
    paper, secret = certificate(tmp_path)
    users = tmp_path / "users"
    subprocess.run([passwords, "-b", "-c", str(users), "bridge", "word"], check=True)
    port = free_port()
    config = tmp_path / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {users}\n"
        f"certfile {paper}\nkeyfile {secret}\nuser root\nlog_dest none\n"
    )
    process = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
    for _ in range(400):
        try:
            MqttFeed(BrokerAddress(port, ca=paper), "probe", ["a"]).connect()
        except FeedLost as error:
            if "refuses us" in str(error):
                break
        try:
            process.wait(0.025)
            pytest.fail("mosquitto ended")
        except subprocess.TimeoutExpired:
            continue
    yield port, paper
    process.terminate()
    process.wait(10)


def test_tls_and_password_let_in_and_messages_come(guarded):
    port, paper = guarded
    address = BrokerAddress(port, username="bridge", password="word", ca=paper)
    feed = MqttFeed(address, "reader", ["a/#"])
    feed.connect()
    while not feed.subscribed:
        assert feed.receive(5) == []
    sender = MqttFeed(address, "sender", ["nothing"])
    sender.connect()
    payloads = [b"%d" % i * 500 for i in range(200)]
    sender._send(b"".join(wire.publish("a/b", p, i + 1) for i, p in enumerate(payloads)))
    seen = []
    while len(seen) < len(payloads):
        arrived = feed.receive(5)
        assert arrived, "nothing more comes"
        feed.acknowledge([message.mid for message in arrived])
        seen += [message.payload for message in arrived]
    assert seen == payloads
    feed.leave()
    sender.leave()


def test_a_wrong_password_and_a_wrong_authority_are_told(guarded, tmp_path):
    port, paper = guarded
    with pytest.raises(FeedLost, match=r"not authorised|user name"):
        MqttFeed(
            BrokerAddress(port, username="bridge", password="x", ca=paper), "r", ["a"]
        ).connect()
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(FeedLost, match="certificate"):
        MqttFeed(BrokerAddress(port, ca=certificate(other)[0]), "r", ["a"]).connect()


def test_nobody_there_is_told():
    with pytest.raises(FeedLost, match="no MQTT broker answers"):
        MqttFeed(BrokerAddress(free_port()), "r", ["a"]).connect()


def test_a_long_silence_is_bridged_by_pings(mosquitto, monkeypatch):
    """With a keep-alive of one second Mosquitto drops whoever is silent for 1.5 s (§3.1.2.10)."""
    monkeypatch.setattr(mqtt_feed, "KEEPALIVE_S", 1)
    feed = MqttFeed(BrokerAddress(mosquitto.port), "quiet", ["a"])
    feed.connect()
    for _ in range(10):
        assert feed.receive(0.3) == []
    sender = MqttFeed(BrokerAddress(mosquitto.port), "sender", ["nothing"])
    sender.connect()
    sender._send(wire.publish("a", b"still here", 1))
    found = []
    for _ in range(20):
        found += feed.receive(0.3)
        if found:
            break
    assert [message.payload for message in found] == [b"still here"]
    feed.leave()
    sender.leave()
