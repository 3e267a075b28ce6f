"""One contract, every series store: Parquet segments, a real InfluxDB 1.8.10 and a real 2.9.1."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.influx_connection import InfluxConnection
from ingest.influx_setup import prepare
from ingest.projector import Projector, rebuild_store
from ingest.series import StoreError, chunks_of
from ingest.series_influx import InfluxStore
from ingest.series_parquet import ParquetStore
from mrv.column import Column
from mrv.envelope import Clock, ClockState, Envelope
from mrv.errors import MeterprintError
from mrv.series import Series, SeriesChunk, SeriesKey
from tests.conftest import INFLUXDS
from tests.ingest.test_receiver import Bench

KEY = SeriesKey("agent one", "line=1", "m,1.energy")
OTHER = SeriesKey("agent one", "line=1", "m2.energy")
NUMBER = itertools.count()


@pytest.fixture(params=["parquet", *(pytest.param(v, marks=pytest.mark.influx) for v in INFLUXDS)])
def store(request, tmp_path):
    if request.param == "parquet":
        made = ParquetStore(tmp_path / "segments")
    else:
        server = request.getfixturevalue("influxd_of")(request.param)
        address = server.address("contract")
        prepare(InfluxConnection(address))
        made = InfluxStore.at(address, f"site {next(NUMBER)}, a=b\\")
    yield made
    made.close()


def chunk(rows, key=KEY):
    t, v = [r[0] for r in rows], [r[1] for r in rows]
    return SeriesChunk(key, Series(t, [x or 0 for x in v], [0 if x is None else 1 for x in v]))


def contents(store, key=KEY):
    series = store.read(key, 0, 2**62)
    return list(zip(series.t, series.v, series.ok, strict=True))


def test_what_was_appended_is_read_back_in_time_order(store):
    store.append([chunk([(30, 3), (10, 1), (20, None)])])
    assert contents(store) == [(10, 1, 1), (20, 0, 0), (30, 3, 1)]
    store.flush()
    assert contents(store) == [(10, 1, 1), (20, 0, 0), (30, 3, 1)]


def test_a_window_is_half_open(store):
    store.append([chunk([(10, 1), (20, 2), (30, 3)])])
    assert store.read(KEY, 10, 30).t == [10, 20]
    assert store.read(KEY, 31, 40).t == []


def test_appending_again_and_in_any_order_changes_nothing(store):
    parts = [chunk([(i * 10, i), (i * 10 + 5, i)]) for i in range(20)]
    twice = [*parts, *parts]
    random.Random(1).shuffle(twice)
    for place, part in enumerate(twice):
        store.append([part])
        if place % 9 == 0:
            store.flush()
    assert [row[0] for row in contents(store)] == [5 * i for i in range(40)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_readings_at_one_time_the_larger_stands_whatever_came_first(store, order):
    twins = ([(10, 7)], [(10, 9)])
    for place in order:
        store.append([chunk(twins[place])])
        store.flush()
    assert contents(store) == [(10, 9, 1)]


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)])
def test_an_integer_that_no_float_holds_comes_back_exactly(store, value):
    store.append([chunk([(10, value), (20, None)])])
    store.flush()
    store.append([chunk([(10, value - 1 if value > 0 else value)])])
    store.flush()
    assert contents(store) == [(10, value, 1), (20, 0, 0)]


def test_the_length_of_an_amount_is_kept(store):
    store.append([SeriesChunk(KEY, Series([10, 20], [5, 0], [1, 0], [7, 9], ["", ""]))])
    store.flush()
    series = store.read(KEY, 0, 100)
    assert list(zip(series.v, series.ok, series.length, strict=True)) == [(5, 1, 7), (0, 0, 9)]


def test_a_good_reading_stands_before_a_failed_one_of_its_time(store):
    for rows in ([(10, None)], [(10, 4)], [(10, None)]):
        store.append([chunk(rows)])
        store.flush()
    assert contents(store) == [(10, 4, 1)]


def test_twins_inside_one_chunk_are_one_reading(store):
    store.append([chunk([(10, 3), (10, 8), (10, 5), (20, 1)])])
    store.flush()
    assert contents(store) == [(10, 8, 1), (20, 1, 1)]


ROWS = st.lists(
    st.lists(
        st.tuples(st.integers(1, 12), st.none() | st.sampled_from([0, 1, 2, 2**60 + 1, -5])),
        min_size=1,
        max_size=6,
    ),
    max_size=6,
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ROWS)
def test_any_appends_give_the_largest_reading_of_each_time(store, appends):
    store.clear()
    wanted = {}
    for rows in appends:
        store.append([chunk(rows)])
        for t, v in rows:
            row = (0, 0) if v is None else (1, v)
            wanted[t] = max(wanted.get(t, row), row)
    store.flush()
    assert contents(store) == [(t, v, ok) for t, (ok, v) in sorted(wanted.items())]


def test_channels_do_not_mix_and_are_listed(store):
    store.append([chunk([(10, 1)]), chunk([(10, 2)], OTHER)])
    store.flush()
    assert store.keys() == [KEY, OTHER]
    assert contents(store, OTHER) == [(10, 2, 1)]


def test_a_cleared_store_is_empty_and_can_be_filled_again(store):
    store.append([chunk([(10, 1)])])
    store.flush()
    store.clear()
    assert contents(store) == []
    store.append([chunk([(10, 1)])])
    assert contents(store) == [(10, 1, 1)]


def test_segments_survive_and_a_changed_one_is_found(tmp_path):
    store = ParquetStore(tmp_path)
    store.append([chunk([(10, 1)])])
    store.close()
    again = ParquetStore(tmp_path)
    assert contents(again) == [(10, 1, 1)]
    assert again.verify() == []
    path = next(tmp_path.glob("*.parquet"))
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(bytes(data))
    assert again.verify() == [path.name]
    path.unlink()
    with pytest.raises(MeterprintError, match="missing"):
        ParquetStore(tmp_path)


def test_an_envelope_becomes_a_chunk_a_channel():
    column = Column("m.e", 100, [0, 5], [1, None], ["", "timeout"])
    clock = Clock(ClockState.SYNCHRONISED, 0, "x")
    envelope = Envelope("s", "a", "l", "e", 1, "p", 0, 0, "b", clock, "", (column,))
    (made,) = chunks_of(envelope)
    assert made.key == SeriesKey("a", "l", "m.e")
    assert (list(made.series.t), list(made.series.ok)) == ([100, 105], [1, 0])


class Failing(ParquetStore):
    """A store that refuses so many times before it takes."""

    refusals = 3

    def append(self, chunks):
        if self.refusals:
            self.refusals -= 1
            raise StoreError("down")
        super().append(chunks)


def test_the_projector_catches_up_after_the_store_was_down_and_loses_nothing(tmp_path):
    bench = Bench(tmp_path / "site")
    sent = bench.envelopes(30)
    bench.take(*(e.note for e in sent))
    store = Failing(tmp_path / "segments")
    projector = Projector(bench.journal, store, tmp_path / "cursor.json")
    for _ in range(3):
        with pytest.raises(StoreError):
            projector.step()
        assert projector.cursor == 0
    while projector.step():
        pass
    assert projector.cursor == 0, "the cursor moves only with what is durable"
    projector.settle()
    key = SeriesKey("agent-1", "line-1", "m.energy")
    assert [row[1] for row in contents(store, key)] == [100 * i for i in range(30)]
    assert Projector(bench.journal, store, tmp_path / "cursor.json").cursor == bench.journal.size
    bench.close()


def test_what_was_not_durable_at_a_kill_is_projected_again_and_stands_once(tmp_path):
    bench = Bench(tmp_path / "site")
    sent = bench.envelopes(30)
    bench.take(*(e.note for e in sent[:20]))
    cursor = tmp_path / "cursor.json"
    lost = ParquetStore(tmp_path / "segments")
    killed = Projector(bench.journal, lost, cursor, segment=15)
    while killed.step():
        pass
    durable = killed.cursor
    bench.take(*(e.note for e in sent[20:]))
    killed.step()
    assert killed.cursor == durable
    lost._writer.close()  # the lock goes with the process that was killed
    store = ParquetStore(tmp_path / "segments")
    again = Projector(bench.journal, store, cursor)
    assert again.cursor == durable
    while again.step():
        pass
    again.stop()
    key = SeriesKey("agent-1", "line-1", "m.energy")
    values = [row[1] for row in contents(ParquetStore(tmp_path / "segments"), key)]
    assert values == [100 * i for i in range(30)]
    bench.close()


def test_a_rebuilt_store_has_the_same_points(tmp_path):
    bench = Bench(tmp_path / "site")
    sent = bench.envelopes(10)
    random.Random(2).shuffle(sent)
    bench.take(*(e.note for e in sent))
    store = ParquetStore(tmp_path / "segments")
    key = SeriesKey("agent-1", "line-1", "m.energy")
    assert rebuild_store(bench.journal, store, lambda *_: None) == 10
    first = contents(store, key)
    assert rebuild_store(bench.journal, store, lambda *_: None) == 10
    assert contents(store, key) == first
    bench.close()
