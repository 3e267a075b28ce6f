"""What `meterprint doctor` looks at in a state directory. Nothing is made or changed there."""

from __future__ import annotations

import stat
from pathlib import Path

import apsw

from dashboards.accounts import read_accounts
from ingest.broker_certificates import AUTHORITY, CLIENT, SERVER, days_left, has_authority
from ingest.cold_file import ColdFileError, file_hash
from ingest.engine_shell import SEGMENTS
from ingest.manifest import MANIFEST, read_manifest
from ingest.park import Park
from meterprint.diagnosis import FAIL, OK, WARN, Diagnosis
from meterprint.settings import Settings
from meterprint.site import ACCOUNTS, MARKER, QUARANTINE, open_journal, open_keyring, site_name
from meterprint.views import PARKED
from mrv.errors import MeterprintError

RENEW_DAYS = 30
"""Days before their end that certificates are to be renewed."""


def examine_keys(state: Path, _: Settings) -> Diagnosis:
    """Secret keys that are there, can be read, and by their owner only."""
    folder = state / "keys"
    name = site_name(state)
    if name is None or not folder.exists():
        return Diagnosis("keys", OK, "none yet: they are made at the first start")
    if not folder.is_dir():
        return Diagnosis("keys", FAIL, f"{folder} is no folder", "restore the keys from a backup")
    files = sorted(p for p in folder.iterdir() if p.is_file())
    exposed = [p.name for p in files if stat.S_IMODE(p.stat().st_mode) & 0o077]
    exposed = [name for name in exposed if name.endswith(".key")]
    if exposed:
        return Diagnosis(
            "keys", FAIL, f"others can read {', '.join(exposed)}", f"chmod 600 {folder}/*"
        )
    if (state / QUARANTINE).exists():
        ring = open_keyring(state, name)
        root = "" if ring.root_if_here is not None else "; the root key is kept offline"
        return Diagnosis("keys", OK, f"{len(files)} files, readable by their owner only{root}")
    return Diagnosis("keys", OK, f"{len(files)} files, readable by their owner only")


def examine_access(state: Path, _: Settings) -> Diagnosis:
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


def examine_journal(state: Path, _: Settings) -> Diagnosis:
    """The journal opens and its tree fits its entries."""
    if not (state / MARKER).exists():
        return Diagnosis("journal", OK, f"{state} is no state directory yet")
    if not (state / QUARANTINE).exists() and not (state / "journal.db").exists():
        return Diagnosis("journal", OK, "none yet: the first start was cut short")
    journal = open_journal(state)
    try:
        return Diagnosis(
            "journal", OK, f"{journal.size} entries, {journal.bytes_on_disk() / 1e6:.1f} MB"
        )
    finally:
        journal.close()


def examine_cold(state: Path, _: Settings) -> Diagnosis:
    """The cold files of the journal are those that were sealed."""
    if not (state / "journal.db").exists():
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


def examine_segments(state: Path, _: Settings) -> Diagnosis:
    """The embedded view: whole, and not far behind the journal."""
    folder = state / SEGMENTS
    if not (folder / MANIFEST).exists():
        return Diagnosis("segments", OK, "none yet")
    try:
        manifest = read_manifest(folder)
        changed = manifest.altered(folder)
    except (MeterprintError, OSError):  # a running site may have merged some meanwhile
        manifest = read_manifest(folder)
        changed = manifest.altered(folder)
    if changed:
        return Diagnosis(
            "segments", FAIL, f"{changed[0]} is not what was written", "meterprint rebuild"
        )
    return Diagnosis("segments", OK, f"whole, up to journal entry {manifest.taken}")


def examine_quarantine(state: Path, _: Settings) -> Diagnosis:
    """What was refused, and what an InfluxDB refused."""
    path = state / QUARANTINE
    held: object = 0
    if path.exists():
        try:
            database = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
            ((held,),) = database.execute("SELECT count(*) FROM message").fetchall()
            database.close()
        except apsw.Error as error:
            remedy = "move it away: it only keeps what was refused, and a new one is made"
            return Diagnosis("quarantine", FAIL, f"{path}: {error}", remedy)
    parked = Park(state / PARKED).total
    seen = f"{held} messages, {parked} points an InfluxDB refused"
    if parked:
        return Diagnosis("quarantine", WARN, seen, "meterprint influx status says why")
    return Diagnosis("quarantine", OK, seen)


def last_written(state: Path) -> float:
    """When the state directory was written last, s of the wall clock; 0 = never."""
    files = (state / name for name in ("journal.db", "journal.db-wal", MARKER))
    return max((file.stat().st_mtime for file in files if file.exists()), default=0.0)
