"""What runs under strace: a store taken through its steps, told aloud, trying again when refused.

`python -m tests.faults.injected WORK SEED STEPS FOLDER`. Each line it writes is a report that must
hold whatever happens next: `done K`, or `refused K`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import apsw

from mrv.errors import MeterprintError
from tests.faults.work import WORKS

TRIES = 4
"""How often a step is tried before the disk is given up."""
FOLD_PAGES = 12
"""Pages after which the write-ahead log is folded into the database: several times in a run."""
GIVEN_UP = 3
"""Exit status where the disk refused to the end."""


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def attempt(place: str, act):
    """What `act` returns; refused `TRIES` times, the process ends."""
    for _ in range(TRIES):
        try:
            return act()
        except MeterprintError as error:
            say(f"refused {place} {type(error).__name__}")
    say("given up")
    os._exit(GIVEN_UP)


def fold(connection: apsw.Connection) -> None:
    connection.execute(f"PRAGMA wal_autocheckpoint={FOLD_PAGES}")


def main(name: str, seed: int, steps: int, folder: Path) -> None:
    apsw.connection_hooks.append(fold)
    work = WORKS[name](seed, steps)
    store = attempt("open", lambda: work.open(folder / "store.db"))
    for step in range(steps):
        attempt(str(step), lambda step=step: work.do(store, step))
        say(f"done {step + 1}")
    store.close()
    say("closed")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
