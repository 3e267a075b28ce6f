"""Points that were deleted with a neighbour and are not written again yet: kept until they are.

A view is killed at any moment. What it has deleted stands behind its cursor and would be missing
until a rebuild, so it is on the disk before anything is deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ingest.durable import FileRefused, read_file, replace_file
from mrv.errors import MeterprintError


class Owed:
    """Lines of line protocol, in a file where one is named."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.lines: list[str] = []
        """What the server has to be given."""
        if path is not None and path.exists():
            try:
                self.lines = read_file(path).decode().splitlines()
            except UnicodeDecodeError as error:
                raise MeterprintError(
                    f"{path} is not what this program wrote: {error}",
                    hint="delete it, then fill the view anew: `meterprint rebuild --influx`",
                ) from error

    def add(self, lines: Sequence[str]) -> None:
        """Keep lines, synced. Raises FileRefused; then they are not among those owed."""
        if lines:
            if self._path is not None:
                text = "\n".join([*self.lines, *lines])
                replace_file(self._path, text.encode(), mode=0o644)
            self.lines += lines

    def clear(self) -> None:
        """The server has them all. Raises FileRefused."""
        self.lines.clear()
        if self._path is not None:
            try:
                self._path.unlink(missing_ok=True)
            except OSError as error:
                raise FileRefused(f"{self._path} cannot be deleted: {error}") from error
