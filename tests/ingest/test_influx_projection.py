"""The projector on an InfluxDB that hangs, lags or dies: nothing lost, ingest never waits."""

from __future__ import annotations

import random
import shutil
import threading

import pytest

from edge_agent.chain import StreamChain
from edge_agent.source import RawReading
from ingest import projector
from ingest.feed import MAX_OFFERED
from ingest.influx_connection import InfluxAddress, InfluxConnection
from ingest.influx_setup import prepare
from ingest.projector import BLOCK, FAR_BEHIND, Projector, rebuild_store
from ingest.series import StoreError
from ingest.series_influx import InfluxStore
from mrv.series import SeriesKey
from tests.conftest import INFLUXDS, missing
from tests.ingest.bad_servers import Silent
from tests.ingest.influx_work import dump, open_store, project, values
from tests.ingest.test_receiver import CLOCK, SITE, S


def test_a_store_that_hangs_slows_neither_ingest_nor_the_end(bench, tmp_path):
    silent = Silent()
    store = InfluxStore.at(InfluxAddress(silent.url), SITE, timeout_s=3600)
    view = project(bench, store, tmp_path, lanes=True, stop_s=0.05)
    view.start()
    sent = bench.envelopes(3 * FAR_BEHIND)
    bench.take(sent[0].note)
    view.wake()
    assert silent.asked.wait(60)
    for start in range(0, len(sent), 100):
        for item in bench.take(*(e.note for e in sent[start : start + 100])):
            view.offer(item.index, item.accepted.draft.envelope)
        view.wake()
    assert bench.receiver.tally.accepted == len(sent), "ingest went on"
    assert len(view._feed._offered) <= MAX_OFFERED
    view.stop()  # would take an hour if it waited
    assert view.cursor == 0
    assert not (tmp_path / "cursor.json").exists()
    silent.close()
    view._thread.join(60)
    assert view.cursor == 0, "what comes after the end moves nothing"
    store.close()


def backlog(bench, count):
    """Envelopes of two agents' worth of history, then live ones, in the journal."""
    sent = bench.envelopes(count)
    for start in range(0, count, 500):
        bench.take(*(e.note for e in sent[start : start + 500]))
    return sent


@pytest.mark.influx
def test_live_data_is_seen_while_a_backlog_is_written_and_the_set_is_the_same(
    address, bench, tmp_path
):
    count = 3 * FAR_BEHIND
    backlog(bench, count)
    store = open_store(address)
    view = project(bench, store, tmp_path, lanes=True)
    assert view.step() == BLOCK
    seen = view.lag
    chain = StreamChain(SITE, "live", bench.key, "", None, now=lambda: 5 * S, epoch="f" * 16)
    live = SeriesKey("agent-1", "live", "m.power")
    steps = 0
    for i in range(10):
        (out,) = chain.cut([RawReading("m.power", (count + i) * S, 0, i)], CLOCK)
        bench.take(out.note)
        while values(store, live)[-1:] != [i]:
            view.step()
            steps += 1
            assert steps < 40, "live data waits for the backlog"
    assert view.lag > 0
    assert view.lag < seen, "the backlog goes on too"
    assert view.cursor < bench.journal.size
    while view.step():
        pass
    assert (view.lag, view.cursor) == (0, bench.journal.size)
    assert values(store) == [100 * i for i in range(count)]
    assert values(store, live) == list(range(10))
    store.close()


def test_lanes_give_every_entry_once_whatever_comes_in_between(tmp_path):
    class Size:
        size = 0

    class Nothing:
        pending = 0

        def append(self, chunks):
            pass

        def flush(self):
            pass

    for case in range(12):
        seed = random.Random(case)
        size, taken = Size(), []
        size.size = seed.randrange(5000)
        view = Projector(size, Nothing(), tmp_path / f"{case}.json", lanes=True)
        view._feed.take = lambda start, stop, _, taken=taken: taken.extend(range(start, stop))
        for _ in range(seed.randrange(60)):
            view.step()
            size.size += seed.choice([0, 0, 10, 300, 2500])
            assert view.lag == size.size - len(taken)
        while view.step():
            pass
        assert sorted(taken) == list(range(size.size))
        assert view.cursor == size.size


@pytest.fixture(params=INFLUXDS)
def mortal(request, tmp_path):
    from scripts.influx_servers import influx_server
    from scripts.influxd_builds import influxd_path

    if not influxd_path(request.param).exists():
        missing(f"influxd {request.param}")
    with influx_server(request.param, tmp_path / "influxd") as server:
        prepare(InfluxConnection(server.address()))
        yield server


@pytest.mark.influx
def test_a_killed_influxd_loses_nothing_and_a_rebuild_gives_the_same_points(
    mortal, bench, tmp_path
):
    address = mortal.address()
    sent = bench.envelopes(2000)
    order = list(sent)
    random.Random(5).shuffle(order)
    store = open_store(address)
    view = project(bench, store, tmp_path, lanes=True)
    view.start()
    for number, start in enumerate(range(0, len(order), 250)):
        bench.take(*(e.note for e in order[start : start + 250]))
        view.wake()
        if number in (2, 5):
            mortal.kill()
            mortal.start()
    grown = threading.Event()
    while view.lag or view.cursor != bench.journal.size:
        grown.wait(0.01)
    view.stop()
    assert view.status.refused_in_a_row == 0
    first = dump(address)
    assert [row["value"] for row in first[0][1]] == [100 * i for i in range(2000)]

    killed = iter([True])

    def progress(done, _):
        if done > 1000 and next(killed, False):
            mortal.kill()

    def wait(_):
        if mortal.process is None:
            mortal.start()

    assert rebuild_store(bench.journal, store, progress, wait) == 2000
    assert dump(address) == first
    store.close()


@pytest.mark.influx
@pytest.mark.parametrize("lost", [True, False])
def test_a_lost_or_restored_database_is_filled_again_by_itself(
    mortal, bench, tmp_path, lost, monkeypatch
):
    monkeypatch.setattr(projector, "MARK_EVERY_S", 0)
    address = mortal.address()
    sent = bench.envelopes(900)
    store = open_store(address)
    view = project(bench, store, tmp_path, lanes=True)
    bench.take(*(e.note for e in sent[:400]))
    while view.step():
        pass
    mortal.stop()
    shutil.copytree(mortal.folder, tmp_path / "backup")
    mortal.start()
    bench.take(*(e.note for e in sent[400:]))
    while view.step():
        pass
    first = dump(address)
    mortal.kill()
    shutil.rmtree(mortal.folder)
    if lost:
        mortal.folder.mkdir()
    else:
        shutil.copytree(tmp_path / "backup", mortal.folder)
    bench.take(bench.envelopes(1, epoch="9" * 16)[0].note)
    with pytest.raises(StoreError):
        view.step()
    mortal.start()
    if lost:
        mortal.found()
        prepare(InfluxConnection(address))
    assert store.marked() < view.cursor
    asked = []
    take = view._feed.take
    view._feed.take = lambda start, stop, done: asked.append(start) or take(start, stop, done)
    while view.step():
        pass
    assert min(asked) == (0 if lost else store_size(400, bench))
    assert dump(address) == first
    store.close()


def store_size(envelopes, bench):
    """Journal entries up to so many envelopes: facts come first."""
    return bench.journal.size - 900 - 1 + envelopes


@pytest.mark.influx
def test_twins_and_a_lost_cursor_change_nothing(address, bench, tmp_path):
    sent = bench.envelopes(300)
    forked = bench.envelopes(300, epoch="a" * 16)
    chain = StreamChain(SITE, "line-1", bench.key, "", None, now=lambda: 5 * S, epoch="b" * 16)
    twins = []
    for i in range(0, 300, 3):
        twins += chain.cut([RawReading("m.energy", i * S, 0, 100 * i + 2**60 + 1)], CLOCK)
    notes = [e.note for e in (*sent, *forked, *twins)]
    random.Random(6).shuffle(notes)
    bench.take(*notes)
    store = open_store(address)
    view = project(bench, store, tmp_path)
    while view.step():
        pass
    first = dump(address)
    store.close()
    (tmp_path / "cursor.json").unlink()
    store = open_store(address)
    again = project(bench, store, tmp_path)
    while again.step():
        pass
    assert dump(address) == first
    rows = {row["time"]: row for row in first[0][1]}
    assert len(rows) == 300
    assert [rows[i * S]["value_2"] for i in (0, 3, 297)] == [0, 300, 29_700]
    assert rows[1 * S]["value_2"] is None
    assert rebuild_store(bench.journal, store, lambda *_: None) == 700
    assert dump(address) == first
    store.close()


def test_the_status_says_what_was_refused_and_when(bench, tmp_path):
    sent = bench.envelopes(2)
    bench.take(*(e.note for e in sent))
    store = InfluxStore.at(InfluxAddress("http://127.0.0.1:9"), SITE)
    view = project(bench, store, tmp_path)
    assert view.status.last_error == ""
    view.start()
    view.wake()
    grown = threading.Event()
    while not view.status.refusals:
        grown.wait(0.01)
    view.stop()
    status = view.status
    assert "does not answer" in status.last_error
    assert status.last_error_at > 0
    assert status.refused_in_a_row == status.refusals
    assert (status.cursor, status.lag) == (0, bench.journal.size)
    store.close()
