"""Segments that are merged hold what a dictionary of all readings would."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest import segment_merge, segment_tail, segment_writer
from ingest.manifest import FAN_IN
from ingest.segment import Segment
from ingest.series_parquet import ParquetStore
from mrv.envelope import Column
from mrv.series import SeriesKey

KEYS = [SeriesKey("a", f"s{n % 2}", f"m{n}.e") for n in range(4)]
READING = st.tuples(
    st.integers(0, 40),
    st.none() | st.sampled_from([0, 1, 2, 2**62, -7]),
    st.sampled_from([0, 0, 60]),
    st.sampled_from([None, None, "b1", "b2"]),
)
ARRIVALS = st.lists(
    st.tuples(st.sampled_from(KEYS), st.lists(READING, min_size=1, max_size=12)), max_size=12
)


def column(key, rows):
    rows = sorted(rows, key=lambda row: row[0])
    times = [row[0] for row in rows]
    steps = [0, *(b - a for a, b in itertools.pairwise(times))]
    return Column(
        key.channel,
        times[0],
        steps,
        [row[1] for row in rows],
        [""] * len(rows),
        length=[row[2] for row in rows],
        tag=[row[3] for row in rows],
    )


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(ARRIVALS, min_size=FAN_IN, max_size=FAN_IN), st.sampled_from([3, 7, 1000]))
def test_merged_segments_hold_the_larger_reading_of_each_time(tmp_path_factory, flushes, size):
    """Whatever the size of blocks, row groups and pieces of the log."""
    folder = tmp_path_factory.mktemp("merge")
    before = segment_merge.BLOCK_ROWS, segment_writer.ROW_GROUP, segment_tail.BLOCK_ROWS
    slab = segment_tail.SLAB
    segment_merge.BLOCK_ROWS, segment_writer.ROW_GROUP = size, size
    segment_tail.BLOCK_ROWS = segment_tail.SLAB = size
    wanted: dict[SeriesKey, dict[int, tuple[int, int, int, str]]] = {}
    try:
        store = ParquetStore(folder)
        for arrivals in flushes:
            for key, rows in arrivals:
                store._tail.add(key, column(key, rows))
                for t, v, length, tag in rows:
                    row = (0 if v is None else 1, v or 0, length, tag or "")
                    held = wanted.setdefault(key, {})
                    held[t] = max(held.get(t, row), row)
            store.flush()
        while store.compact():
            pass
        for key in KEYS:
            series = store.read(key, -1, 100)
            rows = zip(series.t, series.ok, series.v, series.length, series.tag, strict=True)
            assert {t: row for t, *row in rows} == {
                t: list(row) for t, row in wanted.get(key, {}).items()
            }
        assert not store.verify()
        store.close()
    finally:
        segment_merge.BLOCK_ROWS, segment_writer.ROW_GROUP, segment_tail.BLOCK_ROWS = before
        segment_tail.SLAB = slab


def test_a_merge_decodes_each_row_group_once(tmp_path, monkeypatch):
    """However many channels share it: a thousand channels were decoded a thousand times."""
    store = ParquetStore(tmp_path)
    for n in range(FAN_IN):
        for channel in range(300):
            key = SeriesKey("a", "s", f"m{channel}.e")
            store._tail.add(key, Column(key.channel, n * 100, [0, 1], [n, n], ["", ""]))
        store.flush()
    decoded = []
    real = Segment.decode

    def counted(segment, group, *, amounts):
        decoded.append((segment.path.name, group))
        return real(segment, group, amounts=amounts)

    monkeypatch.setattr(Segment, "decode", counted)
    assert store.compact()
    assert sorted(decoded) == sorted(set(decoded))
    assert len(store.entries) == 1
    assert store.entries[0].rows == 300 * 2 * FAN_IN
    store.close()


def test_what_came_while_a_segment_was_refused_follows_what_was_there():
    tail, since = segment_tail.Tail(), segment_tail.Tail()
    tail.add(KEYS[0], Column(KEYS[0].channel, 10, [0, 1], [1, None], ["", ""]))
    since.add(KEYS[1], Column(KEYS[1].channel, 5, [0], [4], [""], length=[60], tag=["b"]))
    since.add(KEYS[0], Column(KEYS[0].channel, 12, [0], [3], [""]))
    tail.append(since)
    (block,) = tail.blocks()
    assert list(block.keys) == [KEYS[0], KEYS[1]]
    assert block.counts.tolist() == [3, 1]
    assert block.rows.t.tolist() == [10, 11, 12, 5]
    assert block.rows.ok.tolist() == [1, 0, 1, 1]
    assert block.rows.length.tolist() == [0, 0, 0, 60]
    assert block.rows.tag.tolist() == ["", "", "", "b"]
    assert np.array_equal(block.rows.v, [1, 0, 3, 4])
