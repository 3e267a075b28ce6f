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
    asks: str = "q"
    """What it is called there what is looked for."""
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
    def pages(self) -> int:
        """Number of pages, at least one."""
        return max(-(-self.total // self.rows), 1)

    @property
    def needed(self) -> bool:
        """Whether there is another page."""
        return self.pages > 1

    def address(self, number: int) -> str:
        """Address of a page; with what is looked for."""
        values = {self.name: str(number), self.asks: self.asked}
        query = urlencode({k: v for k, v in values.items() if v})
        return f"{self.path}?{query}" + (f"#{self.anchor}" if self.anchor else "")


def pager(path: str, number: int, rows: int, total: int, asked: str = "", **names: str) -> Pager:
    """The page of that number, or the last one where there are not so many; see `Pager`."""
    last = max(-(-total // rows), 1)
    return Pager(path, min(number, last), rows, total, asked, **names)
