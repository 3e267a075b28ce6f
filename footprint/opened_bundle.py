"""A bundle on the table: its files, and what the checks have learnt from them so far."""

from __future__ import annotations

from footprint.batch import BatchResult
from footprint.bundle import RESULT, header_file
from footprint.engine import Engine
from footprint.intake import MemoryReadings
from footprint.key_sheet import ClosedBatch
from footprint.knowledge import Knowledge, origin_of
from footprint.verdict import Verdict
from mrv.errors import EvidenceError, MeterprintError
from mrv.fact import Fact
from mrv.strict_json import Record, loads
from mrv.verification.audit import AuditedHeader, KeyBook
from mrv.verification.checkpoint import Checkpoint
from mrv.verification.note import PublicKey


class Broken(EvidenceError):
    """A check that fails: what was seen, in which file, what was expected."""

    def __init__(self, message: str, file: str = "", expected: str = "") -> None:
        super().__init__(message)
        self.file = file
        self.expected = expected


class NotCheckable(EvidenceError):
    """A check that nobody can make on what the bundle shows: what rests on the site's word."""


class OpenedBundle:
    """The files of a bundle; the checks fill in the rest in their order."""

    def __init__(self, trust: PublicKey | None) -> None:
        self.trust = trust
        self.verdict = Verdict()
        self.files: dict[str, bytes] = {}
        self.layout = 1
        self.book: KeyBook | None = None
        self.chains: dict[str, list[AuditedHeader]] = {}
        self.checkpoint: Checkpoint | None = None
        self.facts: list[Fact] = []
        self.closed: dict[str, ClosedBatch] = {}
        self.readings = MemoryReadings()
        self._held: Engine | None = None
        self._entries: dict[str, list[tuple[str, int, bytes, bytes, list[bytes]]]] = {}

    def file(self, name: str) -> bytes:
        """Bytes of a file. Raises Broken where it is missing."""
        content = self.files.get(name)
        if content is None:
            raise Broken(f"{name} is missing", name)
        return content

    def headers(self, chain: str) -> list[bytes]:
        """Signed headers of a fact chain, in order."""
        name = header_file(chain)
        notes = []
        for line in self.file(name).splitlines():
            value = loads(line)
            if not isinstance(value, str):
                raise Broken("a header is a text", name)
            notes.append(value.encode())
        return notes

    def bodies(self, chain: str) -> dict[int, tuple[bytes, bytes, str]]:
        """(body, salt, file) of the facts of a chain that are shown, by seq."""
        prefix = f"facts/{chain}.bodies/"
        bodies = {}
        for name, content in self.files.items():
            if name.startswith(prefix):
                try:
                    record = Record(loads(content.rstrip(b"\n")))
                    seq = int(name.removeprefix(prefix).removesuffix(".json"))
                    body = record.text("body", limit=10**8, lines=True).encode()
                    bodies[seq] = (body, bytes.fromhex(record.text("salt")), name)
                except (MeterprintError, ValueError) as error:
                    raise Broken(f"{name}: {error}", name) from error
        return bodies

    def keys(self) -> KeyBook:
        """Keys of the site. Raises Broken where the registry was not read."""
        if self.book is None:
            raise Broken("the registry was not read")
        return self.book

    def production(self) -> list[str]:
        """Production chains in the bundle, sorted."""
        prefix, suffix = header_file("production/").removesuffix(".headers.jsonl"), ".headers.jsonl"
        return sorted(
            name.removeprefix("facts/").removesuffix(suffix)
            for name in self.files
            if name.startswith(prefix) and name.endswith(suffix)
        )

    def entries(self, folder: str) -> list[tuple[str, int, bytes, bytes, list[bytes]]]:
        """(file, journal index, salt, note, proof) of the entries in a folder."""
        held = self._entries.get(folder)
        if held is not None:
            return held
        entries = []
        for name in sorted(self.files):
            if not name.startswith(folder):
                continue
            try:
                record = Record(loads(self.files[name].rstrip(b"\n")))
                entries.append(
                    (
                        name,
                        record.integer("index"),
                        bytes.fromhex(record.text("salt")),
                        record.text("note", limit=100_000, lines=True).encode(),
                        [bytes.fromhex(str(node)) for node in record.array("proof", limit=64)],
                    )
                )
            except (MeterprintError, ValueError) as error:
                raise Broken(f"{name}: {error}", name) from error
        self._entries[folder] = entries
        return entries

    def engine(self) -> Engine:
        """The engine on what the bundle shows."""
        if self._held is None:
            origins = {}
            for chain in self.production():
                origin = origin_of(a.header for a in self.chains[chain])
                if origin is not None:
                    origins[chain.removeprefix("production/")] = origin
            keys = {c.name: c.row.key for c in self.closed.values() if c.row.key is not None}
            self._held = Engine(Knowledge(self.facts, origins, keys=keys), self.readings)
        return self._held

    def computed(self) -> BatchResult:
        """The figure, recomputed once."""
        if self.verdict.result is None:
            name = str(self.verdict.stated.get("batch", ""))
            result = self.engine().batch(name)
            if result is None:
                raise Broken(f"no fact starts batch {name!r} in a plant", RESULT)
            self.verdict.result = result
            plant = self.engine().knowledge.plant_at(result.batch.start)
            self.verdict.notes = plant.notes if plant is not None else ()
        return self.verdict.result
