"""The one exception tree: refused input and broken programs. Bad data is a Finding."""

from __future__ import annotations


class MeterprintError(Exception):
    """What was being read, what was seen, and what to do about it.

    `hint` is one sentence that says what to do; it may be empty.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class InputError(MeterprintError):
    """Input refused at a border; names the file, line and field where they are known.

    `file` as the caller named it, `line` counted from 1 (0 = unknown), `field` as a dotted path.
    """

    def __init__(
        self, message: str, *, file: str = "", line: int = 0, field: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.file = file
        self.line = line
        self.field = field

    def __str__(self) -> str:
        where = self.file
        if self.line:
            where = f"{where}:{self.line}" if where else f"line {self.line}"
        parts = [where, self.field, super().__str__()]
        return ": ".join(part for part in parts if part)


class WireError(InputError):
    """A message that is not what the wire contract says; `field` names the offending member."""


class EvidenceError(MeterprintError):
    """A signature, hash, proof or container that does not hold."""
