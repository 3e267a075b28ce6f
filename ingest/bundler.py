"""Makes an evidence bundle of a batch from a journal."""

from __future__ import annotations

from footprint.bundle import (
    CHECKPOINT,
    MANIFEST,
    RESULT,
    STREAM_HEADS,
    BundleFiles,
    body_file,
    entry_record,
    envelope_file,
    header_file,
    needs_of,
    table_file,
)
from footprint.engine import Engine
from ingest.entry import Entry
from ingest.facts import read_fact
from ingest.journal import Journal
from ingest.keyring import Keyring
from mrv.errors import InputError
from mrv.fact import REGISTRY, production_chain
from mrv.strict_json import dumps
from mrv.verification.checkpoint import stream_list
from mrv.verification.container import write
from mrv.verification.note import sign


def make_bundle(journal: Journal, keyring: Keyring, engine: Engine, batch: str) -> bytes:
    """The bundle of a batch, deterministic for one state of the journal.

    Raises InputError where there is no such batch.
    """
    needs = needs_of(engine, batch)
    if needs is None:
        raise InputError(f"no batch is called {batch!r}", hint="see `meterprint batch list`")
    bundle = BundleFiles()
    bundle.files[CHECKPOINT] = journal.checkpoint()
    bundle.files[STREAM_HEADS] = stream_list(journal.stream_heads())
    size, tree = journal.size, journal.tree()
    disclosed = set(needs.batches)
    for chain in (REGISTRY, *(production_chain(line) for line in needs.lines)):
        entries = journal.facts_of(chain)
        if not entries:
            continue
        bundle.files[header_file(chain)] = b"".join(
            dumps(entry.note.decode()) + b"\n" for entry in entries
        )
        for seq, entry in enumerate(entries):
            if chain == REGISTRY or _subject(entry) in disclosed:
                _add_body(bundle, chain, seq, entry)
    for link in needs.links:
        place = (link.agent, link.stream, link.epoch)
        index = journal.index_at(place, link.seq, link.identity)
        if index is None:
            index = journal.index_of(link.identity)
        if index is None:
            raise InputError(f"the journal lacks envelope {link.identity}")
        entry = journal.entry(index)
        proof = tree.inclusion_proof(index, size)
        bundle.add_json(
            envelope_file(link.stream, index), entry_record(index, entry.salt, entry.note, proof)
        )
    for identity in needs.tables:
        index = journal.index_of(identity)
        if index is not None:
            entry = journal.entry(index)
            proof = tree.inclusion_proof(index, size)
            bundle.add_json(
                table_file(identity), entry_record(index, entry.salt, entry.note, proof)
            )
    bundle.add_json(RESULT, {**needs.result.to_json(), "digest": needs.result.digest()})
    bundle.files[MANIFEST] = sign(bundle.manifest(journal.site, batch), keyring.checkpoints)
    return write(bundle.files)


def _subject(entry: Entry) -> str:
    return read_fact(entry.note, entry.body, entry.body_salt, entry.index).subject


def _add_body(bundle: BundleFiles, chain: str, seq: int, entry: Entry) -> None:
    if entry.body is not None and entry.body_salt is not None:
        bundle.add_json(
            body_file(chain, seq),
            {"salt": entry.body_salt.hex(), "body": entry.body.decode()},
        )
