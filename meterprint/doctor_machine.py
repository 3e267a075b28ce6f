"""What `meterprint doctor` looks at of the machine and of the servers a site is to use."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import apsw

from edge_agent.clock import kernel_clock
from ingest.broker import find_mosquitto
from ingest.broker_port import LOOPBACK, answers
from ingest.influx_connection import InfluxConnection
from meterprint.diagnosis import FAIL, OK, WARN, Diagnosis
from meterprint.doctor_state import last_written
from meterprint.influx_settings import address_of
from meterprint.settings import Settings

LITTLE_SPACE = 2_000_000_000
"""Free bytes below which a disk is nearly full: the outbox's retention floor."""
NO_SPACE = 50_000_000
"""Free bytes below which it is full."""
WAL_RESET_FIXED = (3, 51, 3)
"""First SQLite without the WAL-reset bug (sqlite.org/wal.html, "The WAL-Reset Bug")."""
TURNED_BACK_S = 60.0
"""A clock this far before the last write has been turned back, s."""
ASK_S = 5.0
"""How long a server is waited for, s."""


def examine_python(_: Path, __: Settings) -> Diagnosis:
    """The interpreter."""
    return Diagnosis("python", OK, f"{platform.python_version()} on {platform.machine()}")


def examine_sqlite(_: Path, __: Settings) -> Diagnosis:
    """The SQLite that journal and outbox use."""
    version = str(apsw.sqlite_lib_version())
    if tuple(int(part) for part in version.split(".")[:3]) < WAL_RESET_FIXED:
        return Diagnosis("sqlite", WARN, version, "upgrade the package apsw")
    return Diagnosis("sqlite", OK, version)


def examine_broker(_: Path, settings: Settings) -> Diagnosis:
    """The broker that was named answers; else a Mosquitto runs, or there is the demo broker."""
    asked = settings.broker
    if asked.host:
        where = f"{asked.host}:{asked.port}"
        try:
            socket.create_connection((asked.host, asked.port), timeout=ASK_S).close()
        except OSError as error:
            remedy = "start it, or correct broker.host and broker.port"
            return Diagnosis("broker", FAIL, f"nobody answers on {where}: {error}", remedy)
        return Diagnosis("broker", OK, f"{where} answers")
    found = find_mosquitto()
    if found is not None:
        return _mosquitto(found)
    if importlib.util.find_spec("amqtt") is not None:
        return Diagnosis(
            "broker",
            WARN,
            "only the demo broker, which loses messages in flight (outboxes send them again)",
            "install Mosquitto: apt-get install mosquitto",
        )
    return Diagnosis("broker", FAIL, "no MQTT broker", "apt-get install mosquitto")


def _mosquitto(program: str) -> Diagnosis:
    """Whether the program runs; its help names its version."""
    try:
        told = subprocess.run(  # noqa: S603 (the program found on the PATH, fixed arguments)
            [program, "-h"], capture_output=True, text=True, check=False, timeout=ASK_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = str(error)
    else:
        version = re.search(r"mosquitto version (\S+)", told.stdout)
        if version is not None:
            return Diagnosis("broker", OK, f"{program}, version {version[1]}")
        said = (told.stderr or told.stdout).strip()[:200] or f"exit status {told.returncode}"
    remedy = "apt-get install --reinstall mosquitto"
    return Diagnosis("broker", FAIL, f"{program} does not run: {said}", remedy)


def examine_influx(_: Path, settings: Settings) -> Diagnosis:
    """The InfluxDB that was named answers and has its database."""
    asked = settings.influx
    if not asked.url:
        return Diagnosis("influx", OK, "none wanted; the embedded store needs none")
    server = InfluxConnection(address_of(asked.url, asked.database), timeout_s=ASK_S)
    try:
        version = server.major()
        (found,) = server.query("SHOW DATABASES")
    finally:
        server.close()
    names = {row[0] for series in found for row in series.get("values", [])}
    where = f"InfluxDB {version} at {asked.url}"
    if asked.database not in names:
        remedy = f"meterprint influx init --influx {asked.url} --database {asked.database}"
        return Diagnosis("influx", FAIL, f"{where} has no database {asked.database}", remedy)
    return Diagnosis("influx", OK, f"{where}, database {asked.database}")


def examine_clock(state: Path, _: Settings) -> Diagnosis:
    """A disciplined clock: without one no batch that this machine's agents read becomes final."""
    written, now = last_written(state), time.time()
    if now < written - TURNED_BACK_S:
        moments = [
            datetime.fromtimestamp(s, UTC).isoformat(timespec="seconds") for s in (now, written)
        ]
        return Diagnosis(
            "clock",
            FAIL,
            f"it says {moments[0]}, but the journal was written at {moments[1]}",
            "set it, and run a time daemon: apt-get install chrony",
        )
    known = kernel_clock()
    if known is None:
        return Diagnosis(
            "clock", WARN, "the kernel cannot be asked", "see that a time daemon runs: chrony"
        )
    synchronised, error_ms = known
    if synchronised:
        return Diagnosis("clock", OK, f"synchronised, error at most {error_ms} ms")
    return Diagnosis(
        "clock",
        WARN,
        "not synchronised: batches read by agents on this machine stay provisional",
        "run a time daemon: apt-get install chrony, or timedatectl set-ntp true",
    )


def examine_disk(state: Path, _: Settings) -> Diagnosis:
    """Room for the journal, and a disk that takes a synced write."""
    if state.exists() and not state.is_dir():
        return Diagnosis("disk", FAIL, f"{state} is a file", "name a directory by --state")
    folder = state if state.is_dir() else state.resolve().parent
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Diagnosis("disk", FAIL, f"{folder}: {error}", "make it writable, or free space")
    seen = f"{free / 1e9:.1f} GB free in {folder}"
    remedy = "free space: journal and outboxes only grow"
    if free < NO_SPACE:
        return Diagnosis("disk", FAIL, seen, remedy)
    if free < LITTLE_SPACE:
        return Diagnosis("disk", WARN, seen, remedy)
    return Diagnosis("disk", OK, seen)


def examine_ports(_: Path, settings: Settings) -> Diagnosis:
    """The ports of pages and broker: free, or a site's."""
    web = settings.web
    asked = [web.port] + ([] if settings.broker.host else [settings.broker.port])
    taken = [str(port) for port in asked if port and answers(port, LOOPBACK)]
    if not taken:
        return Diagnosis("ports", OK, f"{' and '.join(map(str, asked))} are free")
    if _is_site(web.port):
        return Diagnosis("ports", OK, f"a site runs on {web.port}")
    return Diagnosis(
        "ports",
        WARN,
        f"another program listens on {', '.join(taken)}",
        "--port 0 and --broker-port 0 take free ones; a site there is asked by https only",
    )


def _is_site(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/healthz", timeout=ASK_S) as answer:
            return bool(answer.read(3) == b"ok\n")
    except (OSError, ValueError):
        return False


def examine_fonts(_: Path, __: Settings) -> Diagnosis:
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
