"""Readings and chains out of segments are what they are in memory, whatever was sealed and merged."""

from __future__ import annotations

import random
from dataclasses import replace
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from footprint.intake import MemoryReadings
from ingest import channel_page, durable, manifest, segment_writer, series_parquet
from ingest import stored_readings as module
from ingest.series_parquet import ParquetStore
from ingest.stored_readings import StoredReadings
from mrv.column import Column
from mrv.envelope import Clock, ClockState, Envelope, Event, Head
from mrv.errors import MeterprintError
from mrv.series import SeriesKey

S = 10**9
GOOD = Clock(ClockState.SYNCHRONISED, 5, "ntp")
DOUBTED = Clock(ClockState.INFORMATIVE, 1000, "system")


def identity(epoch: int, seq: int, twin: int = 0) -> str:
    return f"{epoch:016x}{seq:032x}{twin:016x}"


def stream(choice: random.Random, count: int) -> list[tuple[str, Envelope]]:
    """Envelopes of one stream over some epochs: gaps, twins, backward clocks, amounts, failed reads."""
    made = []
    head: Head | None = None
    at, value = 100 * S, 0
    for epoch in range(3):
        prev = ""
        for seq in range(count):
            rows = choice.randint(1, 6)
            steps = [choice.choice((S, S, 2 * S, 40 * S, 1)) for _ in range(rows)]
            if choice.random() < 0.1:
                at -= 30 * S
            values = []
            for _ in range(rows):
                value += choice.randint(0, 9)
                values.append(None if choice.random() < 0.15 else value)
            columns = [Column("m.energy", at, steps, values, [""] * rows)]
            if choice.random() < 0.4:
                tag = choice.choice((None, "b1", "b2"))
                columns.append(Column("w.mass", at, [0], [5], [""], length=[7 * S], tag=[tag]))
            events = (Event("gap", at, at + 5 * S, "m.energy", "dead"),) if seq == 2 else ()
            name = identity(epoch, seq)
            made.append(
                (
                    name,
                    Envelope(
                        "site",
                        "a",
                        "s",
                        f"{epoch:016x}",
                        seq,
                        prev,
                        at + sum(steps),
                        epoch * 1000 * S + seq * 10 * S,
                        f"boot{epoch // 2}",
                        DOUBTED if choice.random() < 0.3 else GOOD,
                        f"cfg{epoch}",
                        tuple(columns),
                        head if seq == 0 else None,
                        events,
                    ),
                )
            )
            prev = name
            at += sum(steps)
        head = Head(f"{epoch:016x}", count - 1, prev)
    twin = made[count // 2][1]
    made.append(
        (identity(0, count // 2, 1), Envelope(**{f: getattr(twin, f) for f in twin.__slots__}))
    )
    return made


KEYS = (SeriesKey("a", "s", "m.energy"), SeriesKey("a", "s", "w.mass"))


def rows(series):
    size = len(series)
    return [
        (
            int(series.t[i]),
            int(series.v[i]),
            int(series.ok[i]),
            int(series.length[i]) if len(series.length) else 0,
            series.tag[i] if len(series.tag) else "",
        )
        for i in range(size)
    ]


def same(stored: StoredReadings, held: MemoryReadings, choice: random.Random) -> None:
    for key in KEYS:
        assert stored.span(key) == held.span(key)
        assert stored.tags(key) == held.tags(key)
        assert stored.longest(key) == held.longest(key)
        assert stored.gaps(key) == held.gaps(key)
        for tag in held.tags(key):
            assert rows(stored.tagged(key, tag)) == rows(held.tagged(key, tag))
        for _ in range(12):
            start = choice.randint(0, 2000) * S
            end = start + choice.choice((0, S, 50 * S, 900 * S))
            margin = choice.choice((0, 1, 4))
            many = choice.choice((0, 10, 100_000))
            with patch.object(module, "MOST_ROWS", many):  # readings from which it reads once
                seen = rows(stored.read(key, start, end, margin))
            assert seen == rows(held.read(key, start, end, margin)), (start, end, margin)
    if choice.random() < 0.5:
        stored.look(1)  # at all streams at once, or each by itself
    assert [s.key for s in stored.sources("m.energy")] == [s.key for s in held.sources("m.energy")]
    chain, plain = stored.chain("a", "s"), held.chain("a", "s")
    assert len(chain) == len(plain)
    assert chain.links() == plain.links()
    assert chain.heads() == plain.heads()
    assert chain.forks() == plain.forks()
    assert chain.clock_steps() == plain.clock_steps()
    assert chain.new_starts() == plain.new_starts()
    assert sorted(chain.equivocations) == sorted(plain.equivocations)
    assert chain.last_time() == plain.last_time()
    assert (chain.late, chain.late_since) == (plain.late, plain.late_since)
    for link in plain.links():
        assert chain.link(link.identity) == link
    for _ in range(20):
        first = choice.randint(0, 2000) * S
        last = first + choice.randint(0, 600) * S
        assert chain.closing(last) == plain.closing(last)
        boots = choice.sample(["boot0", "boot1", "none"], 2)
        assert sorted(x.identity for x in chain.of_boots(boots)) == sorted(
            x.identity for x in plain.of_boots(boots)
        )
        assert chain.walk(first, last) == plain.walk(first, last)
        alone = [] if plain.equivocations else plain.links()
        also = choice.sample(alone, min(2, len(alone)))
        wanted = {link.identity for link in plain.between(first, last, also)}
        assert {link.identity for link in chain.between(first, last, also)} == wanted
        assert stored.mended("a", "s") == held.mended("a", "s")


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32))
def test_sealed_readings_answer_as_those_in_memory(tmp_path_factory, seed):
    choice = random.Random(seed)
    sent = stream(choice, 12)
    if choice.random() < 0.5:
        sent.pop()  # no twin
    if choice.random() < 0.7:
        choice.shuffle(sent)
    sent = [pair for pair in sent if choice.random() < 0.95]
    folder = tmp_path_factory.mktemp("segments")
    stored = StoredReadings(ParquetStore(folder), dict(sent).get)
    held = MemoryReadings()
    for place, (name, envelope) in enumerate(sent):
        stored.add_envelope(name, envelope)
        held.add_envelope(name, envelope)
        if choice.random() < 0.4:
            stored.seal(place + 1, name)
        if choice.random() < 0.2:
            stored.store.compact()
    same(stored, held, choice)
    stored.seal(len(sent), sent[-1][0])
    while stored.store.compact():
        pass
    same(stored, held, choice)
    stored.store.close()
    again = StoredReadings(ParquetStore(folder), dict(sent).get)
    assert again.store.taken == len(sent)
    assert again.store.anchor == sent[-1][0]
    assert again.sealed_readings == sum(envelope.readings for _, envelope in sent)
    same(again, held, choice)
    again.store.close()


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32))
def test_many_streams_looked_at_at_once_are_as_odd_as_each_by_itself(tmp_path_factory, seed):
    choice = random.Random(seed)
    sent = []
    for number in range(choice.randint(2, 7)):
        for name, one in stream(choice, choice.randint(2, 9)):
            after = one.after
            if after is not None and choice.random() < 0.3:
                after = None  # the outbox was lost
            mine = replace(
                one,
                agent=f"a{number // 2}",
                stream=f"s{number}",
                prev=one.prev and f"{number:02x}{one.prev[2:]}",
                after=after and replace(after, identity=f"{number:02x}{after.identity[2:]}"),
            )
            sent.append((f"{number:02x}{name[2:]}", mine))
    if choice.random() < 0.5:
        choice.shuffle(sent)
    sent = [pair for pair in sent if choice.random() < 0.95]
    stored = StoredReadings(ParquetStore(tmp_path_factory.mktemp("many")), dict(sent).get)
    held = MemoryReadings()
    for place, (name, envelope) in enumerate(sent):
        stored.add_envelope(name, envelope)
        held.add_envelope(name, envelope)
        if choice.random() < 0.2:
            stored.seal(place + 1, name)
        if choice.random() < 0.1:
            stored.store.compact()
        if choice.random() < 0.1:
            stored.look(choice.randint(1, 4))
    stored.look(1)
    for (place, chain), (other, plain) in zip(stored.chains(), held.chains(), strict=True):
        assert place == other
        assert chain.links() == plain.links()
        assert chain.clock_steps() == plain.clock_steps()
        assert chain.forks() == plain.forks()
        assert chain.new_starts() == plain.new_starts()
    stored.store.close()


def test_pages_of_all_channels_together_are_bounded_and_go_with_the_site(tmp_path, monkeypatch):
    monkeypatch.setattr(channel_page, "ALL_ROWS", 100)
    stored = StoredReadings(ParquetStore(tmp_path))
    held = MemoryReadings()
    keys = [SeriesKey("a", "s", f"m{n}.e") for n in range(12)]
    made = []
    for seq in range(3):
        name = identity(0, seq)
        at = (100 + 20 * seq) * S
        columns = [
            Column(key.channel, at, [0] + [S] * 9, list(range(10)), [""] * 10) for key in keys
        ]
        prev = identity(0, seq - 1) if seq else ""
        envelope = Envelope(
            "x", "a", "s", f"{0:016x}", seq, prev, at + 10 * S, at, "b", GOOD, "c", tuple(columns)
        )  # fmt: skip
        made.append((name, envelope))
    for name, envelope in made:
        stored.add_envelope(name, envelope)
        held.add_envelope(name, envelope)
    stored.seal(3, made[-1][0])
    for _ in range(3):
        for key in keys:
            for at in (105 * S, 130 * S):
                seen = rows(stored.read(key, at, at, 2))
                assert seen == rows(held.read(key, at, at, 2))
            assert 0 < stored._pages.rows <= 100
            page = stored._pages.get(key)
            assert page is not None
            assert page.rows.t.base is None, "a page holds no row group in memory"
    stored.chain("a", "s").walk(100 * S, 130 * S)
    stored.store.close()
    stored.let_go()
    assert (len(stored._pages), stored._pages.rows) == (0, 0)
    assert (stored.store._segments._bytes, stored.store._segments._groups) == (0, {})
    assert (stored._links._links, stored._links._rows) == (0, 0)


def test_a_second_process_reads_what_the_first_writes_and_writes_nothing(tmp_path):
    choice = random.Random(7)
    sent = stream(choice, 6)
    first = StoredReadings(ParquetStore(tmp_path), dict(sent).get)
    for name, envelope in sent[:10]:
        first.add_envelope(name, envelope)
    first.seal(10, sent[9][0])
    second = StoredReadings(ParquetStore(tmp_path), dict(sent).get)
    assert first.store.writable
    assert not second.store.writable
    held = MemoryReadings()
    for name, envelope in sent:
        held.add_envelope(name, envelope)
    for name, envelope in sent[10:]:
        second.add_envelope(name, envelope)
    with pytest.raises(MeterprintError, match="another process"):
        second.seal(len(sent), sent[-1][0])
    same(second, held, choice)
    first.store.close()
    second.store.close()


def test_a_flipped_bit_in_a_segment_is_named_when_it_is_read(tmp_path):
    stored = StoredReadings(ParquetStore(tmp_path))
    for name, envelope in stream(random.Random(3), 40):
        stored.add_envelope(name, envelope)
    stored.seal(1, "x")
    stored.store.close()
    path = next(tmp_path.glob("segment-*.parquet"))
    whole = path.read_bytes()
    choice = random.Random(11)
    want = rows(StoredReadings(ParquetStore(tmp_path)).read(KEYS[0], 0, 2**62, 0))
    found = 0
    for _ in range(60):
        data = bytearray(whole)
        data[choice.randrange(len(data))] ^= 1 << choice.randrange(8)
        path.write_bytes(bytes(data))
        store = ParquetStore(tmp_path)
        assert store.verify() == [path.name]
        try:
            seen = rows(StoredReadings(store).read(KEYS[0], 0, 2**62, 0))
        except MeterprintError as error:
            found += path.name in str(error)
        else:
            assert seen == want
        store._writer and store._writer.close()
    assert found > 10
    path.write_bytes(whole)


@pytest.mark.parametrize("refused", ["segment", "index", "manifest"])
def test_a_disk_that_refuses_a_segment_leaves_the_tail_as_it_was(tmp_path, monkeypatch, refused):
    choice = random.Random(5)
    sent = stream(choice, 8)
    stored, held = StoredReadings(ParquetStore(tmp_path), dict(sent).get), MemoryReadings()
    for name, envelope in sent[:12]:
        stored.add_envelope(name, envelope)
        held.add_envelope(name, envelope)

    def full(path, data, mode=0o600):
        if path.name.startswith(refused):
            raise durable.FileRefused("No space left on device")
        (durable.stream_file if callable(data) else durable.replace_file)(path, data, mode)

    with monkeypatch.context() as patched:
        patched.setattr(series_parquet, "stream_file", full)
        patched.setattr(segment_writer, "stream_file", full)
        patched.setattr(manifest, "replace_file", full)
        with pytest.raises(MeterprintError, match="No space left"):
            stored.seal(12, sent[11][0])
    same(stored, held, choice)
    for name, envelope in sent[12:]:
        stored.add_envelope(name, envelope)
        held.add_envelope(name, envelope)
    stored.seal(len(sent), sent[-1][0])
    same(stored, held, choice)
    stored.store.close()


def test_a_moment_beyond_the_time_scale_costs_no_nanosecond(tmp_path):
    at = 1_780_000_000 * S
    times = [at + i for i in range(400)]
    stored = StoredReadings(ParquetStore(tmp_path))
    column = Column("m.energy", at, [0] + [1] * 399, list(range(400)), [""] * 400)
    sent = Envelope("site", "a", "s", "e" * 16, 0, "", at, 0, "b", GOOD, "c", (column,))
    stored.add_envelope(identity(1, 0), sent)
    for _ in range(2):
        for start in (times[7], times[200], times[399]):
            found = rows(stored.read(KEYS[0], start, 2**63, 0))
            assert [t for t, *_ in found] == times[times.index(start) :]
            assert [t for t, *_ in rows(stored.read(KEYS[0], -(2**63), start, 0))] == [
                t for t in times if t < start
            ]
        stored.seal(1, identity(1, 0))
    stored.store.close()
