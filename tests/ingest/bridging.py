"""A plant with foreign devices and a mapping for them, for the tests of the bridge."""

from __future__ import annotations

import yaml

from footprint.plant_reading import read_plant
from footprint.reader import Node
from ingest.bridge_file import read_bridges
from mrv.envelope import Clock, ClockState

SITE = "bridge-site"
NOW = 1_764_000_000 * 10**9
CLOCK = Clock(ClockState.SYNCHRONISED, 5, "test")

PLANT = f"""
site: {SITE}
name: {{zh: 桥接, en: Bridged}}
time_zone: UTC
boundary: gate_to_gate
lines: [{{id: hall, name: {{zh: 车间, en: Hall}}}}]
products: [{{id: part, name: {{zh: 件, en: Part}}, unit: piece}}]
instruments:
  - id: press
    name: {{zh: 压机, en: Press}}
    kind: electricity_meter
    mpe_percent: 1
    registers:
      - {{id: energy, kind: counter, unit: kWh, resolution: "0.01", modulus: "100000000"}}
      - {{id: power, kind: gauge, unit: kW, resolution: "0.001"}}
  - id: oven
    name: {{zh: 炉, en: Oven}}
    kind: electricity_meter
    mpe_percent: 1
    registers:
      - {{id: energy, kind: counter, unit: kWh, resolution: "0.01"}}
      - {{id: power, kind: gauge, unit: kW, resolution: "0.001"}}
  - id: scale
    name: {{zh: 秤, en: Scale}}
    kind: weigher
    mpe_percent: 1
    registers: [{{id: mass, kind: amount, unit: kg, resolution: "0.1"}}]
sources:
  - id: electricity
    name: {{zh: 电, en: Electricity}}
    line: hall
    instrument: press
    register: energy
"""

BRIDGES = """
- agent: hall-bridge
  stream: hall
  flush_ms: 50
  messages:
    - topic: shop/{device}/energy
      instrument: {"sh-01": press, "sh-02": oven}
      time: {at: /ts, as: unix_ms, behind_s: 86400, ahead_s: 60}
      values:
        - {at: /total, register: energy, unit: Wh, unit_at: /unit}
        - {at: /now/power, register: power, unit: W}
      quality: {at: /ok, good: ["true"]}
    - topic: scale/out
      instrument: scale
      time: {at: /time}
      values: [{at: /kg, register: mass, length_s: 60, stamped: end, tag_at: /batch}]
    - topic: bare/{device}
      time: received
      values: [{at: "", register: power, as: text}]
"""


def plant():
    tree = yaml.load(PLANT, Loader=yaml.BaseLoader)
    model, faults = read_plant(tree)
    assert not faults, faults
    return model


def mappings(text=BRIDGES):
    """(bridges, faults) of a text."""
    faults = []
    tree = yaml.load(text, Loader=yaml.BaseLoader)
    return read_bridges(Node(tree, "", faults), plant()), faults


def mapping(text=BRIDGES):
    found, faults = mappings(text)
    assert not faults, [str(fault) for fault in faults]
    return found[0]


def message(t_ms, total="1234500", power="1500", unit='"Wh"', ok="true"):
    """The bytes of a meter's message."""
    return (
        f'{{"ts":{t_ms},"total":{total},"unit":{unit},"now":{{"power":{power}}},"ok":{ok}}}'
    ).encode()
