"""Reads plant.yaml: every fault with its file, line, field, what was seen and what to do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from device_profiles.loading import load_profile, profile_ids
from device_profiles.yaml_tree import YamlTree, read_yaml
from footprint.bill import read_bill
from footprint.catalogue import Catalogue, FactorError, FactorRequest
from footprint.combustion import combustion_factor
from footprint.factor import Factor, factor_from_row, read_rows, row_of
from footprint.plant import PlantModel, default_uncertainty
from footprint.plant_reading import read_plant
from footprint.reader import InputErrors, Node
from ingest.bridge_file import read_bridges
from ingest.bridge_mapping import BridgeMapping
from mrv.errors import InputError, MeterprintError
from mrv.interval import NS_PER_S
from mrv.measurement.calibration import read_certificate
from mrv.quantity import exact_number

TOPIC = " /+#%"
"""Letters that mean something in an MQTT topic or in an access list."""
ADVICE = (
    ("stands twice", "give each one a name of its own"),
    ("is written twice", "keep one of the two"),
    ("a positive number", "write a number above 0, such as 0.01"),
    ("an instrument of this plant", "name one that stands under instruments"),
    ("a plant is expected", "copy examples/steel_plant/plant.yaml and change it"),
    ("a text is expected", "add it, or write a text behind the colon"),
    ("a number is expected", "write 0.01 or 400/5"),
    ("not YAML", "save the file as UTF-8 text and check its indentation"),
    ("is expected", "write what is expected here, or see the examples"),
)
"""(words of a fault, what to do about it), the first that fits counts."""
FILE_ONLY = ("factors", "derived_factors", "certificates", "bridges")
"""Members of the file that become facts of their own; bridges are how this process runs."""


@dataclass(frozen=True, slots=True)
class PlantFile:
    """A plant file that holds together."""

    path: Path
    """Where it lies."""
    plant: PlantModel
    """The model."""
    tree: dict[str, Any]
    """The tree as it enters the journal; numbers are text."""
    factors: tuple[tuple[str, tuple[dict[str, str], ...]], ...]
    """(name, rows) of the factor files it names."""
    certificates: tuple[dict[str, Any], ...]
    """Certificates stated in it."""
    warnings: tuple[InputError, ...] = ()
    """What will make footprints incomplete or weaker, each with its line."""
    bridges: tuple[BridgeMapping, ...] = ()
    """Bridges to foreign devices."""


def check_plant(path: Path) -> tuple[PlantFile | None, list[InputError]]:
    """The plant of a file, None where it has faults, and all of them."""
    try:
        source = read_yaml(path)
    except InputError as error:
        return None, [_advised(error)]
    if not isinstance(source.tree, dict):
        return None, [_advised(InputError("a plant is expected", file=str(path), line=1))]
    faults: list[InputError] = []
    elsewhere = _bills(path, source.tree, faults)
    factors = _factor_files(path, source.tree, faults, elsewhere)
    members = {k: v for k, v in source.tree.items() if k not in FILE_ONLY}
    plant, found = read_plant(members)
    if not found and _state_offsets(members, plant):
        plant, found = read_plant(members)
    faults += found
    _certificates(source.tree, plant, faults)
    _places(plant, faults)
    _names(plant, faults)
    bridges = read_bridges(Node(source.tree, "", faults).child("bridges"), plant)
    located = [_advised(source.locate(fault)) for fault in faults] + elsewhere
    if located:
        return None, sorted(located, key=lambda e: (e.file != str(path), e.file, e.line))
    certificates = tuple(source.tree.get("certificates") or ())
    warnings = _warnings(plant, factors, source)
    return PlantFile(path, plant, members, tuple(factors), certificates, warnings, bridges), []


def load_plant(path: Path) -> PlantFile:
    """The plant of a file. Raises InputErrors with all its faults."""
    plant, faults = check_plant(path)
    if plant is None:
        raise InputErrors(faults)
    return plant


def _text_beside(
    path: Path, name: object, field: str, faults: list[InputError]
) -> tuple[Path, str] | None:
    file = path.parent / str(name)
    try:
        return file, file.read_text(encoding="utf-8")
    except OSError as error:
        message = f"{name} cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        message = f"{name} is not UTF-8 text"
    hint = "files are named relative to the plant file"
    faults.append(InputError(message, field=field, hint=hint))
    return None


def _bills(path: Path, tree: dict[str, Any], faults: list[InputError]) -> list[InputError]:
    """Put the rows of each product's bill in its place; faults inside the bills."""
    inside: list[InputError] = []
    products = tree.get("products")
    for place, product in enumerate(products if isinstance(products, list) else []):
        if not isinstance(product, dict) or product.get("bill") is None:
            continue
        found = _text_beside(path, product.pop("bill"), f"products[{place}].bill", faults)
        if found is None:
            continue
        rows, errors = read_bill(found[1], str(found[0]))
        inside += errors
        if not errors:
            product["materials"] = [*(product.get("materials") or []), *rows]
    return inside


def _factor_files(
    path: Path, tree: dict[str, Any], faults: list[InputError], inside: list[InputError]
) -> list[tuple[str, tuple[dict[str, str], ...]]]:
    found = []
    for place, name in enumerate(Node(tree, "", faults).child("factors").texts()):
        text = _text_beside(path, name, f"factors[{place}]", faults)
        if text is None:
            continue
        rows, errors = read_rows(text[1], str(text[0]))
        inside += errors
        found.append((name, tuple(rows)))
    known = {row["id"]: row for _, rows in found for row in rows}
    derived = _derived(Node(tree, "", faults).child("derived_factors").items(), known)
    return [*found, ("derived_factors", derived)] if derived else found


def _derived(nodes: Sequence[Node], known: dict[str, dict[str, str]]) -> tuple[dict[str, str], ...]:
    rows = []
    for node in nodes:
        if not node.members(("id", "ncv", "carbon", "oxidation")):
            continue
        inputs: list[Factor] = []
        for name in ("ncv", "carbon", "oxidation"):
            row = known.get(node.child(name).text())
            if row is None:
                node.child(name).fault(
                    "the id of a factor is expected", "name a row of the files under factors"
                )
            else:
                inputs.append(factor_from_row(row))
        if len(inputs) != 3:
            continue
        try:
            factor = combustion_factor(node.child("id").text(), *inputs)
        except MeterprintError as error:
            node.faults.append(InputError(str(error), field=node.path, hint=error.hint))
            continue
        if factor.id in known:
            node.child("id").fault("an id no other factor has is expected")
        rows.append(row_of(factor))
    return tuple(rows)


def day_moment(text: object, field: str = "valid_from") -> int | None:
    """Ns UTC of a day (its start in UTC) or of a moment with its zone; None for None."""
    from ingest.batch_events import moment

    if text is None:
        return None
    day = str(text)
    return moment(day if "T" in day else f"{day}T00:00:00+00:00", field)


def _certificates(tree: dict[str, Any], plant: PlantModel, faults: list[InputError]) -> None:
    instruments = {instrument.id for instrument in plant.instruments}
    for node in Node(tree, "", faults).child("certificates").items():
        if not isinstance(node.value, dict):
            node.fault("a certificate is expected")
            continue
        number = node.child("id").text()
        if node.child("instrument").text() not in instruments:
            node.child("instrument").fault("an instrument of this plant is expected")
        try:
            read_certificate(number, node.value, 0, None)
        except InputError as error:
            field = f"{node.path}.{_point_field(node, error.field)}"
            faults.append(InputError(str(error.args[0]), field=field, hint=error.hint))
        for name in ("valid_from", "valid_to"):
            value = node.child(name)
            try:
                day_moment(value.value, value.path)
            except InputError:
                value.fault("a day is expected", "write 2026-01-31")


def _names(plant: PlantModel, faults: list[InputError]) -> None:
    """Names that become parts of topics and channels, and limits of error that are none."""

    def check(name: str, field: str, letters: str) -> None:
        if name and (not name.isprintable() or any(letter in name for letter in letters)):
            shown = ", ".join("space" if letter == " " else letter for letter in letters)
            faults.append(
                InputError(
                    f"a name without {shown} is expected, seen {name!r}",
                    field=field,
                    hint="it becomes a part of MQTT topics and channel names; write - instead",
                )
            )

    check(plant.site, "site", TOPIC)
    for place, instrument in enumerate(plant.instruments):
        field = f"instruments[{place}]"
        check(instrument.id, f"{field}.id", TOPIC + ".")
        check(instrument.agent, f"{field}.agent", TOPIC)
        if instrument.mpe < 0:
            faults.append(
                InputError(
                    f"a limit of error of 0 or more is expected, seen {instrument.mpe * 100}",
                    field=f"{field}.mpe_percent",
                    hint="write 1 for a meter of class 1",
                )
            )


def _advised(fault: InputError) -> InputError:
    """The fault with what to do, where whoever found it did not say."""
    message = str(fault.args[0])
    hint = fault.hint or next((advice for seen, advice in ADVICE if seen in message), "")
    return InputError(message, file=fault.file, line=fault.line, field=fault.field, hint=hint)


def _point_field(node: Node, name: str) -> str:
    """Field of the first calibration point whose number `name` cannot be read."""
    points = node.value.get("points") if isinstance(node.value, dict) else None
    for place, point in enumerate(points if isinstance(points, list) else []):
        try:
            exact_number(str(point[name]))
        except (ValueError, KeyError, TypeError):
            return f"points[{place}].{name}"
    return name


def _state_offsets(members: dict[str, Any], plant: PlantModel) -> bool:
    """Write beside windows of plant time how they lie beside those of UTC; whether any differ.

    The zone's standard time counts, so that windows keep their length when the clock changes.
    """
    try:
        standard = datetime(2026, 1, 1, tzinfo=ZoneInfo(plant.time_zone))
    except (ValueError, OSError, LookupError):
        return False
    ahead = int(
        ((standard.utcoffset() or timedelta()) - (standard.dst() or timedelta())).total_seconds()
    )
    stated = False
    pool = ahead % (plant.policy.pool_window // NS_PER_S)
    if pool and not plant.policy.pool_offset:
        members["policy"] = {**(members.get("policy") or {}), "pool_offset_s": str(pool)}
        stated = True
    balances = list(members.get("balances") or ())
    for place, balance in enumerate(plant.balances):
        offset = ahead % (balance.window // NS_PER_S)
        if offset and not balance.offset:
            balances[place] = {**balances[place], "offset_s": str(offset)}
            stated = True
    if balances:
        members["balances"] = balances
    return stated


def _places(plant: PlantModel, faults: list[InputError]) -> None:
    """Time zone and device profiles must be ones this program knows."""
    try:
        ZoneInfo(plant.time_zone)
    except (ValueError, OSError, LookupError):
        faults.append(
            InputError(
                f"an IANA time zone is expected, seen {plant.time_zone!r}",
                field="time_zone",
                hint="write Asia/Shanghai",
            )
        )
    known = set(profile_ids())
    for place, instrument in enumerate(plant.instruments):
        if not instrument.profile:
            continue
        field = f"instruments[{place}].profile"
        if instrument.profile not in known:
            faults.append(
                InputError(
                    f"no device profile is called {instrument.profile!r}",
                    field=field,
                    hint="see `meterprint device list`",
                )
            )
            continue
        registers = {register.name for register in load_profile(instrument.profile).registers}
        for i, register in enumerate(instrument.registers):
            if register.id not in registers:
                faults.append(
                    InputError(
                        f"{instrument.profile} has no register {register.id!r}",
                        field=f"instruments[{place}].registers[{i}].id",
                        hint=f"see `meterprint device show {instrument.profile}`",
                    )
                )


def _warnings(
    plant: PlantModel,
    factors: Sequence[tuple[str, Sequence[dict[str, str]]]],
    source: YamlTree,
) -> tuple[InputError, ...]:
    rows = [factor_from_row(row) for _, found in factors for row in found]
    catalogue = Catalogue(rows, default_uncertainty(plant.policy))
    now = time.time_ns()
    asked: list[tuple[str, str, FactorRequest | None]] = [
        (f"sources[{i}]", s.id, s.factor) for i, s in enumerate(plant.sources) if s.outside is None
    ]
    warnings = [
        InputError(f"{s.id} has no meter: its footprint stays incomplete", field=f"sources[{i}]")
        for i, s in enumerate(plant.sources)
        if s.outside is None and not s.instrument and not s.declared
    ]
    for i, product in enumerate(plant.products):
        if product.materials and plant.boundary == "gate_to_gate":
            warnings.append(
                InputError(
                    f"gate_to_gate leaves the materials of {product.id} out",
                    field=f"products[{i}]",
                    hint="say cradle_to_gate to count them",
                )
            )
        elif plant.boundary == "cradle_to_gate":
            asked += [
                (f"products[{i}]", material.id, material.factor) for material in product.materials
            ]
    for field, name, request in asked:
        if request is None:
            message = f"{name} has no factor: its footprint stays incomplete"
            warnings.append(InputError(message, field=field, hint="add factor"))
            continue
        try:
            choice = catalogue.choose(request, now)
        except FactorError as error:
            message = f"{name}: {error} in the files named here"
            warnings.append(InputError(message, field=f"{field}.factor", hint=error.hint))
            continue
        if choice.overdue:
            message = f"{name}: {choice.factor.id} ceased more than two years ago"
            warnings.append(InputError(message, field=f"{field}.factor"))
    return tuple(source.locate(warning) for warning in warnings)
