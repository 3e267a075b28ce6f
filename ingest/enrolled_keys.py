"""Who may sign what at a site, as its registry says now."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import suppress

from ingest.entry import JournalError
from ingest.facts import read_fact
from ingest.journal import Journal
from mrv.errors import MeterprintError
from mrv.fact import REGISTRY, Fact
from mrv.verification.audit import KEY_FACTS
from mrv.verification.note import PublicKey


class EnrolledKeys:
    """Keys in force and revoked ones, kept up to date with the registry.

    A key counts from the fact that enrols it until the one that revokes it, by their place in the
    journal: what an agent signed and sent before stays, what comes after is refused. Facts are
    taken in the order of the registry; `count` of them are known.
    """

    def __init__(self) -> None:
        self._in_force: dict[str, dict[str, PublicKey]] = {}
        self._agents: dict[str, tuple[PublicKey, ...]] = {}
        self._revoked: dict[str, tuple[PublicKey, ...]] = {}
        self._lock = threading.Lock()
        self.count = 0

    def take(self, facts: Iterable[Fact]) -> None:
        """Take in facts that may be known already; one that comes before its turn is left."""
        with self._lock:
            for fact in facts:
                if fact.header.chain == REGISTRY and fact.header.seq == self.count:
                    self._take(fact)
                    self.count += 1

    def learn(self, journal: Journal) -> None:
        """Take in what the registry of a journal has beyond `count`, whoever has stated it.

        Raises JournalError where it has facts that cannot be found.
        """
        with self._lock:
            for entry in journal.facts_of(REGISTRY, self.count):
                with suppress(MeterprintError):  # the engine's finding; it lets nobody in
                    self._take(read_fact(entry.note, entry.body, entry.body_salt, entry.index))
                self.count += 1
            stated = journal.chain_length(REGISTRY)[0]
        if self.count < stated:
            raise JournalError(
                f"{journal.path} has {self.count} facts of a registry of {stated}",
                hint="run `meterprint journal check`; restore a backup if it fails",
            )

    def _take(self, fact: Fact) -> None:
        kind = fact.header.type
        if kind not in KEY_FACTS:
            return
        try:
            key = PublicKey.parse(str(fact.body.get("vkey", "")))
        except MeterprintError:
            return  # the audit names it; it lets nobody in
        if kind == KEY_FACTS[0]:
            self._enrol(str(fact.body.get("role", "")), key)
        else:
            self._revoke(key)

    def _enrol(self, role: str, key: PublicKey) -> None:
        self._in_force.setdefault(role, {})[key.vkey] = key
        if role == "agent":
            gone = tuple(k for k in self._revoked.get(key.name, ()) if k != key)
            self._revoked[key.name] = gone
            self._agents[key.name] = (
                *(k for k in self._agents.get(key.name, ()) if k != key),
                key,
            )

    def _revoke(self, key: PublicKey) -> None:
        for keys in self._in_force.values():
            keys.pop(key.vkey, None)
        held = self._agents.get(key.name, ())
        if key in held:
            self._agents[key.name] = tuple(k for k in held if k != key)
            self._revoked[key.name] = (*self._revoked.get(key.name, ()), key)

    def of_role(self, role: str) -> tuple[PublicKey, ...]:
        """Keys of a role that are in force."""
        return tuple(self._in_force.get(role, {}).values())

    def of_agent(self, name: str) -> tuple[PublicKey, ...]:
        """Keys an agent may sign with now; () = it has none, or nobody enrolled it."""
        return self._agents.get(name, ())

    def revoked(self, name: str) -> tuple[PublicKey, ...]:
        """Keys an agent may sign with no longer."""
        return self._revoked.get(name, ())

    def agents(self) -> tuple[str, ...]:
        """Names of agents with a key in force, in the order they were enrolled."""
        return tuple(name for name, keys in self._agents.items() if keys)
