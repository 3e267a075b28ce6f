"""The benches can be run and their figures have the form that is promised."""

from __future__ import annotations

import importlib
import json
import socket
import sys
import threading
from pathlib import Path

import pytest

from bench import results
from ingest import mqtt_wire as wire
from ingest.broker import find_mosquitto
from tests.conftest import missing

REPO = Path(__file__).resolve().parents[2]
MODULES = sorted(path.stem for path in (REPO / "bench").glob("*_bench.py"))


@pytest.mark.parametrize("module", [*MODULES, "load_generator", "__main__"])
def test_a_bench_imports_and_has_its_entry(module):
    assert callable(importlib.import_module(f"bench.{module}").main)


def test_every_bench_in_the_folder_belongs_to_a_figure():
    assert set(MODULES) <= set(results.ALL.values())


def test_the_kept_figures_have_the_promised_form():
    latest = json.loads(results.LATEST.read_text())
    assert results.faults(latest) == []
    assert set(latest) <= {*results.BENCHES, "machine"}
    assert results.faults(json.loads(results.FURTHER.read_text())) == []


def test_a_figure_is_entered_with_its_ratios_and_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    monkeypatch.setattr(results, "LATEST", tmp_path / "latest.json")
    monkeypatch.setattr(results, "FURTHER", tmp_path / "further.json")
    monkeypatch.setattr(sys, "argv", ["bench/ingest_bench.py"])
    results.record("ingest", 50, "readings/s", {"a": 100}, {"x": 20, "y": 25}, [49, 50, 51])
    results.record("latency", 30, "ms", {"a": 10}, {}, [30], faster_is_less=True)
    entries = results.load(results.LATEST)
    assert results.faults(entries) == []
    assert entries["ingest"]["ratio_to_limit"] == 0.5
    assert entries["ingest"]["ratio_to_peer"] == 2
    assert entries["latency"]["ratio_to_limit"] == 3
    assert entries["machine"]["measured"]["ingest"]["command"] == "python bench/ingest_bench.py"
    text = results.table(entries, {"ingest": "ok", "verify": "missing: a server"})
    assert "| ingest | 50 | readings/s | a 100 | 0.5 | x 20<br>y 25 | 2 |" in text
    assert "missing: a server" in text


def test_a_spoilt_form_is_told():
    entry = dict.fromkeys(results.MEMBERS, 1) | {"limits": {}, "peers": {}, "runs": []}
    assert results.faults({"machine": {}, "ingest": entry, "other": entry})
    assert results.faults({"ingest": {"figure": 1}})


@pytest.mark.broker
def test_the_load_generator_delivers_every_message_once(tmp_path):
    from bench.load_generator import LoadGenerator, split_over
    from ingest.broker import Mosquitto

    if find_mosquitto() is None:
        missing("mosquitto")
    broker = Mosquitto(tmp_path)
    sent = [(b"load/%d" % (i % 7), b"%d" % i) for i in range(5000)]
    load = LoadGenerator(broker.port, split_over(sent, 2), rate=100_000)
    line = socket.create_connection(("127.0.0.1", broker.port))
    line.sendall(wire.connect("reader", keepalive=60, clean=True) + wire.subscribe(1, ["load/#"]))
    splitter, seen, ready = wire.Splitter(), [], threading.Event()

    def read():
        while len(seen) < len(sent):
            for head, body, _ in splitter.feed(line.recv(65536)):
                if head & 0xF0 == wire.SUBACK:
                    ready.set()
                if head & 0xF0 == wire.PUBLISH:
                    topic, payload, mid, _ = wire.opened(body, head)
                    line.sendall(wire.pubacks([mid]))
                    seen.append((topic, payload))

    reader = threading.Thread(target=read)
    reader.start()
    assert ready.wait(10)
    load.go()
    assert load.wait().messages == 5000
    reader.join(30)
    line.close()
    broker.stop()
    assert sorted(seen) == sorted(sent)
