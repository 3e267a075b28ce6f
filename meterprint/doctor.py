"""`meterprint doctor`: what could keep a site from working, and what to do about it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import apsw

from footprint.reader import InputErrors
from meterprint.diagnosis import FAIL, OK, Diagnosis
from meterprint.doctor_machine import (
    examine_broker,
    examine_clock,
    examine_disk,
    examine_fonts,
    examine_influx,
    examine_ports,
    examine_python,
    examine_sqlite,
)
from meterprint.doctor_state import (
    examine_access,
    examine_cold,
    examine_journal,
    examine_keys,
    examine_quarantine,
    examine_segments,
)
from meterprint.settings import FILE, Settings, load_settings
from mrv.errors import MeterprintError

EXAMINATIONS: tuple[Callable[[Path, Settings], Diagnosis], ...] = (
    examine_python,
    examine_sqlite,
    examine_broker,
    examine_influx,
    examine_clock,
    examine_disk,
    examine_ports,
    examine_fonts,
    examine_keys,
    examine_access,
    examine_journal,
    examine_cold,
    examine_segments,
    examine_quarantine,
)
"""What is looked at, in order."""


def diagnose(state: Path, config: Path | None = None) -> list[Diagnosis]:
    """Every examination; one that cannot be carried out fails with its reason.

    Servers and ports are those of the settings; where these cannot be read, the defaults.
    """
    try:
        settings = load_settings(state, config)
        found = [Diagnosis("settings", OK, _settings_seen(state, config))]
    except (MeterprintError, OSError) as error:
        settings = Settings()
        faults = error.errors if isinstance(error, InputErrors) else (error,)
        remedy = getattr(faults[0], "hint", "") or "see docs/reference/configuration.md"
        found = [Diagnosis("settings", FAIL, "; ".join(map(str, faults)), remedy)]
    for examine in EXAMINATIONS:
        try:
            found.append(examine(state, settings))
        except (
            MeterprintError,
            OSError,
            ValueError,
            TypeError,
            KeyError,
            apsw.Error,
            subprocess.SubprocessError,
        ) as error:
            name = examine.__name__.removeprefix("examine_")
            remedy = getattr(error, "hint", "") or "see the message"
            found.append(Diagnosis(name, FAIL, str(error), remedy))
    return found


def _settings_seen(state: Path, config: Path | None) -> str:
    file = config or state / FILE
    return f"{file} and the environment" if file.exists() else "defaults and the environment"
