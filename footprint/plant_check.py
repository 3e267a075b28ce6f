"""What the parts of a plant say of each other must fit together."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence

from footprint.plant import TIERS, Balance, EmissionSource, PlantModel
from mrv.errors import InputError
from mrv.quantity import UnitError, unit


def cross_check(plant: PlantModel, faults: list[InputError]) -> None:
    """Add what does not fit together to `faults`, each with the path of the field."""
    _unique([i.id for i in plant.instruments], "instruments", faults)
    _unique([line.id for line in plant.lines], "lines", faults)
    _unique([s.id for s in plant.sources], "sources", faults)
    _unique([p.id for p in plant.products], "products", faults)
    _unique([b.id for b in plant.balances], "balances", faults)
    for place, instrument in enumerate(plant.instruments):
        where = f"instruments[{place}].registers"
        _unique([register.id for register in instrument.registers], where, faults)
    for place, product in enumerate(plant.products):
        where = f"products[{place}]"
        _unique([material.id for material in product.materials], f"{where}.materials", faults)
        if plant.policy.key == "good_mass" and product.mass_kg <= 0:
            faults.append(
                InputError(
                    "allocation by good mass needs the mass of a unit", field=f"{where}.mass_kg"
                )
            )
    for place, source in enumerate(plant.sources):
        _source(plant, source, f"sources[{place}]", faults)
    for place, balance in enumerate(plant.balances):
        where = f"balances[{place}]"
        _channel(plant, balance.main, f"{where}.main", faults)
        for i, sub in enumerate(balance.subs):
            _channel(plant, sub, f"{where}.subs[{i}]", faults)
        _one_kind(plant, balance, where, faults)
    unknown = sorted(set(plant.policy.admissible) - set(TIERS))
    if unknown or not plant.policy.admissible:
        faults.append(
            InputError(
                f"letters of {''.join(TIERS)} are expected, seen {plant.policy.admissible!r}",
                field="policy.admissible_tiers",
            )
        )


def _one_kind(plant: PlantModel, balance: Balance, where: str, faults: list[InputError]) -> None:
    """A balance joins meters of one kind of unit, each once, and at least one below the main."""
    if not balance.subs:
        faults.append(InputError("a balance has meters below the main one", field=f"{where}.subs"))
    kinds = {}
    for name in (balance.main, *balance.subs):
        instrument, _, register = name.partition(".")
        model = plant.instrument(instrument)
        found = model.register(register) if model else None
        if found is not None:
            kinds[name] = "gauge" if found.kind == "gauge" else _kind(found.unit)
    for i, sub in enumerate(balance.subs):
        field = f"{where}.subs[{i}]"
        if sub == balance.main or sub in balance.subs[:i]:
            faults.append(InputError(f"{sub!r} stands twice in the balance", field=field))
        elif balance.main in kinds and kinds.get(sub, kinds[balance.main]) != kinds[balance.main]:
            faults.append(
                InputError(f"{kinds[sub]} does not balance {kinds[balance.main]}", field=field)
            )
    if kinds.get(balance.main) == "gauge":
        faults.append(InputError("a gauge adds up to nothing", field=f"{where}.main"))


def _kind(symbol: str) -> str:
    try:
        return unit(symbol).kind
    except UnitError:
        return symbol


def _unique(names: Sequence[str], where: str, faults: list[InputError]) -> None:
    counts = Counter(names)
    for place, name in enumerate(names):
        if counts[name] > 1 and name in names[:place]:
            faults.append(InputError(f"{name!r} stands twice", field=f"{where}[{place}].id"))


def _near(name: str, known: Iterable[str], what: str) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean {near[0]}?" if near else f"{what}: {', '.join(names) or 'none'}"


def _source(
    plant: PlantModel, source: EmissionSource, where: str, faults: list[InputError]
) -> None:
    for name in source.lines:
        if plant.line(name) is None:
            hint = _near(name, (line.id for line in plant.lines), "lines")
            faults.append(
                InputError(f"no line is called {name!r}", field=f"{where}.line", hint=hint)
            )
    if source.declared and (source.instrument or source.shared):
        how = "has a meter" if source.instrument else "serves several lines"
        faults.append(
            InputError(
                f"a source that {how} is not declared for each batch",
                field=f"{where}.declared",
                hint="declare it for one line, without instrument",
            )
        )
    if source.instrument:
        _meter(plant, source.instrument, source.register, where, faults)
    elif source.register:
        faults.append(
            InputError(
                "a register needs its instrument", field=f"{where}.register", hint="add instrument"
            )
        )


def _meter(
    plant: PlantModel, name: str, register: str, where: str, faults: list[InputError]
) -> None:
    instrument = plant.instrument(name)
    if instrument is None:
        hint = _near(name, (i.id for i in plant.instruments), "instruments")
        faults.append(
            InputError(f"no instrument is called {name!r}", field=f"{where}.instrument", hint=hint)
        )
        return
    found = instrument.register(register)
    if found is None:
        hint = _near(register, (r.id for r in instrument.registers), "registers")
        faults.append(
            InputError(f"{name} has no register {register!r}", field=f"{where}.register", hint=hint)
        )
    elif found.kind == "gauge":
        faults.append(
            InputError(
                f"{name}.{register} is a gauge, which adds up to nothing",
                field=f"{where}.register",
                hint="name a counter or an amount",
            )
        )


def _channel(plant: PlantModel, name: str, where: str, faults: list[InputError]) -> None:
    instrument, _, register = name.partition(".")
    model = plant.instrument(instrument)
    if model is None or model.register(register) is None:
        channels = [f"{i.id}.{r.id}" for i in plant.instruments for r in i.registers]
        hint = _near(name, channels, "channels")
        faults.append(InputError(f"no channel is called {name!r}", field=where, hint=hint))
