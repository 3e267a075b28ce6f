"""Makes an evidence bundle of a batch from a journal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from footprint.bundle import (
    CHECKPOINT,
    MANIFEST,
    RESULT,
    STREAM_HEADS,
    BundleFiles,
    Needs,
    body_file,
    entry_record,
    envelope_file,
    header_file,
    key_fact_file,
    needs_of,
    table_file,
)
from footprint.engine import Engine
from footprint.key_sheet import KEY_SHEET, key_rows, one_key_rule, sheet_json
from footprint.registry import UNDERSTOOD
from ingest.entry import Entry
from ingest.facts import read_fact
from ingest.journal import Journal
from ingest.keyring import Keyring
from mrv.errors import InputError, MeterprintError
from mrv.fact import REGISTRY, FactHeader, parse_header, production_chain
from mrv.strict_json import dumps
from mrv.verification.audit import KEY_FACTS
from mrv.verification.checkpoint import stream_list
from mrv.verification.container import write
from mrv.verification.note import PublicKey, sign, split


def make_bundle(
    journal: Journal, keyring: Keyring, engine: Engine, batch: str, *, open_pool: bool = False
) -> bytes:
    """The bundle of a batch, deterministic for one state of the journal.

    Events of other batches that share its pools stay closed behind a key sheet, unless
    `open_pool`. Raises InputError where there is no such batch.
    """
    needs = needs_of(engine, batch)
    if needs is None:
        raise InputError(f"no batch is called {batch!r}", hint="see `meterprint batch list`")
    bundle = BundleFiles()
    bundle.files[CHECKPOINT] = journal.checkpoint()
    bundle.files[STREAM_HEADS] = stream_list(journal.stream_heads())
    size, tree = journal.size, journal.tree()
    registry = journal.facts_of(REGISTRY)
    _add_registry(bundle, registry)
    signed: set[tuple[str, bytes]] = set()

    def record(entry: Entry) -> Mapping[str, object]:
        proof = tree.inclusion_proof(entry.index, size)
        return entry_record(entry.index, entry.salt, entry.note, proof)

    chains = {line: journal.facts_of(production_chain(line)) for line in needs.lines}
    _add_production(bundle, engine, needs, chains, open_pool=open_pool)
    for link in needs.links:
        place = (link.agent, link.stream, link.epoch)
        index = journal.index_at(place, link.seq, link.identity)
        if index is None:
            index = journal.index_of(link.identity)
        if index is None:
            raise InputError(f"the journal lacks envelope {link.identity}")
        entry = journal.entry(index)
        signed |= _signers(entry)
        bundle.add_json(envelope_file(link.stream, index), record(entry))
    for identity in needs.tables:
        index = journal.index_of(identity)
        if index is not None:
            entry = journal.entry(index)
            signed |= _signers(entry)
            bundle.add_json(table_file(identity), record(entry))
    for seq, entry in _key_facts(registry, signed):
        bundle.add_json(key_fact_file(seq), record(entry))
    bundle.add_json(RESULT, {**needs.result.to_json(), "digest": needs.result.digest()})
    bundle.files[MANIFEST] = sign(bundle.manifest(journal.site, batch), keyring.checkpoints)
    return write(bundle.files)


def _signers(entry: Entry) -> set[tuple[str, bytes]]:
    """(name, key id) of those who signed an entry."""
    return {(line.name, line.key_id) for line in split(entry.note)[1]}


def _key_facts(
    registry: Sequence[Entry], signed: set[tuple[str, bytes]]
) -> Iterator[tuple[int, Entry]]:
    """Facts that enrol or revoke a key that signed something, with their numbers."""
    for seq, entry in enumerate(registry):
        if _header(entry).type in KEY_FACTS:
            with suppress(MeterprintError):  # one nobody can read is named by the verifier
                fact = read_fact(entry.note, entry.body, entry.body_salt, entry.index)
                key = PublicKey.parse(str(fact.body.get("vkey", "")))
                if (key.name, key.key_id) in signed:
                    yield seq, entry


def _header(entry: Entry) -> FactHeader:
    return parse_header(split(entry.note)[0])


def _add_headers(bundle: BundleFiles, chain: str, entries: Sequence[Entry]) -> None:
    if entries:
        bundle.files[header_file(chain)] = b"".join(
            dumps(entry.note.decode()) + b"\n" for entry in entries
        )


def _add_registry(bundle: BundleFiles, entries: Sequence[Entry]) -> None:
    """All headers; bodies of what a figure may rest on."""
    _add_headers(bundle, REGISTRY, entries)
    for seq, entry in enumerate(entries):
        if _header(entry).type in (*UNDERSTOOD, *KEY_FACTS):
            _add_body(bundle, REGISTRY, seq, entry)


def _add_production(
    bundle: BundleFiles,
    engine: Engine,
    needs: Needs,
    chains: Mapping[str, Sequence[Entry]],
    *,
    open_pool: bool,
) -> None:
    """All headers of the lines; bodies of the batch itself, and a key sheet for the others."""
    own = needs.result.batch
    wanted = set(needs.batches)
    others = [
        batch
        for line in needs.lines
        for name, batch in engine.timeline(line).batches.items()
        if name in wanted and name != own.id
    ]
    closed = [] if open_pool else others
    if not one_key_rule(engine, others, needs.start, needs.end):
        closed = []
    headers = {line: [_header(entry) for entry in entries] for line, entries in chains.items()}
    ids = {b.id: headers[b.line][b.facts[0]].subject_id for b in (own, *others)}
    shown = {ids[b.id] for b in (own, *others) if b not in closed}
    for line, entries in chains.items():
        chain = production_chain(line)
        _add_headers(bundle, chain, entries)
        for seq, entry in enumerate(entries):
            if headers[line][seq].subject_id in shown:
                _add_body(bundle, chain, seq, entry)
    if closed:
        bodies = {
            b.id: (ids[b.id], headers[b.line][b.facts[-1]].body_id if b.end is not None else None)
            for b in closed
        }
        bundle.add_json(KEY_SHEET, sheet_json(key_rows(engine, own, closed, bodies)))


def _add_body(bundle: BundleFiles, chain: str, seq: int, entry: Entry) -> None:
    if entry.body is not None and entry.body_salt is not None:
        bundle.add_json(
            body_file(chain, seq),
            {"salt": entry.body_salt.hex(), "body": entry.body.decode()},
        )
