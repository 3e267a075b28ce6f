"""What runs under strace: a site is opened, which makes its keys, its marker and its journal.

`python -m tests.faults.injected_site FOLDER`. It reports `root NAME` once the site is open.
"""

from __future__ import annotations

import sys
from pathlib import Path

from meterprint.site import open_site
from tests.faults.injected import attempt, say


def main(folder: Path) -> None:
    site = attempt("open", lambda: open_site(folder, "fault-site"))
    say(f"root {site.keyring.root.public.vkey}")
    site.close()
    say("done 1")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
