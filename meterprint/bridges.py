"""Bridges of a site: from a mapping in plant.yaml or a file beside it to a running bridge."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from device_profiles.yaml_tree import read_yaml
from edge_agent.clock import system_clock
from footprint.plant import PlantModel
from footprint.reader import InputErrors, Node
from ingest.bridge import Bridge
from ingest.bridge_file import read_bridges
from ingest.bridge_mapping import BridgeMapping
from ingest.broker_port import Broker
from ingest.keyring import load_or_make_key
from ingest.mqtt_feed import BrokerAddress
from meterprint.plant_file import PlantFile
from meterprint.site import Site
from mrv.envelope import Envelope
from mrv.errors import InputError


@dataclass(frozen=True, slots=True)
class PlacedMapping:
    """A mapping and the folder that files named in it are relative to."""

    mapping: BridgeMapping
    """The mapping."""
    folder: Path
    """Its folder."""


def load_bridges(path: Path, plant: PlantModel) -> tuple[PlacedMapping, ...]:
    """The bridges of a file of their own. Raises InputErrors with every fault in it."""
    source = read_yaml(path)
    faults: list[InputError] = []
    root = Node(source.tree, "", faults)
    bridges: tuple[BridgeMapping, ...] = ()
    if root.members(("bridges",)):
        bridges = read_bridges(root.child("bridges"), plant)
        if not bridges and not faults:
            root.child("bridges").fault("at least one bridge is expected")
    if faults:
        raise InputErrors([source.locate(fault) for fault in faults])
    return tuple(PlacedMapping(mapping, path.parent) for mapping in bridges)


def bridges_of(
    plant: PlantModel | None, file: PlantFile | None, path: Path | None
) -> tuple[PlacedMapping, ...]:
    """The bridges a plant file states and those of a file of their own. Raises InputError."""
    found: tuple[PlacedMapping, ...] = ()
    if file is not None:
        found += tuple(PlacedMapping(mapping, file.path.parent) for mapping in file.bridges)
    if path is not None:
        if plant is None:
            raise InputError(
                "bridges map to a plant, and none is stated",
                file=str(path),
                hint="name it too: --plant plant.yaml",
            )
        found += load_bridges(path, plant)
    names = [placed.mapping.agent for placed in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"two bridges are called {twice[0]}", hint="each signs under its own name")
    return found


def open_bridge(
    site: Site,
    placed: PlacedMapping,
    own: Broker,
    on_journalled: Callable[[Sequence[tuple[int, str, Envelope]]], None],
    on_state: Callable[[str, bool], None],
) -> Bridge:
    """A bridge of the site, its key made and enrolled; not started. Raises InputError."""
    mapping, plant = placed.mapping, site.plant()
    if plant is None:
        raise InputError(
            f"the bridge {mapping.agent} has no plant to map to", hint="serve --plant plant.yaml"
        )
    path = site.state / "keys" / f"bridge-{mapping.agent}.key"  # beside the site's: backed up so
    key = load_or_make_key(path, mapping.agent)
    if key.public in site.revoked_keys_of(mapping.agent):
        raise InputError(
            f"the key of the bridge {mapping.agent} was revoked",
            file=str(path),
            hint="delete the file and a new key is made and enrolled, or leave the bridge out",
        )
    site.enrol_agent(key.public)
    return Bridge(
        mapping,
        plant,
        site.journal,
        site.quarantine,
        key,
        _address(placed, own),
        system_clock,
        on_journalled,
        lambda online: on_state(mapping.agent, online),
        enrolled=site.enrolled,
    )


def _address(placed: PlacedMapping, own: Broker) -> BrokerAddress:
    mapping = placed.mapping
    if not mapping.host:
        return BrokerAddress(own.ingest_port, own.host, own.username, own.password, tls=own.tls)
    password = ""
    if mapping.password_env:
        password = os.environ.get(mapping.password_env, "")
        if not password:
            raise InputError(
                f"the bridge {mapping.agent} needs a password in {mapping.password_env}",
                hint="set it in the environment of this process",
            )
    ca = placed.folder / mapping.ca if mapping.ca else None
    if ca is not None and not ca.is_file():
        raise InputError(f"{ca} of the bridge {mapping.agent} cannot be read")
    return BrokerAddress(mapping.port, mapping.host, mapping.username, password, ca)
