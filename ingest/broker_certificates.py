"""Certificates of the broker's TLS: the site's own authority, one server, one client an agent.

An agent's certificate is made for the key that signs its envelopes, so enrolling an agent and
letting it in is one step and no secret leaves the gateway. Its common name is the agent.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mrv.errors import InputError
from mrv.verification.note import PublicKey, SecretKey

INGEST = "meterprint ingest"
"""Common name of ingest: no agent can have it, as an agent's name holds no space."""
AUTHORITY, SERVER = "broker-ca", "broker-server"
"""Files of the key folder, each `.pem` and `.key`: authority of agents and server, the server."""
INGEST_AUTHORITY, CLIENT = "broker-ingest-ca", "broker-ingest"
"""Likewise: who vouches for ingest alone, so that no agent can enter by its door; ingest."""
AUTHORITY_DAYS, LEAF_DAYS = 3650, 825
"""How long certificates hold; 825 days is the most that TLS clients of Apple accept of a leaf."""
EARLIER = timedelta(hours=1)
"""A certificate holds from a little earlier, for clocks that lag."""
MAX_NAME = 64
"""Bytes of a common name (ub-common-name, RFC 5280 appendix A.1)."""
LOCAL = ("localhost", "127.0.0.1", "::1")
"""Names every server certificate holds, so that ingest beside it can check it."""

ServerKey = ec.EllipticCurvePrivateKey
"""Keys of authority and server: P-256, which every MQTT client knows."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What one side of a TLS connection needs."""

    authority: Path
    """Certificate of the authority that signed the other side's."""
    certificate: Path
    """Own certificate."""
    key: Path
    """Its secret key."""

    def context(self) -> ssl.SSLContext:
        """Of a client that shows its certificate and checks the server's. Raises InputError."""
        try:
            context = ssl.create_default_context(cafile=str(self.authority))
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise InputError(
                f"{self.authority}, {self.certificate} and its key do not fit: {error}",
                field="broker.certificate",
                hint="`meterprint broker certificate` and `broker ca` at the site make them anew",
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


def tls_files(keys: Path, name: str) -> TlsFiles:
    """Files of one side in a site's key folder; `name` is SERVER or CLIENT."""
    return TlsFiles(keys / f"{AUTHORITY}.pem", keys / f"{name}.pem", keys / f"{name}.key")


def has_authority(keys: Path) -> bool:
    """Whether a site has made the certificates of its broker."""
    return all(
        (keys / f"{name}{kind}").exists()
        for name in (AUTHORITY, INGEST_AUTHORITY, SERVER, CLIENT)
        for kind in (".pem", ".key")
    )


def days_left(keys: Path, name: str) -> int:
    """Whole days a certificate of the key folder still holds; below 0 it is over."""
    try:
        made = x509.load_pem_x509_certificate((keys / f"{name}.pem").read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{name}.pem cannot be read: {error}", hint="`meterprint broker init` makes it anew"
        ) from error
    return (made.not_valid_after_utc - datetime.now(UTC)).days


def _keep(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def _name(common: str, site: str) -> x509.Name:
    if not 0 < len(common.encode()) <= MAX_NAME or not common.isprintable():
        raise InputError(f"a name of 1 to {MAX_NAME} bytes is expected, seen {common!r:.90}")
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, site[:MAX_NAME]),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _pem(key: ServerKey | Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def make_authority(keys: Path, site: str, names: list[str]) -> None:
    """Make authority, server and ingest certificates; those that exist are kept, but the server's.

    `names` are the DNS names and addresses by which agents reach the broker. Raises InputError.
    """
    sans: list[x509.GeneralName] = []
    for name in dict.fromkeys([*LOCAL, *names]):
        try:
            sans.append(x509.IPAddress(ip_address(name)))
        except ValueError:
            try:
                sans.append(x509.DNSName(name))
            except ValueError as error:
                raise InputError(
                    f"a host name or an address is expected, seen {name!r}", field="--name"
                ) from error
    keys.mkdir(parents=True, exist_ok=True, mode=0o700)
    for file in (AUTHORITY, INGEST_AUTHORITY):
        if not (keys / f"{file}.key").exists():
            _found_authority(keys, site, file)
    for authority, file, common, purpose, extra in (
        (AUTHORITY, SERVER, f"{site[:50]} broker", ExtendedKeyUsageOID.SERVER_AUTH, sans),
        (INGEST_AUTHORITY, CLIENT, INGEST, ExtendedKeyUsageOID.CLIENT_AUTH, []),
    ):
        secret = ec.generate_private_key(ec.SECP256R1())
        issued = _issue(keys, authority, site, common, secret.public_key(), purpose, extra)
        _keep(keys / f"{file}.key", _pem(secret))
        _keep(keys / f"{file}.pem", issued)


def _found_authority(keys: Path, site: str, file: str) -> None:
    secret = ec.generate_private_key(ec.SECP256R1())
    holder = _name(f"{site[:40]} {file}", site)
    made = (
        _builder(holder, holder, secret.public_key(), AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(secret, SHA256())
    )
    _keep(keys / f"{file}.pem", made.public_bytes(Encoding.PEM))
    _keep(keys / f"{file}.key", _pem(secret))


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    holder: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey | Ed25519PublicKey,
    days: int,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(holder)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _issue(
    keys: Path,
    authority: str,
    site: str,
    common: str,
    key: ec.EllipticCurvePublicKey | Ed25519PublicKey,
    purpose: x509.ObjectIdentifier,
    names: list[x509.GeneralName],
) -> bytes:
    try:
        issuer = x509.load_pem_x509_certificate((keys / f"{authority}.pem").read_bytes())
        secret = load_pem_private_key((keys / f"{authority}.key").read_bytes(), None)
    except (OSError, ValueError) as error:
        raise InputError(
            f"the broker's authority in {keys} cannot be read: {error}",
            hint="`meterprint broker init` makes it",
        ) from error
    assert isinstance(secret, ServerKey)
    builder = (
        _builder(_name(common, site), issuer.subject, key, LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(secret.public_key()), critical=False
        )
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(secret, SHA256()).public_bytes(Encoding.PEM)


def agent_certificate(keys: Path, site: str, agent: PublicKey) -> bytes:
    """PEM of a client certificate for an agent's enrolled key. Raises InputError."""
    if any(letter in agent.name for letter in "/+# "):
        raise InputError(
            f"an agent's name holds no space, slash, plus or hash, seen {agent.name!r}",
            field="agent",
        )
    if agent.name.startswith(f"{site}-ingest"):
        raise InputError(
            f"{agent.name!r} is what a session of ingest is called",
            field="agent",
            hint="choose another name for the agent",
        )
    key = Ed25519PublicKey.from_public_bytes(agent.key)
    return _issue(keys, AUTHORITY, site, agent.name, key, ExtendedKeyUsageOID.CLIENT_AUTH, [])


def agent_files(folder: Path, key: SecretKey, authority: Path, certificate: Path) -> TlsFiles:
    """What an agent needs, its signing key written as PEM beside it. Raises InputError."""
    file = folder / "agent.pem"
    _keep(file, _pem(Ed25519PrivateKey.from_private_bytes(key.seed)))
    return TlsFiles(authority, certificate, file)
