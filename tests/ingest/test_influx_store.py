"""Lines and servers that an InfluxDB store is refused by: parked, waited for, never lost."""

from __future__ import annotations

import json
import random

import pytest

from ingest.back_off import PAUSES_S, BackOff
from ingest.influx_connection import InfluxAddress, InfluxConnection, InfluxError, asked_pause
from ingest.influx_halving import DOUBTFUL
from ingest.influx_setup import prepare
from ingest.park import KEPT, Park
from ingest.projector import rebuild_store
from ingest.series_influx import BATCH, InfluxStore
from mrv.errors import MeterprintError
from mrv.series import Series, SeriesChunk, SeriesKey
from tests.ingest.bad_servers import Proxy
from tests.ingest.influx_work import KEY, NAMES, chunk, open_store, project, values
from tests.ingest.test_receiver import S

LAST = 2**63 - 2
"""Latest time an InfluxDB takes, ns (models.MaxNanoTime); the wire takes one more."""


@pytest.mark.influx
def test_the_one_bad_line_is_parked_with_its_reason_and_the_rest_goes_in(address, tmp_path):
    store = open_store(address, park=Park(tmp_path / "parked.json"))
    rows = [(t, t) for t in range(1, BATCH)]
    rows.insert(random.Random(1).randrange(len(rows)), (LAST + 1, 7))
    store.append([chunk(rows)])
    assert values(store) == list(range(1, BATCH))
    again = Park(tmp_path / "parked.json")
    assert again.total == 1
    (point,) = again.points
    assert point.grade == "unable_to_parse"
    assert "time outside range" in point.reason
    assert point.line.endswith(f"value=7 {LAST + 1}")
    store.close()


@pytest.mark.influx
def test_lines_of_another_type_are_parked_and_the_rest_goes_in(address, tmp_path):
    server = InfluxConnection(address)
    server.write(b'reading,site=other length="a text of somebody else" 1')
    server.close()
    store = open_store(address)
    amount = SeriesChunk(
        SeriesKey("a", "s", "scale.mass"), Series([10, 20], [1, 2], [1, 1], [5, 5], ["", ""])
    )
    store.append([chunk([(10, 1)]), amount, chunk([(20, 2)])])
    assert values(store) == [1, 2]
    assert store.park.counts == {"field_type_conflict": 2}
    store.close()


@pytest.mark.influx
def test_a_batch_that_is_refused_as_a_whole_is_parked_at_once_in_bounded_room(address, tmp_path):
    server = InfluxConnection(address)
    server.write(b"reading,site=other value=1i 1")
    server.close()
    with Proxy(address) as proxy:
        store = open_store(proxy.address, park=Park(tmp_path / "parked.json"))
        store.append([chunk([(t, t) for t in range(1, 2 * BATCH + 1)])])
        assert proxy.writes == 2
        assert store.park.counts == {"field_type_conflict": 2 * BATCH}
        assert len(store.park.points) == KEPT
        assert (tmp_path / "parked.json").stat().st_size < 200_000
        store.close()


@pytest.mark.influx
def test_readings_older_than_the_retention_are_counted_and_the_others_go_in(influxd):
    address = influxd.address(next(NAMES))
    server = InfluxConnection(address)
    prepare(server, keep_days=3650)
    server.close()
    store = open_store(address)
    recent = 1_790_000_000 * S
    store.append([chunk([(t, 1) for t in range(1, 100)] + [(recent, 5)])])
    assert values(store) == [5]
    assert store.park.counts == {"beyond_retention": 99}
    store.close()


@pytest.mark.influx
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_left_alone_as_long_as_it_asks(address, bench, tmp_path, status):
    sent = bench.envelopes(5)
    bench.take(*(e.note for e in sent))
    with Proxy(address) as proxy:
        store = open_store(proxy.address)
        view = project(bench, store, tmp_path)
        proxy.answers.append((status, {"Retry-After": "7"}, b"busy"))
        with pytest.raises(InfluxError) as seen:
            view.step()
        assert seen.value.again_in_s == 7
        assert view.cursor == 0
        waited = []
        proxy.answers.append((status, {"Retry-After": "9"}, b"busy"))
        assert rebuild_store(bench.journal, store, lambda *_: None, waited.append) == 5
        assert waited == [9]
        assert values(store) == [100 * i for i in range(5)]
        store.close()


@pytest.mark.influx
def test_a_query_that_is_not_answered_is_an_error_too(address):
    with Proxy(address) as proxy:
        store = open_store(proxy.address)
        proxy.query_answers.append((503, {"Retry-After": "4"}, b"busy"))
        with pytest.raises(InfluxError) as seen:
            store.append([chunk([(10, 1)])])
        assert seen.value.again_in_s == 4
        for text in (
            b"<html>sign in</html>",
            b"[]",
            b"{}",
            b'{"results":null}',
            b'{"results":[null]}',
            b'{"results":[{},{},{}]}',
            b'{"results":[{"series":[{"columns":["time","last"],"values":[[1]]}]},{}]}',
            b'{"results":[{"series":7},{}]}',
        ):
            proxy.query_answers.append((200, {}, text))
            with pytest.raises(InfluxError, match="as an InfluxDB does"):
                store.append([chunk([(10, 1)])])
        store.append([chunk([(10, 1)])])
        assert values(store) == [1]
        store.close()


@pytest.mark.influx
def test_an_answer_that_is_cut_short_is_not_taken_for_the_whole(address):
    """`max-row-limit` of 1.8: a twin that is not shown would be written over."""
    with Proxy(address) as proxy:
        store = open_store(proxy.address)
        short = b'{"results":[{"series":[],"partial":true},{}]}'
        proxy.query_answers.append((200, {}, short))
        with pytest.raises(InfluxError, match="short") as seen:
            store.append([chunk([(10, 1)])])
        assert "max-row-limit" in seen.value.hint
        proxy.query_answers.append((200, {}, b'{"results":[],"error":"timeout"}'))
        with pytest.raises(InfluxError, match="timeout"):
            store.append([chunk([(10, 1)])])
        store.close()


@pytest.mark.influx
@pytest.mark.parametrize("status", [200, 202, 302])
def test_only_a_204_moves_the_cursor(address, bench, tmp_path, status):
    """The page of a proxy where somebody must sign in is no InfluxDB that has stored anything."""
    sent = bench.envelopes(5)
    bench.take(*(e.note for e in sent))
    with Proxy(address) as proxy:
        store = open_store(proxy.address)
        view = project(bench, store, tmp_path)
        proxy.answers.append((status, {}, b"<html>sign in</html>"))
        with pytest.raises(InfluxError, match=f"{status}"):
            view.step()
        assert view.cursor == 0
        while view.step():
            pass
        assert values(store) == [100 * i for i in range(5)]
        store.close()


@pytest.mark.influx
def test_a_batch_too_large_is_halved_until_it_is_not(address):
    with Proxy(address) as proxy:
        store = open_store(proxy.address)
        store.append([chunk([(1, 1)])])
        large = (413, {}, b"<html>Request Entity Too Large</html>")
        proxy.answers.extend([large] * 2)
        store.append([chunk([(t, t) for t in range(2, 101)])])
        assert values(store) == list(range(1, 101))
        assert store.park.total == 0
        store.close()


@pytest.mark.influx
@pytest.mark.parametrize("status", [401, 403, 500, 502])
def test_a_server_that_fails_or_lets_nobody_in_loses_nothing(address, bench, tmp_path, status):
    sent = bench.envelopes(5)
    bench.take(*(e.note for e in sent))
    with Proxy(address) as proxy:
        store = open_store(proxy.address)
        view = project(bench, store, tmp_path)
        proxy.answers.append((status, {}, b'{"code":"x","message":"no"}'))
        with pytest.raises(InfluxError, match=f"{status}") as seen:
            view.step()
        assert seen.value.hint
        assert view.cursor == 0
        assert store.park.total == 0
        while view.step():
            pass
        assert values(store) == [100 * i for i in range(5)]
        store.close()


def test_a_store_that_asks_for_no_pause_still_gets_one():
    back_off = BackOff()
    assert [back_off.pause(InfluxError("busy", again_in_s=s)) for s in (0.0, 0.1, 7.0)] == [
        PAUSES_S[0],
        PAUSES_S[0],
        7.0,
    ]


def test_a_pause_is_read_as_seconds_or_as_a_date_and_bounded():
    assert asked_pause("12", 0) == 12
    assert asked_pause("Wed, 21 Oct 2015 07:28:00 GMT", 1_445_412_470) == 10
    assert asked_pause("999999", 0) == 300
    assert asked_pause("Wed, 21 Oct 2015 07:28:00 GMT", 1_445_419_999) == 0
    for text in ("soon", "-5", "²", "1e3", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"):
        assert asked_pause(text, 0) is None
    assert asked_pause(None, 0) is None


@pytest.mark.influx
def test_a_server_that_refuses_everything_without_a_reason_is_not_believed(address):
    with Proxy(address) as proxy:
        store = open_store(proxy.address)
        proxy.answers.extend([(400, {}, b'{"error":"no idea"}')] * 200)
        with pytest.raises(InfluxError, match="no idea"):
            store.append([chunk([(t, t) for t in range(1, 101)])])
        assert store.park.total == 0
        assert proxy.writes < 8 + 2 * DOUBTFUL
        proxy.answers.clear()
        store.append([chunk([(t, t) for t in range(1, 101)])])
        assert values(store) == list(range(1, 101))
        store.close()


@pytest.mark.influx
def test_a_database_that_is_not_there_yet_is_waited_for(influxd, bench, tmp_path):
    sent = bench.envelopes(5)
    bench.take(*(e.note for e in sent))
    address = influxd.address(next(NAMES))
    store = open_store(address)
    view = project(bench, store, tmp_path)
    for _ in range(2):
        with pytest.raises(InfluxError) as seen:
            view.step()
        assert "influx init" in seen.value.hint
        assert view.cursor == 0
    with pytest.raises(InfluxError, match="404"):
        InfluxConnection(address).write(b"reading value=1 1")
    prepare(InfluxConnection(address))
    while view.step():
        pass
    assert view.cursor == bench.journal.size
    assert values(store) == [100 * i for i in range(5)]
    store.close()


def test_an_influxdb_that_is_down_is_a_named_error_with_a_remedy():
    store = InfluxStore.at(InfluxAddress("http://127.0.0.1:9", token="a secret"), "s")
    with pytest.raises(InfluxError, match="does not answer") as seen:
        store.append([chunk([(10, 1)])])
    assert "nothing is lost" in seen.value.hint
    assert "a secret" not in str(seen.value) + repr(store._server.address)
    store.close()


@pytest.mark.influx
def test_a_forgotten_reading_is_gone_and_its_neighbours_and_twins_stay(address):
    store = open_store(address)
    other = SeriesKey("agent-1", "line-1", "m2.energy")
    store.append([chunk([(10, 1), (20, 2), (20, 3), (25, 5), (30, 4)]), chunk([(20, 9)], other)])
    store.forget([chunk([(20, 3), (30, 4), (40, 8)])])
    series = store.read(KEY, 0, 2**62)
    assert list(zip(series.t, series.v, strict=True)) == [(10, 1), (20, 2), (25, 5)]
    assert values(store, other) == [9]
    store.append([chunk([(20, 1)])])
    assert values(store) == [1, 2, 5]
    store.close()


@pytest.mark.influx
def test_neighbours_of_a_forgotten_reading_outlive_a_kill_before_they_are_written_again(
    address, tmp_path
):
    """A point loses no single reading: its time is deleted, what stays there is written again."""
    owed = tmp_path / "owed.lp"
    rows = [(10, 1), (20, 2), (20, 3), (25, 5), (30, 4)]
    with Proxy(address) as proxy:
        store = open_store(proxy.address, owed=owed)
        store.append([chunk(rows)])
        proxy.answers.append((503, {}, b"no"))  # after it has deleted
        with pytest.raises(InfluxError):
            store.forget([chunk([(20, 3), (30, 4)])])
        assert values(store) == [1, 5, 4]
        store.close()  # as a kill leaves it
        proxy.answers.append((503, {}, b"no"))
        store = open_store(proxy.address, owed=owed)
        with pytest.raises(InfluxError):
            store.append([])
        store.append([])
        assert values(store) == [1, 2, 5, 4]
        assert not owed.exists()
        store.close()


def test_what_is_owed_and_cannot_be_read_is_named(tmp_path):
    owed = tmp_path / "owed.lp"
    owed.write_bytes(b"\xff\xfe")
    with pytest.raises(MeterprintError, match=r"owed\.lp"):
        InfluxStore.at(InfluxAddress("http://127.0.0.1:9"), "s", owed=owed)


def test_a_broken_list_of_parked_points_is_named(tmp_path):
    path = tmp_path / "parked.json"
    path.write_text(json.dumps({"points": []}))
    with pytest.raises(MeterprintError, match=r"parked\.json"):
        Park(path)
