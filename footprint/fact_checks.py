"""Checks of a bundle's manifest, keys, checkpoint and facts."""

from __future__ import annotations

import hashlib
from typing import Any

from footprint.batch import METHOD, Part
from footprint.bundle import (
    BUNDLE_VERSION,
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
from footprint.intake import MemoryReadings
from footprint.key_sheet import KEY_SHEET, closed_batches, closed_fact, read_sheet
from footprint.opened_bundle import Broken, NotCheckable, OpenedBundle
from footprint.registry import UNDERSTOOD
from mrv.errors import MeterprintError
from mrv.fact import REGISTRY, Fact, open_body, parse_header, production_chain
from mrv.strict_json import Record, loads
from mrv.verification.audit import KEY_FACTS, ChainFault, audit_chain, audit_registry
from mrv.verification.checkpoint import parse_checkpoint, parse_stream_list
from mrv.verification.note import PublicKey, open_note, split


def manifest(opened: OpenedBundle) -> str:
    """Every file has the hash the manifest lists, and none is missing."""
    try:
        text, _ = split(opened.file(MANIFEST))
        record = Record(loads(text[:-1]))
        listed = record.record("files")
    except MeterprintError as error:
        raise Broken(str(error), MANIFEST) from error
    names = record.raw("files")
    for name, content in sorted(opened.files.items()):
        if name == MANIFEST:
            continue
        seen = hashlib.sha256(content).hexdigest()
        stated = listed.text(name, limit=64) if name in names else "none"
        if seen != stated:
            _blame_manifest(opened)
            raise Broken(f"{name} has SHA-256 {seen}", name, f"SHA-256 {stated}")
    for name in sorted(names):
        if name not in opened.files:
            _blame_manifest(opened)
        opened.file(name)
    try:
        stated_result = loads(opened.file(RESULT).rstrip(b"\n"))
    except MeterprintError as error:
        raise Broken(str(error), RESULT) from error
    opened.verdict.stated = stated_result if isinstance(stated_result, dict) else {}
    opened.layout = record.integer("v")
    if not 1 <= opened.layout <= BUNDLE_VERSION:
        expected = f"a layout up to {BUNDLE_VERSION}, which this program has"
        raise Broken(f"layout {opened.layout}", MANIFEST, expected)
    method = record.text("method")
    if method != METHOD:
        raise Broken(f"method {method}", MANIFEST, f"method {METHOD}, which this program has")
    return f"{len(names)} files"


def _blame_manifest(opened: OpenedBundle) -> None:
    """Where a hash differs, it may be the manifest that was changed: its signature tells."""
    try:
        registry_chain(opened)
    except MeterprintError:
        return
    manifest_signature(opened)


def registry_chain(opened: OpenedBundle) -> str:
    """The registry runs without a gap, each fact signed by a key in force."""
    notes, bodies = opened.headers(REGISTRY), opened.bodies(REGISTRY)
    name = header_file(REGISTRY)
    bodies_of_keys: dict[int, dict[str, Any]] = {}
    root: PublicKey | None = None
    try:
        for seq, note in enumerate(notes):
            header = parse_header(split(note)[0])
            if header.type in KEY_FACTS and seq in bodies:
                data, salt, _ = bodies[seq]
                bodies_of_keys[seq] = open_body(header, data, salt)[1]
        root = PublicKey.parse(str(bodies_of_keys.get(0, {}).get("vkey", "")))
        audited, opened.book = audit_registry(notes, bodies_of_keys, root)
    except MeterprintError as error:
        raise Broken(str(error), name) from error
    opened.chains[REGISTRY] = audited
    return f"{len(audited)} facts"


def trusted(opened: OpenedBundle) -> str:
    """The root key is the trusted one."""
    book = opened.keys()
    assert opened.trust is not None
    if book.root.key != opened.trust.key:
        raise Broken(book.root.vkey, header_file(REGISTRY), opened.trust.vkey)
    return book.root.vkey


def manifest_signature(opened: OpenedBundle) -> str:
    """The site signed the manifest."""
    try:
        note = open_note(opened.file(MANIFEST), opened.keys().of_role("checkpoints"))
    except MeterprintError as error:
        raise Broken(str(error), MANIFEST) from error
    return note.signers[0].name


def read_checkpoint(opened: OpenedBundle) -> str:
    """The checkpoint is signed by the key in force, and becomes known."""
    try:
        note = open_note(opened.file(CHECKPOINT), opened.keys().in_force("checkpoints"))
        opened.checkpoint = parse_checkpoint(note.text)
    except MeterprintError as error:
        raise Broken(str(error), CHECKPOINT) from error
    if opened.checkpoint.origin != note.signers[0].name:
        raise Broken(opened.checkpoint.origin, CHECKPOINT, note.signers[0].name)
    return f"{opened.checkpoint.origin}, {opened.checkpoint.size} entries"


def _reaches_head(opened: OpenedBundle, chain: str) -> None:
    assert opened.checkpoint is not None
    head = next((h for h in opened.checkpoint.chains if h.chain == chain), None)
    audited = opened.chains[chain]
    last = audited[-1].identity if audited else ""
    if head is None or (head.count, head.identity) != (len(audited), last):
        stated = f"{head.count} facts ending in {head.identity}" if head else "no such chain"
        raise Broken(f"{len(audited)} facts ending in {last}", header_file(chain), stated)


def _open_facts(opened: OpenedBundle, chain: str) -> int:
    bodies = opened.bodies(chain)
    for audited in opened.chains[chain]:
        entry = bodies.get(audited.header.seq)
        if entry is None:
            closed = opened.closed.get(audited.header.subject_id)
            if closed is not None and audited.header.type in ("batch_started", "batch_ended"):
                opened.facts.append(closed_fact(audited.header, audited.identity, closed))
            continue
        data, salt, name = entry
        try:
            subject, body = open_body(audited.header, data, salt)
        except MeterprintError as error:
            raise Broken(str(error), name) from error
        opened.facts.append(Fact(audited.header, audited.identity, subject, body))
    return len(bodies)


def registry_complete(opened: OpenedBundle) -> str:
    """The registry reaches the checkpoint and shows the body of every fact a figure may rest on."""
    _reaches_head(opened, REGISTRY)
    bodies = opened.bodies(REGISTRY)
    for audited in opened.chains[REGISTRY]:
        needed = audited.header.type in (*UNDERSTOOD, *KEY_FACTS)
        if needed and audited.header.seq not in bodies:
            raise Broken(
                f"the body of {audited.header.type} (registry#{audited.header.seq}) is left out",
                header_file(REGISTRY),
                "the body of every registry fact a figure may rest on",
            )
    return f"{_open_facts(opened, REGISTRY)} facts"


def production_chains(opened: OpenedBundle) -> str:
    """Each line in the bundle has its events without a gap up to the checkpoint."""
    count = 0
    _read_sheet(opened)
    for chain in opened.production():
        shown = set(opened.bodies(chain))
        keys = opened.keys().of_role("facts")
        try:
            opened.chains[chain] = audit_chain(
                chain,
                opened.headers(chain),
                lambda header, shown=shown, keys=keys: keys if header.seq in shown else None,  # type: ignore[misc]
            )
        except ChainFault as error:
            raise Broken(str(error), header_file(chain)) from error
        _reaches_head(opened, chain)
        count += _open_facts(opened, chain)
    return f"{len(opened.production())} lines, {count} events shown"


def _read_sheet(opened: OpenedBundle) -> None:
    """The key sheet, where there is one; its rows stand for batches that stay closed."""
    if KEY_SHEET not in opened.files:
        return
    stated = opened.verdict.stated
    try:
        rows = read_sheet(opened.file(KEY_SHEET))
    except MeterprintError as error:
        raise Broken(str(error), KEY_SHEET) from error
    own, product = str(stated.get("batch", "")), str(stated.get("product", ""))
    opened.closed = closed_batches(rows, own, product)


def pool_keys(opened: OpenedBundle) -> str:
    """The key sheet names the bodies the headers name; whether the figure rests on its keys."""
    engine = opened.engine()
    ends = {}
    for chain in opened.production():
        for audited in opened.chains[chain]:
            if audited.header.type == "batch_ended":
                ends[chain, audited.header.seq] = audited.header.body_id
    for closed in opened.closed.values():
        timeline = engine.timeline(closed.row.line)
        batch = timeline.batches.get(closed.name)
        chain = production_chain(closed.row.line)
        body = ends.get((chain, batch.facts[-1])) if batch and batch.end is not None else None
        if batch is None or body != closed.row.body:
            raise Broken(
                f"the row of batch {closed.row.batch[:16]} names body {closed.row.body}",
                KEY_SHEET,
                f"body {body}, as the header of its end does",
            )
    result = opened.computed()
    pooled = (Part.IDLE, Part.UNATTRIBUTED, Part.SHARED)
    shared = [s.source for s in result.sources for p, v in s.parts if p in pooled and v]
    if opened.closed and shared:
        raise NotCheckable(
            f"{', '.join(sorted(set(shared)))}: shares by the stated keys of "
            f"{len(opened.closed)} batches whose events stay closed"
        )
    if not opened.closed:
        return "no batch stays closed"
    return f"{len(opened.closed)} batches stay closed, nothing was shared with them"


def production_complete(opened: OpenedBundle) -> str:
    """No batch that touches the time the figure rests on is left out."""
    engine = opened.engine()
    name = str(opened.verdict.stated.get("batch", ""))
    found = engine.find(name)
    if found is None:
        raise Broken(f"no fact starts batch {name!r}", RESULT)
    probe = Engine(engine.knowledge, MemoryReadings()).batch(name)
    if probe is None:
        raise Broken("no registry fact says what the plant is", header_file(REGISTRY))
    lines, start, end = cover(engine, probe)
    assert opened.checkpoint is not None
    stated = {head.chain for head in opened.checkpoint.chains}
    for line in lines:
        chain = production_chain(line)
        if chain not in opened.chains:
            if chain not in stated:
                continue
            raise Broken(f"the batch events of line {line} are left out", header_file(chain))
        _line_complete(opened, line, chain, start, end)
    return f"{', '.join(lines)}: all batches in the time it rests on"


def _line_complete(opened: OpenedBundle, line: str, chain: str, start: int, end: int) -> None:
    rows = [
        (
            a.header.seq,
            a.header.type,
            a.header.subject_id,
            a.header.valid_from,
            a.header.supersedes,
        )
        for a in opened.chains[chain]
    ]
    bodies = opened.bodies(chain)
    shown = {a.header.subject_id for a in opened.chains[chain] if a.header.seq in bodies}
    subjects = shown | opened.closed.keys()
    spans = interval_by_headers(rows)
    known = disclosed(opened.engine().timeline(line), start, end)
    ends = [span[1] for s, span in spans.items() if s in subjects and span[1] <= start]
    starts = [span[0] for s, span in spans.items() if s in subjects and span[0] >= end]
    for subject, (first, last) in spans.items():
        if subject in subjects:
            continue
        touches = first < end and last > start
        nearer_before = last <= start and last > max(ends, default=-1)
        nearer_after = first >= end and first < min(starts, default=2**63)
        if touches or nearer_before or nearer_after:
            raise Broken(
                f"a batch of line {line} from {first} to {last} is left out",
                header_file(chain),
                f"every batch that touches [{start}, {end}); shown: {', '.join(known)}",
            )
    for audited in opened.chains[chain]:
        if audited.header.subject_id in shown and audited.header.seq not in bodies:
            raise Broken(
                f"{audited.header.type} ({chain}#{audited.header.seq}) is left out",
                header_file(chain),
            )


def stream_heads(opened: OpenedBundle) -> str:
    """The list of stream heads is the one the checkpoint binds."""
    assert opened.checkpoint is not None
    text = opened.file(STREAM_HEADS)
    seen = hashlib.sha256(text).hexdigest()
    if seen != opened.checkpoint.streams:
        raise Broken(seen, STREAM_HEADS, opened.checkpoint.streams)
    return f"{len(parse_stream_list(text))} heads"
