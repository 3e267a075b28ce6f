"""`meterprint doctor`: what could keep a site from working, and what to do about it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import apsw

from dashboards.accounts import read_accounts
from edge_agent.clock import kernel_clock
from ingest.broker import find_mosquitto
from ingest.broker_certificates import AUTHORITY, CLIENT, SERVER, days_left, has_authority
from ingest.cold_file import ColdFileError, file_hash
from ingest.engine_shell import SEGMENTS
from ingest.series_parquet import MANIFEST, ParquetStore
from meterprint.commands_serve import ACCOUNTS
from meterprint.site import MARKER, open_journal
from mrv.errors import MeterprintError

OK, WARN, FAIL = "ok", "warn", "fail"
"""Results of an examination."""
RENEW_DAYS = 30
"""Days before their end that certificates are to be renewed."""
LITTLE_SPACE = 2_000_000_000
"""Free bytes below which a disk is nearly full: the outbox's retention floor."""
WAL_RESET_FIXED = (3, 51, 3)
"""First SQLite without the WAL-reset bug (sqlite.org/wal.html, "The WAL-Reset Bug")."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Outcome of one examination."""

    id: str
    """What was looked at."""
    result: str
    """ok | warn | fail."""
    seen: str
    """What was seen."""
    remedy: str = ""
    """What to do, "" where nothing is to be done."""


def examine_broker(_: Path) -> Diagnosis:
    """Mosquitto for production, else the demo broker."""
    found = find_mosquitto()
    if found is not None:
        return Diagnosis("broker", OK, str(found))
    if importlib.util.find_spec("amqtt") is not None:
        return Diagnosis(
            "broker",
            WARN,
            "only the demo broker, which loses messages in flight (outboxes send them again)",
            "install Mosquitto: apt-get install mosquitto",
        )
    return Diagnosis("broker", FAIL, "no MQTT broker", "apt-get install mosquitto")


def examine_clock(_: Path) -> Diagnosis:
    """A disciplined clock: without one no batch that this machine's agents read becomes final."""
    known = kernel_clock()
    if known is None:
        return Diagnosis("clock", WARN, "the kernel cannot be asked")
    synchronised, error_ms = known
    if synchronised:
        return Diagnosis("clock", OK, f"synchronised, error at most {error_ms} ms")
    return Diagnosis(
        "clock",
        WARN,
        "not synchronised: batches read by agents on this machine stay provisional",
        "run a time daemon: apt-get install chrony, or timedatectl set-ntp true",
    )


def examine_disk(state: Path) -> Diagnosis:
    """Room for the journal, and a disk that takes a synced write."""
    folder = state if state.is_dir() else state.resolve().parent
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(b"meterprint")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Diagnosis("disk", FAIL, f"{folder}: {error}", "make it writable, or free space")
    seen = f"{free / 1e9:.1f} GB free in {folder}"
    if free < LITTLE_SPACE:
        return Diagnosis("disk", WARN, seen, "free space: journal and outboxes only grow")
    return Diagnosis("disk", OK, seen)


def examine_sqlite(_: Path) -> Diagnosis:
    """The SQLite that journal and outbox use."""
    version = str(apsw.sqlite_lib_version())
    if tuple(int(part) for part in version.split(".")[:3]) < WAL_RESET_FIXED:
        return Diagnosis("sqlite", WARN, version, "upgrade the package apsw")
    return Diagnosis("sqlite", OK, version)


def examine_ports(_: Path) -> Diagnosis:
    """The default ports of pages and broker."""
    taken = []
    for port in (8480, 1883):
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                taken.append(str(port))
    if taken:
        return Diagnosis(
            "ports",
            WARN,
            f"somebody listens on {', '.join(taken)}",
            "a running site, or another program: --port 0 and --broker-port 0 take free ones",
        )
    return Diagnosis("ports", OK, "8480 and 1883 are free")


def examine_fonts(_: Path) -> Diagnosis:
    """A Chinese font for PDF and pictures; the pages bring their own."""
    program = shutil.which("fc-list")
    if program is None:
        return Diagnosis("fonts", WARN, "fontconfig is not installed", "apt-get install fontconfig")
    answer = subprocess.run(  # noqa: S603 (the program found on the PATH, fixed arguments)
        [program, ":lang=zh", "family"], capture_output=True, text=True, check=False
    )
    families = sorted({line.split(",")[0] for line in answer.stdout.splitlines() if line})
    if not families:
        return Diagnosis(
            "fonts", WARN, "no font with Chinese letters", "apt-get install fonts-noto-cjk"
        )
    return Diagnosis("fonts", OK, families[0])


def examine_keys(state: Path) -> Diagnosis:
    """Secret keys that only their owner can read."""
    folder = state / "keys"
    if not folder.is_dir():
        return Diagnosis("keys", OK, "none yet: they are made at the first start")
    files = sorted(folder.iterdir())
    open_ones = [p.name for p in files if stat.S_IMODE(p.stat().st_mode) & 0o077 and p.is_file()]
    exposed = [name for name in open_ones if name != "salt"]
    if exposed:
        return Diagnosis(
            "keys", FAIL, f"others can read {', '.join(exposed)}", f"chmod 600 {folder}/*"
        )
    return Diagnosis("keys", OK, f"{len(files)} files, readable by their owner only")


def examine_access(state: Path) -> Diagnosis:
    """Who may come in: certificates of the broker that hold, accounts of the pages."""
    users = state / ACCOUNTS
    accounts = len(read_accounts(users)) if users.exists() else 0
    pages = f"{accounts} accounts" if users.exists() else "pages without accounts, on loopback only"
    if not has_authority(state / "keys"):
        return Diagnosis("access", OK, f"{pages}; broker without certificates, on loopback only")
    left = min(days_left(state / "keys", name) for name in (AUTHORITY, SERVER, CLIENT))
    seen = f"{pages}; the broker's certificates hold for {left} days"
    if left < 0:
        return Diagnosis("access", FAIL, seen, "meterprint broker init, then start the site anew")
    if left < RENEW_DAYS:
        return Diagnosis("access", WARN, seen, "meterprint broker init, then start the site anew")
    return Diagnosis("access", OK, seen)


def examine_journal(state: Path) -> Diagnosis:
    """The journal opens and its tree fits its entries."""
    if not (state / MARKER).exists():
        return Diagnosis("journal", OK, f"{state} is no state directory yet")
    journal = open_journal(state)
    try:
        return Diagnosis(
            "journal", OK, f"{journal.size} entries, {journal.bytes_on_disk() / 1e6:.1f} MB"
        )
    finally:
        journal.close()


def examine_cold(state: Path) -> Diagnosis:
    """The cold files of the journal are those that were sealed."""
    if not (state / MARKER).exists():
        return Diagnosis("cold", OK, "none yet")
    journal = open_journal(state)
    try:
        parts, folder = journal.parts(), journal.cold_folder
    finally:
        journal.close()
    remedy = "put the file back from a backup; `meterprint journal check` says what is concerned"
    for part in parts:
        where = f"{folder / part.file} (entries {part.first} to {part.stop - 1})"
        try:
            if file_hash(folder / part.file) != part.sha256:
                return Diagnosis("cold", FAIL, f"{where} is not what was sealed", remedy)
        except ColdFileError as error:
            return Diagnosis("cold", FAIL, f"{where}: {error}", remedy)
    if not parts:
        return Diagnosis("cold", OK, "none yet: old entries are sealed when there are many")
    size = sum(part.size for part in parts) / 1e6
    return Diagnosis("cold", OK, f"{parts[-1].stop} entries in {len(parts)} files, {size:.1f} MB")


def examine_segments(state: Path) -> Diagnosis:
    """The embedded view: whole, and not far behind the journal."""
    if not (state / SEGMENTS / MANIFEST).exists():
        return Diagnosis("segments", OK, "none yet")
    store = ParquetStore(state / SEGMENTS)
    changed = store.verify()
    if changed:
        return Diagnosis(
            "segments", FAIL, f"{changed[0]} is not what was written", "meterprint rebuild"
        )
    return Diagnosis("segments", OK, f"whole, up to journal entry {store.taken}")


def examine_python(_: Path) -> Diagnosis:
    """The interpreter."""
    return Diagnosis("python", OK, f"{platform.python_version()} on {platform.machine()}")


EXAMINATIONS: tuple[Callable[[Path], Diagnosis], ...] = (
    examine_python,
    examine_sqlite,
    examine_broker,
    examine_clock,
    examine_disk,
    examine_ports,
    examine_fonts,
    examine_keys,
    examine_access,
    examine_journal,
    examine_cold,
    examine_segments,
)
"""What is looked at, in order."""


def diagnose(state: Path) -> list[Diagnosis]:
    """Every examination; one that cannot be carried out fails with its reason."""
    found = []
    for examine in EXAMINATIONS:
        try:
            found.append(examine(state))
        except (MeterprintError, OSError, ValueError) as error:
            name = examine.__name__.removeprefix("examine_")
            remedy = getattr(error, "hint", "") or "see the message"
            found.append(Diagnosis(name, FAIL, str(error), remedy))
    return found
