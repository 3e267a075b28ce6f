"""Bringing a state directory of an earlier version to this one's layout."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ingest.journal_upgrade import Progress, Upgraded, upgrade_journal
from ingest.keyring import Keyring
from meterprint.site import MARKER, STATE_VERSION
from mrv.errors import InputError


def upgrade_state(state: Path, progress: Progress = lambda *_: None) -> Upgraded:
    """Upgrade a state directory; one of this layout stays as it is.

    The journal comes first and its marker last, so what was cut short is taken up again. Raises
    InputError where there is no state directory or it is of a newer program, and JournalError.
    """
    marker = state / MARKER
    try:
        known = json.loads(marker.read_text())
        site, layout = str(known["site"]), int(known["state"])
    except FileNotFoundError as error:
        raise InputError(f"{state} is no state directory", hint="name it by --state") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot be read: {error}", file=str(marker)) from error
    if layout > STATE_VERSION:
        raise InputError(
            f"{state} has layout {layout}, this program reads up to {STATE_VERSION}",
            hint="use the newer program that wrote it",
        )
    ring = Keyring.open(state / "keys", site, make=False)
    done = upgrade_journal(state / "journal.db", site, ring.checkpoints, progress)
    if layout != STATE_VERSION:
        temporary = marker.with_suffix(".tmp")
        with temporary.open("w") as file:
            file.write(json.dumps({**known, "state": STATE_VERSION}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(marker)
    return done
