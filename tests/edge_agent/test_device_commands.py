from __future__ import annotations

import asyncio
import threading
from fractions import Fraction
from typing import Self

import pytest

from device_profiles.loading import ROOT, profile_ids
from edge_agent import device_commands as commands
from edge_agent.instrument import Instrument
from mrv.errors import InputError


def test_every_profile_is_listed_with_its_hash():
    listed = commands.list_profiles()
    assert [p.id for p in listed] == list(profile_ids())
    assert len({p.hash for p in listed}) == len(listed)


@pytest.mark.parametrize("name", profile_ids())
def test_every_profile_passes_its_own_check(name):
    result = commands.check_profile(name)
    assert result.ok
    assert result.golden


def test_a_profile_whose_golden_value_is_wrong_fails_its_check(tmp_path):
    text = (ROOT / "acrel/adl400.yaml").read_text(encoding="utf-8")
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("power: 12500", "power: 12501"), encoding="utf-8")
    result = commands.check_profile(str(path))
    assert not result.ok
    assert [g.ok for g in result.golden] == [True, False]
    path.write_text(text.replace("41 48 00 00", "41 48 00 0"), encoding="utf-8")
    assert commands.check_profile(str(path)).golden[1].error


class Served:
    """A simulation in a thread of its own, as a second process would run it."""

    def __init__(self, name: str, unit: str) -> None:
        self.ready = threading.Event()
        self.port = 0
        self.instrument = commands.default_instrument(name, unit)
        self.thread = threading.Thread(target=asyncio.run, args=(self.serve(),))

    async def serve(self) -> None:
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()

        def opened(_host: str, port: int) -> None:
            self.port = port
            self.ready.set()

        await commands.serve_simulation([self.instrument], 0, opened, self.stop)

    def __enter__(self) -> Self:
        self.thread.start()
        assert self.ready.wait(30)
        return self

    def __exit__(self, *_args) -> None:
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(30)


@pytest.mark.parametrize(
    ("name", "unit", "register"),
    [
        ("eastron/sdm630", "7", "voltage_l1"),
        ("fuxin/gas_corrector", "1", "temperature"),
        ("dlt645/three_phase", "000000000042", "voltage_l1"),
    ],
)
def test_a_simulated_device_can_be_read(name, unit, register):
    with Served(name, unit) as served:
        url = f"tcp://127.0.0.1:{served.port}"
        shown = {v.register: v for v in commands.read_device(name, url, unit)}
        assert all(v.quality == "" for v in shown.values())
        assert shown[register].value == (Fraction(20) if register == "temperature" else 230)
        assert shown[register].raw
        (one,) = commands.read_device(name, url, unit, [register])
        assert one == shown[register]


def test_a_weigher_shows_nothing_until_a_load_is_put_on_it():
    with Served("mettler_toledo/mt_sics", "1") as served:
        url = f"tcp://127.0.0.1:{served.port}"
        assert commands.read_device("mettler_toledo/mt_sics", url) == ()


@pytest.mark.parametrize("url", ["udp://x:1", "tcp://host:port", "nonsense"])
def test_an_impossible_line_is_refused(url):
    meter = Instrument("m", commands.open_profile("eastron/sdm630"))
    with pytest.raises(InputError) as caught:
        commands.open_source(url, [meter])
    assert caught.value.field == "url"


def test_two_protocols_on_one_line_are_refused():
    both = [
        Instrument("a", commands.open_profile(n)) for n in ("eastron/sdm630", "dlt645/three_phase")
    ]
    with pytest.raises(InputError, match="2 instruments"):
        commands.open_source("tcp://127.0.0.1:1", both)
