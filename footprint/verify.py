"""Verifies an evidence bundle and recomputes its footprint: `python -m footprint.verify x.zip`.

Needs `mrv`, `footprint` and `cryptography`, no network, no database. Each check has a name and
says what was expected and what was found; exit status 0 only where every check passes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from footprint.batch import METHOD, BatchResult
from footprint.bundle import (
    CHECKPOINT,
    MANIFEST,
    RESULT,
    STREAM_HEADS,
    cover,
    disclosed,
    header_file,
    interval_by_headers,
)
from footprint.engine import Engine
from footprint.exact import float_text
from footprint.intake import MemoryReadings
from footprint.knowledge import Knowledge, origin_of
from mrv.channel import parse_table
from mrv.envelope import parse
from mrv.errors import EvidenceError, InputError, MeterprintError
from mrv.fact import REGISTRY, Fact, FactHeader, open_body, production_chain
from mrv.strict_json import Record, loads
from mrv.verification.audit import (
    KEY_FACTS,
    AuditedHeader,
    ChainFault,
    KeyBook,
    audit_chain,
    audit_registry,
)
from mrv.verification.checkpoint import Checkpoint, parse_checkpoint, parse_stream_list
from mrv.verification.container import ContainerError, read
from mrv.verification.merkle import entry_leaf_data, leaf_hash, verify_inclusion
from mrv.verification.note import PublicKey, identity, open_note, split

PASS, FAIL, NOT_CHECKABLE = "pass", "fail", "not_checkable"
"""Results of a check."""

CHECKS = {
    "container": "the file is a bundle",
    "manifest": "every file is the one the manifest lists",
    "registry_chain": "the site's registry has no gap and is signed",
    "trust": "the root key is the one you trust",
    "manifest_signature": "the site signed the manifest",
    "checkpoint": "the site signed the head of its journal",
    "registry_complete": "the registry reaches the head, and no fact's body is left out",
    "production_chains": "the lines' batch events have no gap and reach the head",
    "production_complete": "no batch that touches this time is left out",
    "stream_heads": "the list of streams is the one the head binds",
    "channel_tables": "the channel tables are signed and in the journal",
    "envelope_signatures": "every envelope is signed by an enrolled agent",
    "inclusion": "every envelope is in the journal",
    "envelope_chains": "no envelope between the first and the last is missing",
    "completeness": "the figure is settled and its sources are complete",
    "recompute": "the recomputed footprint is the stated one",
    "digest": "the recomputed result is the stated one to the last digit",
}
"""Names of the checks, in order, with what each means."""


@dataclass(frozen=True, slots=True)
class Check:
    """Outcome of one check."""

    id: str
    """Name."""
    result: str
    """pass | fail | not_checkable."""
    expected: str = ""
    """What was expected."""
    actual: str = ""
    """What was found."""
    file: str = ""
    """File of the bundle it concerns."""


@dataclass(slots=True)
class Verdict:
    """All checks of one bundle."""

    checks: list[Check] = field(default_factory=list)
    """Outcomes, in the order of CHECKS."""
    result: BatchResult | None = None
    """The recomputed figure, None where it could not be computed."""
    stated: Mapping[str, Any] = field(default_factory=dict)
    """The figure under test."""

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return bool(self.checks) and all(check.result == PASS for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """The verdict in the words of `verify --json`."""
        figure = self.result.to_json() if self.result else {}
        return {
            "ok": self.ok,
            "batch": figure.get("batch", self.stated.get("batch")),
            "footprint": figure.get("footprint"),
            "footprint_unit": figure.get("footprint_unit", "kgCO2e"),
            "u": float_text(self.result.components.u) if self.result else None,
            "per_unit": figure.get("per_unit"),
            "boundary": figure.get("boundary"),
            "state": figure.get("state"),
            "incomplete": figure.get("incomplete", []),
            "checks": [
                {
                    "id": c.id,
                    "result": c.result,
                    "expected": c.expected,
                    "actual": c.actual,
                    "file": c.file,
                }
                for c in self.checks
            ],
        }


class _Broken(EvidenceError):
    def __init__(self, message: str, file: str = "", expected: str = "") -> None:
        super().__init__(message)
        self.file = file
        self.expected = expected


class _Verification:
    def __init__(self, trust: PublicKey | None) -> None:
        self.trust = trust
        self.verdict = Verdict()
        self.files: dict[str, bytes] = {}
        self.book: KeyBook | None = None
        self.chains: dict[str, list[AuditedHeader]] = {}
        self.checkpoint: Checkpoint | None = None
        self.facts: list[Fact] = []
        self.readings = MemoryReadings()
        self.engine: Engine | None = None

    def check(self, name: str, step: Callable[[], str]) -> bool:
        """Run one check; its step returns what was found, or raises."""
        try:
            actual = step()
        except MeterprintError as error:
            file = getattr(error, "file", "") or ""
            expected = getattr(error, "expected", "") or CHECKS[name]
            self.verdict.checks.append(Check(name, FAIL, expected, str(error), file))
            return False
        self.verdict.checks.append(Check(name, PASS, CHECKS[name], actual))
        return True

    def skip_rest(self) -> None:
        done = {check.id for check in self.verdict.checks}
        for name, meaning in CHECKS.items():
            if name not in done:
                self.verdict.checks.append(
                    Check(name, NOT_CHECKABLE, meaning, "an earlier check failed")
                )

    def run(self, data: bytes) -> Verdict:
        steps: tuple[tuple[str, Callable[[], str]], ...] = (
            ("manifest", self.manifest),
            ("registry_chain", self.registry_chain),
            ("trust", self.trusted),
            ("manifest_signature", self.manifest_signature),
            ("checkpoint", self.read_checkpoint),
            ("registry_complete", self.registry_complete),
            ("production_chains", self.production_chains),
            ("production_complete", self.production_complete),
            ("stream_heads", self.stream_heads),
            ("channel_tables", self.channel_tables),
            ("envelope_signatures", self.envelope_signatures),
            ("inclusion", self.inclusion),
            ("envelope_chains", self.envelope_chains),
            ("completeness", self.completeness),
            ("recompute", self.recompute),
            ("digest", self.digest),
        )
        if self.check("container", lambda: self.container(data)):
            for name, step in steps:
                if name == "trust" and self.trust is None:
                    self.verdict.checks.append(
                        Check(
                            name,
                            NOT_CHECKABLE,
                            CHECKS[name],
                            "no trusted key was named: --trust KEY",
                        )
                    )
                    continue
                if not self.check(name, step) and name in FATAL:
                    break
        self.skip_rest()
        order = list(CHECKS)
        self.verdict.checks.sort(key=lambda check: order.index(check.id))
        return self.verdict

    def file(self, name: str) -> bytes:
        content = self.files.get(name)
        if content is None:
            raise _Broken(f"{name} is missing", name)
        return content

    def container(self, data: bytes) -> str:
        self.files = read(data)
        return f"{len(self.files)} files"

    def manifest(self) -> str:
        try:
            text, _ = split(self.file(MANIFEST))
            record = Record(loads(text[:-1]))
            listed = record.record("files")
        except MeterprintError as error:
            raise _Broken(str(error), MANIFEST) from error
        names = record.raw("files")
        for name, content in sorted(self.files.items()):
            if name == MANIFEST:
                continue
            seen = hashlib.sha256(content).hexdigest()
            stated = listed.text(name, limit=64) if name in names else "none"
            if seen != stated:
                self._blame_manifest()
                raise _Broken(f"{name} has SHA-256 {seen}", name, f"SHA-256 {stated}")
        for name in sorted(names):
            if name not in self.files:
                self._blame_manifest()
            self.file(name)
        try:
            stated_result = loads(self.file(RESULT).rstrip(b"\n"))
        except MeterprintError as error:
            raise _Broken(str(error), RESULT) from error
        self.verdict.stated = stated_result if isinstance(stated_result, dict) else {}
        method = record.text("method")
        if method != METHOD:
            raise _Broken(f"method {method}", MANIFEST, f"method {METHOD}, which this program has")
        return f"{len(names)} files"

    def _blame_manifest(self) -> None:
        """Where a hash differs, it may be the manifest that was changed: its signature tells."""
        try:
            self.registry_chain()
        except MeterprintError:
            return
        self.manifest_signature()

    def _headers(self, chain: str) -> list[bytes]:
        name = header_file(chain)
        notes = []
        for line in self.file(name).splitlines():
            value = loads(line)
            if not isinstance(value, str):
                raise _Broken("a header is a text", name)
            notes.append(value.encode())
        return notes

    def _bodies(self, chain: str) -> dict[int, tuple[bytes, bytes, str]]:
        prefix = f"facts/{chain}.bodies/"
        bodies = {}
        for name, content in self.files.items():
            if name.startswith(prefix):
                try:
                    record = Record(loads(content.rstrip(b"\n")))
                    seq = int(name.removeprefix(prefix).removesuffix(".json"))
                    body = record.text("body", limit=10**8).encode()
                    bodies[seq] = (body, bytes.fromhex(record.text("salt")), name)
                except (MeterprintError, ValueError) as error:
                    raise _Broken(f"{name}: {error}", name) from error
        return bodies

    def registry_chain(self) -> str:
        notes, bodies = self._headers(REGISTRY), self._bodies(REGISTRY)
        name = header_file(REGISTRY)
        opened: dict[int, dict[str, Any]] = {}
        root: PublicKey | None = None
        try:
            for seq, note in enumerate(notes):
                header = _header(note)
                if header.type in KEY_FACTS and seq in bodies:
                    data, salt, _ = bodies[seq]
                    opened[seq] = open_body(header, data, salt)[1]
            root = PublicKey.parse(str(opened.get(0, {}).get("vkey", "")))
            audited, self.book = audit_registry(notes, opened, root)
        except MeterprintError as error:
            raise _Broken(str(error), name) from error
        self.chains[REGISTRY] = audited
        return f"{len(audited)} facts"

    def trusted(self) -> str:
        book = self._book()
        assert self.trust is not None
        if book.root.key != self.trust.key:
            raise _Broken(book.root.vkey, header_file(REGISTRY), self.trust.vkey)
        return book.root.vkey

    def _book(self) -> KeyBook:
        if self.book is None:
            raise _Broken("the registry was not read")
        return self.book

    def manifest_signature(self) -> str:
        try:
            opened = open_note(self.file(MANIFEST), self._book().of_role("checkpoints"))
        except MeterprintError as error:
            raise _Broken(str(error), MANIFEST) from error
        return opened.signers[0].name

    def read_checkpoint(self) -> str:
        try:
            note = open_note(self.file(CHECKPOINT), self._book().in_force("checkpoints"))
            self.checkpoint = parse_checkpoint(note.text)
        except MeterprintError as error:
            raise _Broken(str(error), CHECKPOINT) from error
        if self.checkpoint.origin != note.signers[0].name:
            raise _Broken(self.checkpoint.origin, CHECKPOINT, note.signers[0].name)
        return f"{self.checkpoint.origin}, {self.checkpoint.size} entries"

    def _reaches_head(self, chain: str) -> None:
        assert self.checkpoint is not None
        head = next((h for h in self.checkpoint.chains if h.chain == chain), None)
        audited = self.chains[chain]
        last = audited[-1].identity if audited else ""
        if head is None or (head.count, head.identity) != (len(audited), last):
            stated = f"{head.count} facts ending in {head.identity}" if head else "no such chain"
            raise _Broken(f"{len(audited)} facts ending in {last}", header_file(chain), stated)

    def _open_facts(self, chain: str) -> int:
        bodies = self._bodies(chain)
        for audited in self.chains[chain]:
            entry = bodies.get(audited.header.seq)
            if entry is None:
                continue
            data, salt, name = entry
            try:
                subject, body = open_body(audited.header, data, salt)
            except MeterprintError as error:
                raise _Broken(str(error), name) from error
            self.facts.append(Fact(audited.header, audited.identity, subject, body))
        return len(bodies)

    def registry_complete(self) -> str:
        self._reaches_head(REGISTRY)
        bodies = self._bodies(REGISTRY)
        for audited in self.chains[REGISTRY]:
            if audited.header.seq not in bodies:
                raise _Broken(
                    f"the body of {audited.header.type} "
                    f"(registry#{audited.header.seq}) is left out",
                    header_file(REGISTRY),
                    "the body of every registry fact",
                )
        return f"{self._open_facts(REGISTRY)} facts"

    def _production(self) -> list[str]:
        prefix, suffix = header_file("production/").removesuffix(".headers.jsonl"), ".headers.jsonl"
        return sorted(
            name.removeprefix("facts/").removesuffix(suffix)
            for name in self.files
            if name.startswith(prefix) and name.endswith(suffix)
        )

    def production_chains(self) -> str:
        count = 0
        for chain in self._production():
            shown = set(self._bodies(chain))
            keys = self._book().of_role("facts")
            try:
                self.chains[chain] = audit_chain(
                    chain,
                    self._headers(chain),
                    lambda header, shown=shown, keys=keys: keys if header.seq in shown else None,  # type: ignore[misc]
                )
            except ChainFault as error:
                raise _Broken(str(error), header_file(chain)) from error
            self._reaches_head(chain)
            count += self._open_facts(chain)
        return f"{len(self._production())} lines, {count} events shown"

    def _engine(self) -> Engine:
        if self.engine is None:
            origins = {}
            for chain in self._production():
                origin = origin_of(a.header for a in self.chains[chain])
                if origin is not None:
                    origins[chain.removeprefix("production/")] = origin
            self.engine = Engine(Knowledge(self.facts, origins), self.readings)
        return self.engine

    def _computed(self) -> BatchResult:
        if self.verdict.result is None:
            name = str(self.verdict.stated.get("batch", ""))
            result = self._engine().batch(name)
            if result is None:
                raise _Broken(f"no fact starts batch {name!r}", RESULT)
            self.verdict.result = result
        return self.verdict.result

    def production_complete(self) -> str:
        engine = self._engine()
        name = str(self.verdict.stated.get("batch", ""))
        found = engine.find(name)
        if found is None:
            raise _Broken(f"no fact starts batch {name!r}", RESULT)
        probe = Engine(engine.knowledge, MemoryReadings()).batch(name)
        assert probe is not None
        lines, start, end = cover(engine, probe)
        for line in lines:
            chain = production_chain(line)
            if chain not in self.chains:
                raise _Broken(f"the batch events of line {line} are left out", header_file(chain))
            self._line_complete(line, chain, start, end)
        return f"{', '.join(lines)}: all batches in the time it rests on"

    def _line_complete(self, line: str, chain: str, start: int, end: int) -> None:
        rows = [
            (
                a.header.seq,
                a.header.type,
                a.header.subject_id,
                a.header.valid_from,
                a.header.supersedes,
            )
            for a in self.chains[chain]
        ]
        shown = {fact.header.seq for fact in self.facts if fact.header.chain == chain}
        subjects = {a.header.subject_id for a in self.chains[chain] if a.header.seq in shown}
        spans = interval_by_headers(rows)
        known = disclosed(self._engine().timeline(line), start, end)
        ends = [span[1] for s, span in spans.items() if s in subjects and span[1] <= start]
        starts = [span[0] for s, span in spans.items() if s in subjects and span[0] >= end]
        for subject, (first, last) in spans.items():
            if subject in subjects:
                continue
            touches = first < end and last > start
            nearer_before = last <= start and last > max(ends, default=-1)
            nearer_after = first >= end and first < min(starts, default=2**63)
            if touches or nearer_before or nearer_after:
                raise _Broken(
                    f"a batch of line {line} from {first} to {last} is left out",
                    header_file(chain),
                    f"every batch that touches [{start}, {end}); shown: {', '.join(known)}",
                )
        for audited in self.chains[chain]:
            if audited.header.subject_id in subjects and audited.header.seq not in shown:
                raise _Broken(
                    f"{audited.header.type} ({chain}#{audited.header.seq}) is left out",
                    header_file(chain),
                )

    def stream_heads(self) -> str:
        assert self.checkpoint is not None
        text = self.file(STREAM_HEADS)
        seen = hashlib.sha256(text).hexdigest()
        if seen != self.checkpoint.streams:
            raise _Broken(seen, STREAM_HEADS, self.checkpoint.streams)
        return f"{len(parse_stream_list(text))} heads"

    def _entries(self, folder: str) -> list[tuple[str, int, bytes, bytes, list[bytes]]]:
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
                        record.text("note", limit=100_000).encode(),
                        [bytes.fromhex(str(node)) for node in record.array("proof", limit=64)],
                    )
                )
            except (MeterprintError, ValueError) as error:
                raise _Broken(f"{name}: {error}", name) from error
        return entries

    def _included(self, kind: int, folder: str) -> int:
        assert self.checkpoint is not None
        entries = self._entries(folder)
        for name, index, salt, note, proof in entries:
            leaf = leaf_hash(entry_leaf_data(kind, salt, note))
            try:
                verify_inclusion(leaf, index, self.checkpoint.size, proof, self.checkpoint.root)
            except EvidenceError as error:
                raise _Broken(str(error), name) from error
        return len(entries)

    def channel_tables(self) -> str:
        self._included(3, "tables/")
        for name, _, _, note, _ in self._entries("tables/"):
            try:
                text, lines = split(note)
                open_note(note, self._book().agent(lines[0].name))
                self.readings.add_table(identity(text), parse_table(text))
            except MeterprintError as error:
                raise _Broken(str(error), name) from error
        return f"{len(self._entries('tables/'))} tables"

    def envelope_signatures(self) -> str:
        count = readings = 0
        for name, _, _, note, _ in self._entries("envelopes/"):
            try:
                text, lines = split(note)
                open_note(note, self._book().agent(lines[0].name))
                envelope = parse(text)
                if envelope.agent != lines[0].name:
                    raise _Broken(f"signed by {lines[0].name}, says {envelope.agent}", name)
            except _Broken:
                raise
            except MeterprintError as error:
                raise _Broken(str(error), name) from error
            self.readings.add_envelope(identity(text), envelope)
            count += 1
            readings += envelope.readings
        return f"{count} envelopes, {readings} readings"

    def inclusion(self) -> str:
        return f"{self._included(1, 'envelopes/')} proofs"

    def envelope_chains(self) -> str:
        texts = []
        for (agent, stream), chain in self.readings.chains():
            links = {link.identity: link for link in chain.links()}
            followed = {link.prev for link in links.values()}
            firsts = [link for link in links.values() if link.prev not in links]
            if len(firsts) > 1:
                link = max(firsts, key=lambda item: item.t_first)
                raise _Broken(
                    f"{agent}/{stream}: envelope {link.epoch}#{link.seq} follows one that is "
                    "left out",
                    expected="one unbroken chain",
                )
            heads = [link for link in links.values() if link.identity not in followed]
            if len(heads) > 1:
                raise _Broken(f"{agent}/{stream}: the chain forks", expected="one unbroken chain")
            texts.append(f"{agent}/{stream}: {len(links)}")
        return ", ".join(texts) or "none needed"

    def completeness(self) -> str:
        result = self._computed()
        stated = self.verdict.stated
        if result.state.value != stated.get("state"):
            waits = ", ".join(result.waits)
            raise _Broken(f"{result.state.value} {waits}".strip(), RESULT, str(stated.get("state")))
        missing = f", incomplete: {', '.join(result.incomplete)}" if result.incomplete else ""
        return f"{result.state.value}{missing}"

    def recompute(self) -> str:
        computed = self._computed().to_json()
        stated = self.verdict.stated
        for name in ("footprint", "per_unit", "quantity"):
            if computed[name] != stated.get(name):
                raise _Broken(f"{name} {computed[name]}", RESULT, f"{name} {stated.get(name)}")
        return f"{computed['footprint']} {computed['footprint_unit']}"

    def digest(self) -> str:
        seen = self._computed().digest()
        stated = self.verdict.stated
        if seen != stated.get("digest"):
            raise _Broken(seen, RESULT, str(stated.get("digest")))
        plain = {k: v for k, v in stated.items() if k != "digest"}
        if plain != self._computed().to_json():
            raise _Broken("the stated result differs from its digest", RESULT)
        return seen


FATAL = frozenset({"manifest", "registry_chain", "checkpoint", "production_chains"})
"""Checks without which the later ones mean nothing."""


def _header(note: bytes) -> FactHeader:
    from mrv.fact import parse_header  # noqa: PLC0415 (used once)

    return parse_header(split(note)[0])


def verify(data: bytes, trust: PublicKey | None = None) -> Verdict:
    """Check a bundle. Never raises for bad bytes: what is wrong is in the verdict."""
    return _Verification(trust).run(data)


def read_trust(text: str) -> PublicKey:
    """The key named by `--trust`: a vkey, or a file that holds one. Raises InputError."""
    try:
        return PublicKey.parse(text)
    except EvidenceError:
        path = Path(text)
    try:
        lines = path.read_text().split()
        return PublicKey.parse(lines[0])
    except (OSError, IndexError, UnicodeDecodeError, EvidenceError) as error:
        raise InputError(
            f"neither a key nor a file with one: {text[:80]}",
            hint="ask the site for the line `meterprint keys show` prints",
        ) from error


def render(verdict: Verdict) -> str:
    """The verdict for people."""
    marks = {PASS: "pass", FAIL: "FAIL", NOT_CHECKABLE: "not checkable"}
    lines = []
    for check in verdict.checks:
        lines.append(f"{marks[check.result]:<14}{check.id:<22}{check.actual}")
        if check.result == FAIL:
            lines.append(f"{'':<14}expected: {check.expected}")
            if check.file:
                lines.append(f"{'':<14}file: {check.file}")
    result = verdict.result
    if result is not None:
        name = "partial footprint" if result.boundary == "gate_to_gate" else "footprint"
        figure = result.to_json()
        lines.append(
            f"{name} of batch {figure['batch']}: {figure['footprint']} kgCO2e, "
            f"u = {figure['u']} kgCO2e, {figure['per_unit']} kgCO2e per {result.unit}"
        )
        if result.incomplete:
            lines.append(f"incomplete: {', '.join(result.incomplete)}")
    lines.append("verified" if verdict.ok else "NOT verified")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Command line: 0 every check passed, 1 one did not, 2 the call is wrong."""
    parser = argparse.ArgumentParser(prog="python -m footprint.verify", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--trust", default="", help="the site's root key (vkey or file)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        trust = read_trust(options.trust) if options.trust else None
        data = options.bundle.read_bytes()
    except (InputError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    verdict = verify(data, trust)
    text = json.dumps(verdict.to_json(), ensure_ascii=False) if options.json else render(verdict)
    sys.stdout.write(text + "\n")
    return 0 if verdict.ok else 1


if __name__ == "__main__":
    sys.exit(main())


__all__ = ["CHECKS", "Check", "ContainerError", "Verdict", "main", "read_trust", "render", "verify"]
