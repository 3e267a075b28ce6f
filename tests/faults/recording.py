"""Records every operation a database asks of its files, through a VFS of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from tests.faults.disk import Operation

NAME = "recording"
UNIX = "unix"


class _File(apsw.VFSFile):
    def __init__(self, name, flags, log: list[Operation]) -> None:
        super().__init__(UNIX, name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._name = Path(path).name
        self._log = log
        log.append(Operation("create", self._name))

    def xWrite(self, data, offset):  # noqa: N802 (the name SQLite calls)
        self._log.append(Operation("write", self._name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, size):  # noqa: N802 (the name SQLite calls)
        self._log.append(Operation("truncate", self._name, size))
        super().xTruncate(size)

    def xSync(self, flags):  # noqa: N802 (the name SQLite calls)
        super().xSync(flags)
        self._log.append(Operation("sync", self._name))


class _Vfs(apsw.VFS):
    def __init__(self, log: list[Operation]) -> None:
        self._log = log
        super().__init__(NAME, UNIX)

    def xOpen(self, name, flags):  # noqa: N802 (the name SQLite calls)
        return _File(name, flags, self._log)

    def xDelete(self, name, syncdir):  # noqa: N802 (the name SQLite calls)
        super().xDelete(name, syncdir)
        self._log.append(Operation("delete", Path(name).name, int(bool(syncdir))))


@contextmanager
def recording(*, checkpoint_pages: int) -> Iterator[list[Operation]]:
    """While inside, every database opened is recorded; the log grows as it works.

    The file of shared memory is no part of what must outlive a power cut and is done without
    (exclusive locking); `checkpoint_pages` is how often the write-ahead log is folded in.
    """
    log: list[Operation] = []
    vfs = _Vfs(log)

    def prepare(connection: apsw.Connection) -> None:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute(f"PRAGMA wal_autocheckpoint={checkpoint_pages}")

    apsw.set_default_vfs(NAME)
    apsw.connection_hooks.append(prepare)
    try:
        yield log
    finally:
        apsw.connection_hooks.remove(prepare)
        apsw.set_default_vfs(UNIX)
        vfs.unregister()
