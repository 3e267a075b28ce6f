"""Who may do what on the pages and the HTTP interface."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What somebody is to the plant."""

    OPERATOR = "operator"
    """Runs the lines: starts and ends batches."""
    METROLOGIST = "metrologist"
    """Looks after instruments and certificates."""
    VERIFIER = "verifier"
    """Checks claims: reads everything, states nothing."""
    PUBLIC = "public"
    """Sees batches and their figures, nothing of the meters behind them."""


class Right(StrEnum):
    """What a request needs."""

    OPEN = "open"
    """Nothing: login, assets, whether the process lives."""
    FIGURES = "figures"
    """Lines, batches and their figures."""
    EVERYTHING = "everything"
    """Meters, agents, findings, envelopes, the journal, metrics."""
    STATE = "state"
    """Stating that a batch starts or ends."""


RIGHTS: dict[Role, frozenset[Right]] = {
    Role.OPERATOR: frozenset({Right.OPEN, Right.FIGURES, Right.EVERYTHING, Right.STATE}),
    Role.METROLOGIST: frozenset({Right.OPEN, Right.FIGURES, Right.EVERYTHING}),
    Role.VERIFIER: frozenset({Right.OPEN, Right.FIGURES, Right.EVERYTHING}),
    Role.PUBLIC: frozenset({Right.OPEN, Right.FIGURES}),
}
"""Rights of each role."""
OPEN_PATHS = ("/login", "/logout", "/healthz", "/readyz")
"""Paths anybody may ask for; `/static/` with them."""
FIGURE_PATHS = (
    "/",
    "/batches",
    "/help",
    "/events",
    "/fragments/troubles",
    "/api/docs",
    "/openapi.json",
)
"""Paths of figures, whole."""
FIGURE_LISTS = ("/api/v1/lines", "/api/v1/batches", "/api/v1/batches.csv")
"""Lists of figures of the HTTP interface."""


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody who asks."""

    name: str
    """Account, "" = nobody who is known."""
    role: Role | None
    """Role, None = none: not even figures."""

    def may(self, right: Right) -> bool:
        """Whether the role has a right."""
        return right is Right.OPEN or (self.role is not None and right in RIGHTS[self.role])


LOCAL = Who("", Role.OPERATOR)
"""Anybody on this machine, where no accounts are configured."""
NOBODY = Who("", None)
"""Somebody who has not said who he is."""
PASSER_BY = Who("", Role.PUBLIC)
"""The same, where the public may see figures."""


def right_of(method: str, path: str) -> Right:
    """The right a request needs; what is not listed needs the most that reading can need."""
    if path in OPEN_PATHS or path.startswith("/static/"):
        return Right.OPEN
    if method not in ("GET", "HEAD"):
        return Right.STATE
    if path in FIGURE_PATHS or path in FIGURE_LISTS:
        return Right.FIGURES
    if path.startswith("/fragments/line/"):
        return Right.FIGURES
    page = path.removeprefix("/batches/")
    if page != path and page and "/" not in page:
        return Right.FIGURES
    return Right.EVERYTHING
