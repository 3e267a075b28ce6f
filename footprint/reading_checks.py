"""Checks of a bundle's readings, and the recomputation of its figure."""

from __future__ import annotations

from footprint.batch import BatchState
from footprint.bundle import RESULT
from footprint.opened_bundle import Broken, OpenedBundle
from mrv.channel import parse_table
from mrv.envelope import parse
from mrv.errors import EvidenceError, MeterprintError
from mrv.verification.merkle import entry_leaf_data, leaf_hash, verify_inclusion
from mrv.verification.note import identity, open_note, split


def included(opened: OpenedBundle, kind: int, folder: str) -> int:
    """Entries of a folder, each proven to be in the journal. Raises Broken."""
    assert opened.checkpoint is not None
    entries = opened.entries(folder)
    for name, index, salt, note, proof in entries:
        leaf = leaf_hash(entry_leaf_data(kind, salt, note))
        try:
            verify_inclusion(leaf, index, opened.checkpoint.size, proof, opened.checkpoint.root)
        except EvidenceError as error:
            raise Broken(str(error), name) from error
    return len(entries)


def channel_tables(opened: OpenedBundle) -> str:
    """Channel tables are signed by their agents and in the journal."""
    included(opened, 3, "tables/")
    for name, _, _, note, _ in opened.entries("tables/"):
        try:
            text, lines = split(note)
            open_note(note, opened.keys().agent(lines[0].name))
            opened.readings.add_table(identity(text), parse_table(text))
        except MeterprintError as error:
            raise Broken(str(error), name) from error
    return f"{len(opened.entries('tables/'))} tables"


def envelope_signatures(opened: OpenedBundle) -> str:
    """Envelopes are signed by enrolled agents; their readings become known."""
    count = readings = 0
    for name, _, _, note, _ in opened.entries("envelopes/"):
        try:
            text, lines = split(note)
            open_note(note, opened.keys().agent(lines[0].name))
            envelope = parse(text)
            if envelope.agent != lines[0].name:
                raise Broken(f"signed by {lines[0].name}, says {envelope.agent}", name)
        except Broken:
            raise
        except MeterprintError as error:
            raise Broken(str(error), name) from error
        opened.readings.add_envelope(identity(text), envelope)
        count += 1
        readings += envelope.readings
    return f"{count} envelopes, {readings} readings"


def inclusion(opened: OpenedBundle) -> str:
    """Every envelope has a proof that it is in the journal."""
    return f"{included(opened, 1, 'envelopes/')} proofs"


def envelope_chains(opened: OpenedBundle) -> str:
    """The envelopes of each stream follow each other without a hole.

    A fork is an outbox restored from a backup, never fraud (design §3); it is said. Whether the
    stretch is proven all the same, the engine judges with the figure.
    """
    texts = []
    for (agent, stream), chain in opened.readings.chains():
        links = {link.identity: link for link in chain.links()}
        firsts = [link for link in links.values() if link.prev not in links]
        if len(firsts) > 1:
            link = max(firsts, key=lambda item: item.t_first)
            raise Broken(
                f"{agent}/{stream}: envelope {link.epoch}#{link.seq} follows one that is left out",
                expected="one unbroken chain",
            )
        forked = sum(1 for _ in chain.forks())
        said = f", {forked} forks" if forked else ""
        texts.append(f"{agent}/{stream}: {len(links)}{said}")
    return ", ".join(texts) or "none needed"


def completeness(opened: OpenedBundle) -> str:
    """The figure is settled, as stated."""
    result = opened.computed()
    stated = opened.verdict.stated
    if result.state.value != stated.get("state"):
        waits = ", ".join(result.waits)
        raise Broken(f"{result.state.value} {waits}".strip(), RESULT, str(stated.get("state")))
    if result.state is BatchState.PROVISIONAL:
        waits = ", ".join(result.waits)
        raise Broken(f"provisional, waits for {waits}", RESULT, "a figure that is settled")
    missing = f", incomplete: {', '.join(result.incomplete)}" if result.incomplete else ""
    return f"{result.state.value}{missing}"


def recompute(opened: OpenedBundle) -> str:
    """Footprint, quantity and quotient come out as stated."""
    computed = opened.computed().to_json()
    stated = opened.verdict.stated
    for name in ("footprint", "per_unit", "quantity"):
        if computed[name] != stated.get(name):
            raise Broken(f"{name} {computed[name]}", RESULT, f"{name} {stated.get(name)}")
    return f"{computed['footprint']} {computed['footprint_unit']}"


def digest(opened: OpenedBundle) -> str:
    """The whole result comes out as stated."""
    seen = opened.computed().digest()
    stated = opened.verdict.stated
    if seen != stated.get("digest"):
        raise Broken(seen, RESULT, str(stated.get("digest")))
    plain = {k: v for k, v in stated.items() if k != "digest"}
    if plain != opened.computed().to_json():
        raise Broken("the stated result differs from its digest", RESULT)
    return seen
