"""Reads plant.yaml: every fault with its file, line, field, what was seen and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_profiles.yaml_tree import YamlTree, read_yaml
from footprint.factor import read_rows
from footprint.plant import PlantModel
from footprint.plant_reading import read_plant
from footprint.reader import InputErrors
from mrv.errors import InputError


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


def check_plant(path: Path) -> tuple[PlantFile | None, list[InputError]]:
    """The plant of a file, None where it has faults, and all of them."""
    try:
        source = read_yaml(path)
    except InputError as error:
        return None, [error]
    plant, faults = read_plant(source.tree)
    located = [source.locate(fault) for fault in faults]
    factors, factor_faults = _factor_files(path, source)
    located += factor_faults
    if located:
        return None, located
    tree = {k: v for k, v in source.tree.items() if k not in ("factors", "certificates")}
    certificates = source.tree.get("certificates") or []
    return PlantFile(path, plant, tree, tuple(factors), tuple(certificates)), []


def _factor_files(
    path: Path, source: YamlTree
) -> tuple[list[tuple[str, tuple[dict[str, str], ...]]], list[InputError]]:
    tree = source.tree if isinstance(source.tree, dict) else {}
    names = tree.get("factors") or []
    if isinstance(names, str):
        names = [names]
    found, faults = [], []
    for place, name in enumerate(names):
        field = f"factors[{place}]"
        file = path.parent / str(name)
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            faults.append(source.locate(InputError(f"{name} cannot be read: {error}", field=field)))
            continue
        rows, errors = read_rows(text, str(file))
        faults += errors
        found.append((str(name), tuple(rows)))
    return found, faults


def load_plant(path: Path) -> PlantFile:
    """The plant of a file. Raises InputErrors with all its faults."""
    plant, faults = check_plant(path)
    if plant is None:
        raise InputErrors(faults)
    return plant
