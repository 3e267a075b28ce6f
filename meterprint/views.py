"""Views of the readings beside the engine's segments: an InfluxDB, where one is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ingest.park import Park
from ingest.projector import GATHER_S, STOP_S, Projector
from ingest.series import SeriesStore
from meterprint.site import Site

INFLUX = "influx"
"""Name of the view in an InfluxDB."""
REMOTE_STOP_S = 3.0
"""How long the end of the process waits for a store on the network: what it lacks can wait."""
PARKED = "influx-parked.json"
"""File in a state directory with the points an InfluxDB refused for good."""
OWED = "influx-owed.lp"
"""File in a state directory with points an InfluxDB has to be given again."""


@dataclass(frozen=True, slots=True)
class View:
    """A store and what keeps it up to date."""

    store: SeriesStore
    """The store."""
    projector: Projector
    """Feeds it from the journal; its `status` says how far it is and what went wrong."""

    @property
    def parked(self) -> Mapping[str, int]:
        """Points the store refused for good, by kind of reason; empty for segments."""
        park: Park | None = getattr(self.store, "park", None)
        return {} if park is None else dict(park.counts)

    def close(self) -> None:
        """Stop feeding it and let go of it."""
        self.projector.stop()
        self.store.close()


def cursor_file(state: Path, name: str) -> Path:
    """Where a view remembers how far in the journal it is."""
    return state / f"projector-{name}.json"


def open_park(state: Path) -> Park:
    """The points an InfluxDB refused for good. Raises MeterprintError where the file is broken."""
    return Park(state / PARKED)


def open_view(site: Site, name: str, store: SeriesStore) -> View:
    """A view that follows the journal from where it stopped, in a thread of its own.

    A store on another machine may fall behind: its newest entries go ahead, and a few entries
    gather before they are sent.
    """
    remote = name == INFLUX
    projector = Projector(
        site.journal,
        store,
        cursor_file(site.state, name),
        lanes=remote,
        gather_s=GATHER_S if remote else 0.0,
        stop_s=REMOTE_STOP_S if remote else STOP_S,
    )
    projector.start()
    projector.wake()
    return View(store, projector)


def open_views(site: Site, influx: SeriesStore | None) -> dict[str, View]:
    """The views beside the engine's own: that of an InfluxDB where there is one."""
    return {} if influx is None else {INFLUX: open_view(site, INFLUX, influx)}
