"""The quarantine on a disk that has changed it: an error with its remedy, and pages that live on."""

from __future__ import annotations

import pytest

from ingest.quarantine import Quarantine, QuarantineError, Refused


@pytest.mark.parametrize("ask", ["counts", "recent", "by_agent"])
def test_a_quarantine_that_cannot_be_read_is_a_named_error(tmp_path, ask):
    path = tmp_path / "quarantine.db"
    quarantine = Quarantine(path)
    quarantine.add([Refused(1, "a", "t", "malformed", "x", bytes(5000)) for _ in range(200)])
    quarantine.close()
    quarantine = Quarantine(path)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    quarantine._db.execute("PRAGMA shrink_memory")  # so that it asks the disk again
    with pytest.raises(QuarantineError) as seen:
        getattr(quarantine, ask)()
    assert "move it away" in seen.value.hint
    quarantine.close()
