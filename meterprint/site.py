"""A site's state directory, opened: keys, journal, facts, engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from footprint.plant import PlantModel
from ingest.batch_events import BatchEvents
from ingest.durable import make_file, make_folder
from ingest.engine_shell import EngineShell
from ingest.enrolled_keys import EnrolledKeys
from ingest.facts import FactWriter, load_facts
from ingest.journal import Journal
from ingest.keyring import Keyring
from ingest.quarantine import Quarantine
from meterprint.plant_file import PlantFile, day_moment
from mrv.errors import InputError
from mrv.fact import REGISTRY, Fact
from mrv.measurement.activity import Kernels
from mrv.strict_json import canonical
from mrv.verification.note import PublicKey

STATE_VERSION = 2
"""Layout of the state directory."""
MARKER = "site.json"
"""File that makes a directory a state directory."""
JOURNAL, QUARANTINE = "journal.db", "quarantine.db"
"""Databases in a state directory."""
ACCOUNTS = "users"
"""File of the accounts in a state directory."""
AUTHOR = "meterprint"
"""Author of facts the program states by itself."""


class Site:
    """One site. Make it with `open_site`, and `close` it."""

    def __init__(self, state: Path, name: str, kernels: Kernels | None = None) -> None:
        self.state = state
        self.name = name
        self.keyring = open_keyring(state, name)
        self.journal = Journal(state / JOURNAL, name, self.keyring.checkpoints)
        self.facts = FactWriter(self.journal, self.keyring)
        self.facts.found(AUTHOR)
        self.quarantine = Quarantine(state / QUARANTINE)
        self.engine = EngineShell(self.journal, kernels, state)
        self.engine.settle()
        self.events = BatchEvents(self.journal, self.facts, self.lines, known=self.engine.facts)
        self.enrolled = EnrolledKeys()
        """Who may sign; `refresh` takes in what another process states."""
        self.enrolled.take(self.engine.facts)
        self.enrolled.learn(self.journal)
        self._check_keys()

    def _check_keys(self) -> None:
        """Refuse keys the registry does not name: nobody would believe what they sign."""
        for role in ("facts", "receipts", "checkpoints"):
            key = getattr(self.keyring, role).public
            if key not in self.enrolled.of_role(role):
                raise InputError(
                    f"the registry names another {role} key than {key.vkey}",
                    file=str(self.state / "keys" / f"{role}.key"),
                    hint="put the site's own key back, from a backup",
                )

    def plant(self) -> PlantModel | None:
        """The plant as stated last."""
        self.engine.settle()
        plants = self.engine.engine.knowledge.plants
        return plants[-1][1] if plants else None

    def lines(self) -> list[str]:
        """Lines of the plant."""
        plant = self.plant()
        return [line.id for line in plant.lines] if plant else []

    def keys_of(self, agent: str) -> tuple[PublicKey, ...]:
        """Keys an agent may sign with."""
        return self.enrolled.of_agent(agent)

    @property
    def root(self) -> PublicKey:
        """The key a verifier trusts; its secret half may be kept offline."""
        return self.enrolled.of_role("root")[0]

    def revoked_keys_of(self, agent: str) -> tuple[PublicKey, ...]:
        """Keys an agent may sign with no longer."""
        return self.enrolled.revoked(agent)

    def agents(self) -> tuple[str, ...]:
        """Names of the enrolled agents, in the order of their enrolment."""
        return self.enrolled.agents()

    def enrol_agent(self, key: PublicKey, author: str = AUTHOR) -> None:
        """Enrol an agent's key; the same one twice changes nothing."""
        if key in self.keys_of(key.name):
            return
        self.facts.enrol("agent", key, author)
        self.enrolled.learn(self.journal)

    def revoke_agent(self, name: str, vkey: str = "", author: str = AUTHOR) -> list[PublicKey]:
        """Revoke the keys of an agent, or one of them; those that were. Raises InputError."""
        keys = [key for key in self.keys_of(name) if vkey in ("", key.vkey)]
        if not keys:
            known = ", ".join(self.agents()) or "none"
            raise InputError(
                f"no agent {name!r} is enrolled" + (" with that key" if vkey else ""),
                hint=f"enrolled agents: {known}",
            )
        for key in keys:
            self.facts.revoke(key, author)
        self.enrolled.learn(self.journal)
        return keys

    def state_plant(self, file: PlantFile, valid_from: int, author: str = AUTHOR) -> bool:
        """State plant, factors and certificates of a file, where they are new; whether any was."""
        known = {
            (fact.header.type, fact.subject): _content(fact)
            for fact in load_facts(self.journal)
            if fact.header.chain == REGISTRY
        }
        stated = False

        def state(
            kind: str, subject: str, body: dict[str, object], start: int | None, end: int | None
        ) -> Fact | None:
            nonlocal stated
            times = (start, end) if kind == "certificate_recorded" else None
            if known.get((kind, subject)) == (canonical(body), times):
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
            first, last = day_moment(start), day_moment(end)
            if state("certificate_recorded", number, body, first, last) is not None:
                known.pop(("certificate_approved", number), None)
            if approved is not None:
                state("certificate_approved", number, {"by": str(approved)}, None, None)
        self.engine.catch_up()
        return stated

    def refresh(
        self, progress: Callable[[int, int], None] | None = None, *, eager: bool = True
    ) -> None:
        """Take in the journal and compute what is out of date."""
        self.journal.follow()
        self.engine.catch_up()
        self.enrolled.learn(self.journal)
        self.engine.refresh(progress, eager=eager)

    def close(self) -> None:
        """Close all files."""
        self.engine.close()
        self.quarantine.close()
        self.journal.close()


def site_name(state: Path) -> str | None:
    """Name of the site of a state directory, None where there is none.

    Raises InputError where the directory has another layout than this program's.
    """
    marker = state / MARKER
    if not marker.exists():
        return None
    try:
        known = json.loads(marker.read_text())
        name, layout = str(known["site"]), known["state"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{marker} cannot be read: {error}", hint="restore it from a backup"
        ) from error
    if layout != STATE_VERSION:
        raise InputError(
            f"{state} has layout {layout}, this program writes {STATE_VERSION}",
            hint="run `meterprint upgrade`, or use another --state",
        )
    return name


def open_journal(state: Path) -> Journal:
    """The journal of a state directory alone: nothing is computed. Raises InputError."""
    name = site_name(state)
    if name is None:
        raise InputError(f"{state} is no state directory", hint="name it by --state")
    return Journal(state / JOURNAL, name, open_keyring(state, name).checkpoints)


def open_keyring(state: Path, name: str) -> Keyring:
    """The keys of a site; those of a new one are made. Raises MeterprintError.

    A site that has lost its journal or a key must not begin again under its old name: two journals
    of one origin contradict each other.
    """
    journal = state / JOURNAL
    begun = journal.exists() and journal.stat().st_size > 0
    if not begun and (state / QUARANTINE).exists():  # made after the journal has its first facts
        raise InputError(
            "the journal is gone, and this site has had one",
            file=str(journal),
            hint="put it back, or restore a backup into a new directory: `meterprint restore`",
        )
    return Keyring.open(state / "keys", name, make=not begun)


def _content(fact: Fact) -> tuple[bytes, tuple[int | None, int | None] | None]:
    """What a fact says; of a certificate also when it holds."""
    header = fact.header
    times = (header.valid_from, header.valid_to)
    return canonical(fact.body), times if header.type == "certificate_recorded" else None


def open_site(state: Path, name: str = "", kernels: Kernels | None = None) -> Site:
    """The site of a state directory, made there where `name` is given and it is new.

    Raises InputError where there is none, or it is of another site.
    """
    known = site_name(state)
    if known is not None:
        if name and known != name:
            raise InputError(
                f"{state} belongs to site {known}, not {name}",
                hint="use another --state for another plant",
            )
        return _site(state, known, kernels)
    if not name:
        raise InputError(
            f"{state} is no state directory",
            hint="start with `meterprint demo`, `replay` or `serve --plant plant.yaml`",
        )
    about = json.dumps({"site": name, "state": STATE_VERSION})
    try:
        make_folder(state)
        make_file(state / MARKER, f"{about}\n".encode(), mode=0o644)
    except OSError as error:
        raise _unwritable(state, error) from error
    return _site(state, name, kernels)


def _site(state: Path, name: str, kernels: Kernels | None) -> Site:
    try:
        return Site(state, name, kernels)
    except OSError as error:
        raise _unwritable(state, error) from error


def _unwritable(state: Path, error: OSError) -> InputError:
    return InputError(
        f"{state} cannot be written: {error.strerror}",
        field="--state",
        hint="name a directory that this user may write",
    )
