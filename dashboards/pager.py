"""One page of a long list: where it begins, and the addresses of its neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode


@dataclass(frozen=True, slots=True)
class Pager:
    """A page of a list."""

    path: str
    """Address of the list."""
    number: int
    """Its number, from 1."""
    rows: int
    """Rows of a page."""
    total: int
    """Rows of the list."""
    asked: str = ""
    """What is looked for, "" = all."""
    name: str = "page"
    """What its number is called in the address."""
    anchor: str = ""
    """Where on the page the list is, "" = at its top."""

    @property
    def start(self) -> int:
        """Place of its first row, from 0."""
        return (self.number - 1) * self.rows

    @property
    def stop(self) -> int:
        """Place after its last row."""
        return min(self.start + self.rows, self.total)

    @property
    def more(self) -> bool:
        """Whether a page follows."""
        return self.start + self.rows < self.total

    @property
    def needed(self) -> bool:
        """Whether there is another page."""
        return self.number > 1 or self.more

    def address(self, step: int) -> str:
        """Address of the page so many further; with what is looked for."""
        values = {self.name: str(self.number + step), "q": self.asked}
        query = urlencode({k: v for k, v in values.items() if v})
        return f"{self.path}?{query}" + (f"#{self.anchor}" if self.anchor else "")
