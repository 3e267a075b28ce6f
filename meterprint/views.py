"""Views of the readings beside the engine's segments: an InfluxDB, where one is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ingest.projector import Projector
from ingest.series import SeriesStore
from meterprint.site import Site


@dataclass(frozen=True, slots=True)
class View:
    """A store and what keeps it up to date."""

    store: SeriesStore
    """The store."""
    projector: Projector
    """Feeds it from the journal."""

    def close(self) -> None:
        """Stop feeding it and let go of it."""
        self.projector.stop()
        self.store.close()


def cursor_file(state: Path, name: str) -> Path:
    """Where a view remembers how far in the journal it is."""
    return state / f"projector-{name}.json"


def open_view(site: Site, name: str, store: SeriesStore) -> View:
    """A view that follows the journal from where it stopped, in a thread of its own."""
    projector = Projector(site.journal, store, cursor_file(site.state, name))
    projector.start()
    projector.wake()
    return View(store, projector)


def open_views(site: Site, influx: SeriesStore | None) -> dict[str, View]:
    """The views beside the engine's own: that of an InfluxDB where there is one."""
    return {} if influx is None else {"influx": open_view(site, "influx", influx)}
