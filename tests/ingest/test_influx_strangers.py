"""Answers no InfluxDB gives: a named error each time, and the view's thread goes on."""

from __future__ import annotations

import threading

import pytest

from ingest.influx_connection import InfluxAddress, InfluxConnection, InfluxError
from ingest.influx_setup import prepare
from ingest.projector import Projector
from ingest.series_influx import InfluxStore
from mrv.series import Series, SeriesChunk, SeriesKey
from tests.ingest.bad_servers import Proxy

NOWHERE = InfluxAddress("http://127.0.0.1:1")
KEY = SeriesKey("a", "s", "m.e")


def answer(columns, values, tags=""):
    names, rows = (str(part).replace("'", '"') for part in (columns, values))
    result = f'{{"series":[{{"columns":{names},"values":{rows}{tags}}}]}}'
    return f'{{"results":[{result},{result}]}}'.encode()


def single(columns, values, tags=""):
    names, rows = (str(part).replace("'", '"') for part in (columns, values))
    return (f'{{"results":[{{"series":[{{"columns":{names},"values":{rows}{tags}}}]}}]}}').encode()


@pytest.fixture
def store():
    with Proxy(NOWHERE) as proxy:
        store = InfluxStore.at(proxy.address, "site")
        yield store, proxy
        store.close()


@pytest.mark.parametrize(
    "text",
    [
        single(["time", "last"], [[1, "many"]]),
        single(["time", "last"], []),
        single(["time"], [[1]]),
        b'{"results":[{"series":[{"columns":["time","last"]}]}]}',
    ],
    ids=["no number", "no row", "no value", "no values"],
)
def test_a_mark_that_is_no_number_is_the_server_s_fault(store, text):
    opened, proxy = store
    proxy.query_answers.append((200, {}, text))
    with pytest.raises(InfluxError, match="as an InfluxDB does"):
        opened.marked()


@pytest.mark.parametrize(
    "tags",
    ["", ',"tags":7', ',"tags":{"agent":"a"}', ',"tags":{"agent":1,"stream":"s","channel":"c"}'],
    ids=["none", "a number", "too few", "no text"],
)
def test_channels_that_have_no_names_are_the_server_s_fault(store, tags):
    opened, proxy = store
    proxy.query_answers.append((200, {}, answer(["time", "last"], [[1, 2]], tags)))
    with pytest.raises(InfluxError, match="as an InfluxDB does"):
        opened.append([SeriesChunk(KEY, Series([1], [2], [1], [], []))])


@pytest.mark.parametrize("value", ["'x'", "{}", "[1]"])
def test_a_reading_that_is_no_number_is_the_server_s_fault(store, value):
    opened, proxy = store
    columns, row = ["time", "value", "low", "failed", "length"], f"[[1, {value}, 0, 0, 0]]"
    proxy.query_answers.append((200, {}, single(columns, row)))
    with pytest.raises(InfluxError, match="as an InfluxDB does"):
        opened.read(KEY, 0, 9)


def test_a_view_goes_on_asking_a_server_that_talks_nonsense(store, bench, tmp_path):
    opened, proxy = store
    proxy.query_answers.extend([(200, {}, single(["time", "last"], [[1, "x"]]))] * 5)
    bench.take(*(item.note for item in bench.envelopes(1)))
    projector = Projector(bench.journal, opened, tmp_path / "cursor")
    refused = threading.Event()
    noted = projector._refused
    projector._refused = lambda error: (refused.set(), noted(error))[1]
    projector.start()
    assert refused.wait(30)
    assert not projector.ended
    projector.stop()


def test_a_setup_that_is_answered_with_something_else_is_a_named_error(store):
    _, proxy = store

    class Odd(InfluxConnection):
        def major(self):
            return 2

    server = Odd(proxy.address)
    with pytest.raises(InfluxError):
        prepare(server)
    server.close()
