"""Finds the lines of a batch that are at fault: it is halved until they are alone."""

from __future__ import annotations

from collections.abc import Sequence

from ingest.influx_connection import Grade, InfluxConnection, RefusedLines

BATCH_BYTES = 8_000_000
"""Bytes of one write, below the 25 MB that 1.8 takes."""
DOUBTFUL = 8
"""Lines refused one by one for no known reason, and none taken, that put the server in doubt."""


class Halving:
    """Writes one batch, halved until the lines at fault are alone."""

    def __init__(self, server: InfluxConnection) -> None:
        self._server = server
        self._taken = False
        self.refused: list[tuple[Grade, str, Sequence[str], int]] = []
        """(kind, reason, lines, how many points) of what will never be taken."""

    def send(self, batch: Sequence[str]) -> None:
        """Write lines. Raises InfluxError where not the lines are at fault."""
        body = "\n".join(batch).encode()
        if len(body) > BATCH_BYTES and len(batch) > 1:
            self._halves(batch)
            return
        try:
            self._server.write(body)
        except RefusedLines as error:
            grade = Grade.of(error.reason)
            if grade is Grade.RETENTION and error.dropped:
                self.refused.append((grade, error.reason, (), error.dropped))
            elif len(batch) == 1 or error.dropped == len(batch):
                self.refused.append((grade, error.reason, batch, len(batch)))
                if grade is Grade.OTHER and not self._taken and len(self.refused) >= DOUBTFUL:
                    raise
            else:
                self._halves(batch)
        else:
            self._taken = True

    def _halves(self, batch: Sequence[str]) -> None:
        middle = len(batch) // 2
        self.send(batch[:middle])
        self.send(batch[middle:])
