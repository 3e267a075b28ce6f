"""The port through which the pages see a running site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dashboards.agent_health import AgentState
from footprint.plant import PlantModel
from ingest.engine_shell import EngineShell
from ingest.entry import Entry
from mrv.fact import Fact

ENDED = "part_ended"
"""The trouble that only a new start mends."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that keeps the site from being up to date."""

    code: str
    """part_ended | journal_refuses | no_broker | no_plant | starting | catching_up."""
    detail: str = ""
    """Numbers, or the message of what refused."""


class Running(Protocol):
    """The running site, as far as the pages need it."""

    agent_states: Mapping[str, AgentState]
    """Last state each agent published."""
    arrivals: Mapping[str, int]
    """When readings of each agent came last since the start, ns UTC."""

    @property
    def engine(self) -> EngineShell:
        """The engine."""
        ...

    def troubles(self) -> list[Trouble]:
        """What keeps the site from being up to date now, [] = nothing."""
        ...

    def plant(self) -> PlantModel | None:
        """The plant as stated last."""
        ...

    def journal_head(self) -> tuple[int, str]:
        """Number of entries and root, hex."""
        ...

    def quarantined(self) -> Mapping[str, int]:
        """Messages refused, by agent."""
        ...

    def index_of(self, identity: str) -> int | None:
        """Index of an entry of the journal."""
        ...

    def indexes(
        self, epoch: tuple[str, str, str], first: int, last: int
    ) -> Mapping[int, Sequence[int]]:
        """Indexes of the envelopes of an (agent, stream, epoch) by number, first to last."""
        ...

    def entry(self, index: int) -> Entry | None:
        """An entry of the journal; None = there is none."""
        ...

    def bundle(self, batch: str) -> bytes:
        """The evidence bundle of a batch. Raises InputError."""
        ...

    def batch_event(self, body: dict[str, Any], author: str) -> tuple[Fact, bool]:
        """Take a batch event. Raises InputError."""
        ...
