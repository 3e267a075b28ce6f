"""Journals for tests: signed envelopes of several streams, tables and facts."""

from __future__ import annotations

import random
from fractions import Fraction

from edge_agent.chain import StreamChain
from edge_agent.source import RawReading
from ingest.entry import Draft, EntryKind
from ingest.facts import FactWriter
from ingest.journal import Journal
from ingest.keyring import Keyring
from mrv.channel import AssuranceTier, Channel, ChannelKind, ChannelTable, render_table
from mrv.envelope import Clock, ClockState, parse
from mrv.fact import REGISTRY, production_chain
from mrv.verification.note import SecretKey, identity, sign, split

S = 10**9
SITE = "cold-site"
START = 1_780_000_000 * S
KEYS = [SecretKey(f"gateway-{i}", bytes([i + 1]) * 32) for i in range(2)]


class Plant:
    """Cuts envelopes as agents do: jittered times, rising counters, noisy gauges."""

    def __init__(self, seed: int = 1, streams: int = 3, registers: int = 2) -> None:
        self.choice = random.Random(seed)
        self.at = START
        self.chains = [
            StreamChain(
                SITE,
                f"line-{number}",
                KEYS[number % 2],
                "ab" * 32,
                None,
                now=lambda: self.at,
                mono=lambda: self.at - START + 7,
                boot="boot",
                epoch=f"{self.choice.getrandbits(64):016x}",
            )
            for number in range(streams)
        ]
        self.shown = {(s, r): 10**6 * (s + 1) for s in range(streams) for r in range(registers)}
        self.registers = registers

    def envelope(self, rows: int = 4) -> bytes:
        """The next signed envelope."""
        stream = self.choice.randrange(len(self.chains))
        readings = []
        for row in range(rows):
            for register in range(self.registers):
                shown = self.shown[stream, register] + self.choice.randrange(30)
                self.shown[stream, register] = shown
                t = self.at + row * S + self.choice.randrange(2_000_000)
                value = shown if self.choice.random() > 0.02 else None
                readings.append(RawReading(f"meter-{stream}.r{register}", t, 0, value))
        self.at += rows * S
        return self.chains[stream].cut(readings, Clock(ClockState.SYNCHRONISED, 5, "ntp"))[0].note


def draft(note: bytes) -> Draft:
    """An envelope as ingest enters it."""
    text = split(note)[0]
    return Draft(EntryKind.ENVELOPE, note, identity(text), envelope=parse(text))


def table_draft(key: SecretKey = KEYS[0]) -> Draft:
    channel = Channel(
        "meter-0.r0", ChannelKind.COUNTER, "meter-0", "1", "r0", Fraction(1, 100), "kWh",
        Fraction(1), "", AssuranceTier.AGENT_SIGNED,
    )  # fmt: skip
    text = render_table(ChannelTable(SITE, key.name, (channel,)))
    return Draft(EntryKind.TABLE, sign(text, key), identity(text))


def open_journal(folder) -> tuple[Journal, Keyring]:
    ring = Keyring.open(folder / "keys", SITE)
    return Journal(folder / "journal.db", SITE, ring.checkpoints), ring


def fill(journal: Journal, ring: Keyring, count: int, plant: Plant, group: int = 100) -> None:
    """Grow a journal to `count` entries: facts of two chains and a table among envelopes."""
    writer = FactWriter(journal, ring)
    writer.found("test")
    journal.append([table_draft()])
    while journal.size < count:
        some = min(group, count - journal.size)
        journal.append([draft(plant.envelope()) for _ in range(some)])
        if journal.size < count:
            number = journal.size
            body = {"line": "l", "product": "p"}
            writer.record(production_chain("l"), "batch_started", f"b{number}", body, author="t")
    assert journal.chain_length(REGISTRY)[0] == 4


def content(journal: Journal) -> list[tuple[object, ...]]:
    """Everything an outsider can ask of a journal, comparable."""
    entries = [
        (e.index, int(e.kind), e.salt, e.note, e.identity, e.body, e.body_salt)
        for e in journal.entries()
    ]
    heads = journal.stream_heads()
    runs = [journal.runs(h.agent, h.stream, h.epoch) for h in heads]
    held = [journal.held(h.agent, h.stream, h.epoch) for h in heads]
    chains = journal.chain_heads()
    facts = [[f.identity for f in journal.facts_of(c.chain)] for c in chains]
    every = [f.index for f in journal.facts()]
    places = [journal.index_of(e[4]) for e in entries]
    tree = journal.tree()
    some = range(0, journal.size, 37)
    proofs = [tree.inclusion_proof(index, journal.size) for index in some]
    return [journal.size, journal.root(), entries, heads, runs, held, chains, facts, every, places,
            proofs]  # fmt: skip
