"""Mosquitto's configuration and access list, as text.

Without certificates a broker listens on loopback only and lets everybody in. With them it lets in
who shows a certificate of the site's authority; the certificate's common name is the user, the
client id and the one subtree that user may write.
"""

from __future__ import annotations

from pathlib import Path

from ingest.broker_certificates import INGEST, TlsFiles
from mrv.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Addresses on which a broker may listen without authentication."""
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


def access_list(site: str) -> str:
    """Who may read and write what: an agent its own subtree, ingest all of the site."""
    if "%" in site:  # Mosquitto would fill in a user's name
        raise InputError(f"a site's name without % is expected, seen {site!r}", field="site")
    root = f"meterprint/1/{site}"
    return "\n".join(
        [
            f"user {INGEST}",
            f"topic read {root}/#",
            *(f"topic write {root}/{topic}" for topic in INGEST_WRITES),
            "",
            *(f"pattern write {root}/%u/{topic}" for topic in AGENT_WRITES),
            *(f"pattern read {root}/%u/{topic}" for topic in AGENT_READS),
            "",
        ]
    )


def configuration(
    port: int, host: str, storage: Path, tls: TlsFiles | None, acl: Path | None
) -> str:
    """The text of mosquitto.conf. `tls` and `acl` go together; without them only loopback."""
    check_listener(host, secured=tls is not None)
    if tls is None or acl is None:
        access = ["allow_anonymous true"]
    else:
        access = [
            f"cafile {tls.authority.resolve()}",
            f"certfile {tls.certificate.resolve()}",
            f"keyfile {tls.key.resolve()}",
            "tls_version tlsv1.2",
            "require_certificate true",
            "use_identity_as_username true",
            "use_username_as_clientid true",  # nobody can end another's session
            "allow_anonymous false",
            f"acl_file {acl.resolve()}",
        ]
    lines = [
        f"listener {port} {host}",
        *access,
        "persistence true",
        f"persistence_location {storage.resolve()}/",
        "autosave_interval 60",
        "max_queued_messages 0",
        "max_inflight_messages 200",
        "max_packet_size 1000000",
        "persistent_client_expiration 30d",
        "log_dest none",
    ]
    return "\n".join(lines) + "\n"
