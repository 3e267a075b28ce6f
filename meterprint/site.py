"""A site's state directory, opened: keys, journal, facts, engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from footprint.plant import PlantModel
from ingest.batch_events import BatchEvents
from ingest.engine_shell import EngineShell
from ingest.facts import FactWriter, load_facts
from ingest.journal import Journal
from ingest.keyring import Keyring
from ingest.quarantine import Quarantine
from meterprint.plant_file import PlantFile, day_moment
from mrv.errors import InputError
from mrv.fact import REGISTRY, Fact
from mrv.measurement.activity import PYTHON, Kernels
from mrv.strict_json import canonical
from mrv.verification.note import PublicKey

STATE_VERSION = 1
"""Layout of the state directory."""
MARKER = "site.json"
"""File that makes a directory a state directory."""
AUTHOR = "meterprint"
"""Author of facts the program states by itself."""


class Site:
    """One site. Make it with `open_site`, and `close` it."""

    def __init__(self, state: Path, name: str, kernels: Kernels = PYTHON) -> None:
        self.state = state
        self.name = name
        self.keyring = Keyring.open(state / "keys", name)
        self.journal = Journal(state / "journal.db", name, self.keyring.checkpoints)
        self.facts = FactWriter(self.journal, self.keyring)
        self.facts.found(AUTHOR)
        self.quarantine = Quarantine(state / "quarantine.db")
        self.engine = EngineShell(self.journal, kernels)
        self.engine.catch_up()
        self.engine.settle()
        self.events = BatchEvents(self.journal, self.facts, self.lines)
        self._agents: dict[str, tuple[PublicKey, ...]] = {}
        self._load_agents()

    def _load_agents(self) -> None:
        for fact in load_facts(self.journal):
            if fact.header.type == "key_enrolled" and fact.body.get("role") == "agent":
                key = PublicKey.parse(str(fact.body["vkey"]))
                self._agents[key.name] = (*self._agents.get(key.name, ()), key)

    def plant(self) -> PlantModel | None:
        """The plant as stated last."""
        plants = self.engine.engine.knowledge.plants
        return plants[-1][1] if plants else None

    def lines(self) -> list[str]:
        """Lines of the plant."""
        plant = self.plant()
        return [line.id for line in plant.lines] if plant else []

    def keys_of(self, agent: str) -> tuple[PublicKey, ...]:
        """Enrolled keys of an agent."""
        return self._agents.get(agent, ())

    def enrol_agent(self, key: PublicKey, author: str = AUTHOR) -> None:
        """Enrol an agent's key; the same one twice changes nothing."""
        if key in self.keys_of(key.name):
            return
        self.facts.enrol("agent", key, author)
        self._agents[key.name] = (*self.keys_of(key.name), key)

    def state_plant(self, file: PlantFile, valid_from: int, author: str = AUTHOR) -> bool:
        """State plant, factors and certificates of a file, where they are new; whether any was."""
        known = {
            (fact.header.type, fact.subject): canonical(fact.body)
            for fact in load_facts(self.journal)
            if fact.header.chain == REGISTRY
        }
        stated = False

        def state(
            kind: str, subject: str, body: dict[str, object], start: int | None, end: int | None
        ) -> Fact | None:
            nonlocal stated
            if known.get((kind, subject)) == canonical(body):
                return None
            stated = True
            return self.facts.record(
                REGISTRY, kind, subject, body, author=author, valid_from=start, valid_to=end
            )

        state("plant_model", file.plant.site, file.tree, valid_from, None)
        for name, rows in file.factors:
            state("factor_set", name, {"rows": list(rows)}, None, None)
        for certificate in file.certificates:
            body = dict(certificate)
            number = str(body.pop("id"))
            start, end = body.pop("valid_from", None), body.pop("valid_to", None)
            approved = body.pop("approved_by", None)
            state(
                "certificate_recorded",
                number,
                body,
                day_moment(start),
                day_moment(end),
            )
            if approved is not None:
                state("certificate_approved", number, {"by": str(approved)}, None, None)
        self.engine.catch_up()
        return stated

    def refresh(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Take in the journal and compute what is out of date."""
        self.journal.follow()
        self.engine.catch_up()
        self.engine.refresh(progress)

    def close(self) -> None:
        """Close all files."""
        self.quarantine.close()
        self.journal.close()


def open_site(state: Path, name: str = "", kernels: Kernels = PYTHON) -> Site:
    """The site of a state directory, made there where `name` is given and it is new.

    Raises InputError where there is none, or it is of another site.
    """
    marker = state / MARKER
    if marker.exists():
        known = _known(marker)
        if known.get("state") != STATE_VERSION:
            raise InputError(
                f"{state} has layout {known.get('state')}, this program writes {STATE_VERSION}",
                hint="run `meterprint upgrade`, or use another --state",
            )
        if name and known["site"] != name:
            raise InputError(
                f"{state} belongs to site {known['site']}, not {name}",
                hint="use another --state for another plant",
            )
        return _site(state, known["site"], kernels)
    if not name:
        raise InputError(
            f"{state} is no state directory",
            hint="start with `meterprint demo`, `replay` or `serve --plant plant.yaml`",
        )
    try:
        state.mkdir(parents=True, exist_ok=True)
        marker.write_text(json.dumps({"site": name, "state": STATE_VERSION}) + "\n")
    except OSError as error:
        raise _refused(state, error) from error
    return _site(state, name, kernels)


def _known(marker: Path) -> dict[str, Any]:
    """What the marker says. Raises InputError."""
    try:
        known = json.loads(marker.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot be read: {error}", file=str(marker), hint="restore it from a backup"
        ) from error
    if not isinstance(known, dict) or not isinstance(known.get("site"), str):
        raise InputError(
            "the name of a site is expected",
            file=str(marker),
            field="site",
            hint="restore it from a backup",
        )
    return known


def _refused(state: Path, error: OSError) -> InputError:
    return InputError(
        f"{state} cannot be written: {error.strerror}",
        field="--state",
        hint="name a directory that this user may write",
    )


def _site(state: Path, name: str, kernels: Kernels) -> Site:
    try:
        return Site(state, name, kernels)
    except OSError as error:
        raise _refused(state, error) from error
