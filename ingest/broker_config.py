"""Mosquitto's configuration and access list, as text.

Without certificates a broker listens on loopback only and lets everybody in. With them there are
two doors. Agents show a certificate of the site's authority; its common name is the user, the
client id and the one subtree that user may write. Ingest comes in by a door of its own, with a
certificate of another authority, as its sessions have names of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ingest.broker_certificates import INGEST, INGEST_AUTHORITY, SERVER, TlsFiles, tls_files
from mrv.channel import MAX_TABLE_BYTES
from mrv.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Addresses on which a broker may listen without authentication."""
QUEUED_MESSAGES = 1_000_000
"""Messages the broker keeps for one session that does not keep up; what it drops then is sent
again by its agent, as it has no receipt."""
QUEUED_BYTES = 256_000_000
"""Bytes it keeps for one session."""
IN_FLIGHT_MESSAGES, IN_FLIGHT_BYTES = 1000, 16_000_000
"""What it sends a session before it hears of the first: as much as a lane of ingest holds, so that
there is something to read while a group is committed."""
PACKET_BYTES = MAX_TABLE_BYTES + 64 * 1024
"""Largest packet: a channel table with its topic."""
AGENT_WRITES = ("readings/+", "birth", "state", "batch-events")
"""Topics below its own name that an agent publishes (design §3)."""
AGENT_READS = ("receipt/+", "want/+", "config")
"""Topics below its own name that an agent is told things by."""
INGEST_WRITES = ("+/receipt/+", "+/want/+", "+/config")
"""Topics below the site's name that ingest publishes."""


def check_listener(host: str, *, secured: bool) -> str:
    """The host, if a broker may listen there. Raises InputError."""
    if host not in LOOPBACK and not secured:
        raise InputError(
            f"the broker would take messages from everybody on {host}: it has no certificates",
            field="broker.listen",
            hint="`meterprint broker init --name HOST` makes them; until then it stays on loopback",
        )
    return host


@dataclass(frozen=True, slots=True)
class Doors:
    """Files and ports of a broker that asks for certificates."""

    agents: TlsFiles
    """Server's certificate, and the authority of the agents'."""
    ingest: TlsFiles
    """The same certificate, and the authority of ingest's."""
    agent_topics: Path
    """Access list of the agents' door."""
    ingest_topics: Path
    """Access list of ingest's door."""
    ingest_port: int
    """Where ingest comes in."""
    ingest_host: str = "127.0.0.1"
    """Address of that door."""


def agent_access(site: str) -> str:
    """Whoever shows a certificate may use the subtree of the name in it. Raises InputError."""
    if "%" in site:  # Mosquitto would fill in a user's name
        raise InputError(f"a site's name without % is expected, seen {site!r}", field="site")
    root = f"meterprint/1/{site}/%u"
    rows = [f"pattern write {root}/{topic}" for topic in AGENT_WRITES]
    rows += [f"pattern read {root}/{topic}" for topic in AGENT_READS]
    return "\n".join(rows) + "\n"


def ingest_access(site: str) -> str:
    """Ingest reads everything, bridges with it, and answers the agents of the site."""
    rows = [f"user {INGEST}", "topic read #"]
    rows += [f"topic write meterprint/1/{site}/{topic}" for topic in INGEST_WRITES]
    return "\n".join(rows) + "\n"


def _door(port: int, host: str, tls: TlsFiles, acl: Path) -> list[str]:
    return [
        f"listener {port} {host}",
        f"cafile {tls.authority.resolve()}",
        f"certfile {tls.certificate.resolve()}",
        f"keyfile {tls.key.resolve()}",
        "tls_version tlsv1.2",
        "require_certificate true",
        "use_identity_as_username true",
        "allow_anonymous false",
        f"acl_file {acl.resolve()}",
    ]


def configuration(port: int, host: str, storage: Path, doors: Doors | None) -> str:
    """The text of mosquitto.conf. Without `doors` only loopback; raises InputError elsewhere."""
    check_listener(host, secured=doors is not None)
    if doors is None:
        listeners = [f"listener {port} {host}", "allow_anonymous true"]
    else:
        listeners = [
            "per_listener_settings true",
            *_door(port, host, doors.agents, doors.agent_topics),
            "use_username_as_clientid true",  # no agent can end the session of another
            *_door(doors.ingest_port, doors.ingest_host, doors.ingest, doors.ingest_topics),
        ]
    lines = [
        *listeners,
        "persistence true",
        f"persistence_location {storage.resolve()}/",
        "autosave_interval 60",
        f"max_queued_messages {QUEUED_MESSAGES}",
        f"max_queued_bytes {QUEUED_BYTES}",
        f"max_inflight_messages {IN_FLIGHT_MESSAGES}",
        f"max_inflight_bytes {IN_FLIGHT_BYTES}",
        f"max_packet_size {PACKET_BYTES}",
        "persistent_client_expiration 30d",
        "log_dest none",
    ]
    return "\n".join(lines) + "\n"


def write_doors(
    keys: Path, site: str, folder: Path, ingest_port: int, ingest_host: str = "127.0.0.1"
) -> Doors:
    """Write the access lists of a site with certificates, and name the files of its doors."""
    server = tls_files(keys, SERVER)
    doors = Doors(
        server,
        replace(server, authority=keys / f"{INGEST_AUTHORITY}.pem"),
        folder / "acl-agents",
        folder / "acl-ingest",
        ingest_port,
        ingest_host,
    )
    for file, text in (
        (doors.agent_topics, agent_access(site)),
        (doors.ingest_topics, ingest_access(site)),
    ):
        file.write_text(text)
        file.chmod(0o600)
    return doors
