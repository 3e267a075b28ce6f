"""How an agent is: what it says of itself, beside what the journal has of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mrv.errors import InputError, MeterprintError
from mrv.strict_json import loads

NS = 10**9
BEHIND_NS = 20 * NS
"""An envelope that waits longer than this for its receipt belongs to a backlog."""
SILENT_NS = 30 * NS
"""An agent that is online and has delivered no reading for this long reads nothing."""
MAX_FAULT = 300
"""Letters of a fault that are kept."""


class Health(StrEnum):
    """State of an agent, the worst first."""

    OFFLINE = "offline"
    """It has left the broker, or the broker lost it."""
    FAULT = "fault"
    """It is online and says that its disk refuses."""
    CATCHING_UP = "catching_up"
    """It is online and sends what it kept while it could not."""
    SILENT = "silent"
    """It is online, has nothing left to send, and reads nothing."""
    UNKNOWN = "unknown"
    """It never said anything; its readings came from somewhere."""
    ONLINE = "online"
    """It delivers."""


@dataclass(frozen=True, slots=True)
class AgentState:
    """The last thing an agent said of itself."""

    online: bool
    """Whether it is connected to the broker."""
    heard: int
    """When this process heard it, ns UTC."""
    depth: int | None = None
    """Envelopes without a receipt."""
    waited: int | None = None
    """How long the oldest of them had waited when this was said, ns by the agent's clock."""
    fault: str = ""
    """What its outbox refuses, "" = nothing."""
    dropped: int = 0
    """Instantaneous readings it has given up because its disk was full."""

    def behind(self, now: int) -> int | None:
        """How long the oldest envelope without a receipt has waited, ns; None = unknown."""
        if not self.online or not self.depth or self.waited is None:
            return None
        return self.waited + max(now - self.heard, 0)


def read_state(payload: bytes, heard: int) -> AgentState:
    """The state in a message of the topic `state`. Raises InputError."""
    try:
        value = loads(payload)
    except MeterprintError as error:
        raise InputError(f"the state of an agent is expected: {error}") from error
    if not isinstance(value, dict) or not isinstance(value.get("online"), bool):
        raise InputError("the state of an agent says whether it is online", field="online")
    said, oldest = _count(value.get("t")), _count(value.get("oldest"))
    waited = None if said is None or oldest is None else max(said - oldest, 0)
    return AgentState(
        value["online"],
        heard,
        _count(value.get("depth")),
        waited,
        str(value.get("fault") or value.get("storage") or "")[:MAX_FAULT],
        _count(value.get("dropped")) or 0,
    )


def _count(value: Any) -> int | None:
    """A number not below 0 that a clock or a counter can show; None for anything else."""
    text = str(value)
    known = isinstance(value, int | str) and text.isascii() and text.isdigit() and len(text) < 20
    return int(text) if known else None


def health(state: AgentState | None, seen_at: int | None, now: int) -> Health:
    """How an agent is at `now`, given when its last readings came; both ns UTC."""
    if state is None:
        return Health.UNKNOWN
    if not state.online:
        return Health.OFFLINE
    if state.fault:
        return Health.FAULT
    behind = state.behind(now)
    if behind is not None and behind > BEHIND_NS:
        return Health.CATCHING_UP
    if seen_at is None or now - seen_at > SILENT_NS:
        return Health.SILENT
    return Health.ONLINE
