"""What runs under strace: a journal's old entries are sealed into a cold file.

`python -m tests.faults.injected_rotation FOLDER`, on a journal that is there. It reports `done 1`
once they are sealed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ingest.rotation import rotate
from tests.faults.injected import attempt, say
from tests.ingest.journals import open_journal


def main(folder: Path) -> None:
    journal, _ = attempt("open", lambda: open_journal(folder))
    attempt("rotation", lambda: rotate(journal, 0, whole_parts=False))
    say("done 1")
    journal.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
