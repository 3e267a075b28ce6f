"""What the pages show of a batch, a line, an instrument and an agent."""

from __future__ import annotations

import time
from dataclasses import dataclass

from dashboards.agent_health import AgentState, Health
from dashboards.instrument_order import Supported
from footprint.batch import BatchResult
from footprint.plant import Instrument, LocalText, Product

STALE_S = 15
"""Data older than this is shown as stale, s."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What lists and trends need of a batch."""

    product: str
    """Its product."""
    boundary: str
    """gate_to_gate | cradle_to_gate."""
    end: int | None
    """Its end, ns UTC; None = it runs."""
    per_unit: float | None
    """kgCO2e per good unit; None where there is no good output."""


@dataclass(frozen=True, slots=True)
class LineNow:
    """A line at this moment."""

    line: str
    """Line."""
    name: LocalText
    """Its name."""
    result: BatchResult | None
    """Running batch, else the latest one; None = none yet."""
    settled: BatchResult | None
    """Latest batch with good output; its figure per unit is shown."""
    product: Product | None
    """Product of the settled batch, else of the latest one."""
    data_at: int | None
    """Time of the newest reading, ns UTC."""

    @property
    def age_s(self) -> int | None:
        """Age of the data, s."""
        return None if self.data_at is None else max((time.time_ns() - self.data_at) // 10**9, 0)

    @property
    def stale(self) -> bool:
        """Whether the data is too old to be called now."""
        age = self.age_s
        return age is None or age > STALE_S


@dataclass(frozen=True, slots=True)
class InstrumentRow:
    """An instrument and whether it can be trusted."""

    support: Supported
    """The instrument, with the certificate that speaks for it."""
    last_at: int | None
    """Time of its last reading, ns UTC."""
    last_value: str
    """Its last reading with unit."""

    @property
    def instrument(self) -> Instrument:
        """The instrument."""
        return self.support.instrument

    @property
    def age_s(self) -> int | None:
        """Age of its last reading, s."""
        return None if self.last_at is None else max((time.time_ns() - self.last_at) // 10**9, 0)


@dataclass(frozen=True, slots=True)
class AgentRow:
    """An agent and its health."""

    name: str
    """Agent."""
    health: Health
    """How it is now."""
    state: AgentState | None
    """What it said of itself last; None = it never said anything."""
    envelopes: int
    """Envelopes in the journal."""
    last_at: int | None
    """Time of its newest reading, ns UTC."""
    seen_at: int | None
    """When its last readings came, ns UTC; after a restart of the site, the time they bear."""
    quarantined: int
    """Messages in its name that were refused."""

    @property
    def depth(self) -> int | None:
        """Envelopes without a receipt; None while nobody can know."""
        return self.state.depth if self.state is not None and self.state.online else None

    @property
    def behind_s(self) -> int | None:
        """Age of the oldest envelope without a receipt, s; None = no backlog is known."""
        behind = None if self.state is None else self.state.behind(time.time_ns())
        return None if behind is None else behind // 10**9

    @property
    def silent_s(self) -> int | None:
        """How long ago its last readings came, s."""
        return None if self.seen_at is None else max((time.time_ns() - self.seen_at) // 10**9, 0)
