"""Read profile files: YAML with line numbers, `extends`, clear errors."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from device_profiles.profile import (
    WIDTHS,
    Document,
    Golden,
    Limits,
    Metrology,
    Probe,
    Profile,
    Protocol,
    Register,
)
from device_profiles.schema import ProfileModel, RegisterModel
from device_profiles.yaml_tree import compose
from mrv.errors import InputError

ROOT = Path(__file__).parent
"""Folder of the profiles that ship with Meterprint."""

_Path = tuple[str | int, ...]
_Marks = dict[_Path, tuple[str, int]]


def profile_ids(root: Path = ROOT) -> tuple[str, ...]:
    """Ids of all profiles under `root`, sorted."""
    files = root.glob("*/*.yaml")
    return tuple(sorted(f.relative_to(root).with_suffix("").as_posix() for f in files))


def load_profile(profile_id: str, root: Path = ROOT) -> Profile:
    """The profile `maker/model`. Raises InputError with file, line, field and a hint."""
    path = root / f"{profile_id}.yaml"
    if profile_id not in profile_ids(root):
        known = ", ".join(profile_ids(root))
        raise InputError(
            f"no device profile {profile_id!r}", file=str(path), hint=f"known profiles: {known}"
        )
    return load_file(path, profile_id, root)


def load_file(path: Path, profile_id: str = "", root: Path = ROOT) -> Profile:
    """The profile in `path`; `extends` is looked up under `root`."""
    tree, marks = _resolved(path, root, ())
    try:
        model = ProfileModel.model_validate(tree)
    except ValidationError as error:
        raise _first_fault(error, path, marks) from error
    profile = _freeze(model, profile_id or path.stem)
    _check_names(profile, path, marks)
    return profile


def _resolved(path: Path, root: Path, seen: tuple[Path, ...]) -> tuple[dict[str, Any], _Marks]:
    if path in seen:
        chain = " → ".join(str(p) for p in (*seen, path))
        raise InputError(f"profiles extend each other: {chain}", file=str(path), field="extends")
    tree, marks = _read(path)
    base_id = tree.pop("extends", None)
    if base_id is None:
        return tree, marks
    base_path = root / f"{base_id}.yaml"
    if not base_path.is_file():
        raise InputError(
            f"no profile {base_id!r} to extend",
            file=str(path),
            line=marks.get(("extends",), ("", 0))[1],
            field="extends",
            hint="write maker/model as in the folder of profiles",
        )
    base, base_marks = _resolved(base_path, root, (*seen, path))
    return _merge(base, tree), {**base_marks, **marks}


def _merge(base: dict[str, Any], child: dict[str, Any]) -> dict[str, Any]:
    """Maps are merged member by member, null removes one, anything else replaces."""
    merged = dict(base)
    for key, value in child.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def _read(path: Path) -> tuple[dict[str, Any], _Marks]:
    node = compose(path)
    if not isinstance(node, yaml.MappingNode):
        raise InputError("a profile is a map of members", file=str(path), line=1)
    marks: _Marks = {}
    _collect(node, (), str(path), marks)
    return yaml.safe_load(path.read_text(encoding="utf-8")), marks


def _collect(node: yaml.Node, at: _Path, file: str, marks: _Marks) -> None:
    if isinstance(node, yaml.MappingNode):
        names: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in names:
                raise InputError(
                    "is written twice",
                    file=file,
                    line=key.start_mark.line + 1,
                    field=".".join(map(str, (*at, name))),
                    hint="keep one of the two",
                )
            names.add(name)
            marks[(*at, name)] = (file, key.start_mark.line + 1)
            _collect(value, (*at, name), file, marks)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            marks[(*at, index)] = (file, item.start_mark.line + 1)
            _collect(item, (*at, index), file, marks)


def _mark(marks: _Marks, at: _Path, path: Path) -> tuple[str, int]:
    while at:
        if at in marks:
            return marks[at]
        at = at[:-1]
    return str(path), 1


def _first_fault(error: ValidationError, path: Path, marks: _Marks) -> InputError:
    faults = error.errors()
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    at = tuple(part for part in fault["loc"] if part != "[key]")
    file, line = _mark(marks, at, path)
    seen = "" if isinstance(fault["input"], dict | list) else f", seen {fault['input']!r}"
    hints = {
        "extra_forbidden": "check the spelling of the member; the schema is schema.json",
        "missing": "add the member; the schema is schema.json",
    }
    return InputError(
        f"{fault['msg']}{seen}",
        file=file,
        line=line,
        field=".".join(str(part) for part in at),
        hint=hints.get(fault["type"], "the schema is schema.json"),
    )


def _register(name: str, model: RegisterModel) -> Register:
    return Register(
        name=name,
        title_zh=model.title.zh,
        title_en=model.title.en,
        kind=model.kind,
        type=model.type,
        fc=model.fc,
        addr=model.addr,
        size=model.size or WIDTHS.get(model.type, 0),
        command=model.command,
        word_order=model.word_order,
        signed=model.signed,
        scale=Fraction(model.scale),
        unit=model.unit,
        resolution=Fraction(model.resolution or model.scale),
        modulus=model.modulus,
        sentinels=tuple(s.replace(" ", "").lower() for s in model.sentinels),
        side=model.side,
    )


def _freeze(model: ProfileModel, profile_id: str) -> Profile:
    order = {name: i for i, name in enumerate(model.registers)}
    return Profile(
        id=profile_id,
        maker=model.maker,
        model=model.model,
        title_zh=model.title.zh,
        title_en=model.title.en,
        protocol=model.protocol,
        probe=Probe(model.probe.register_name, model.probe.expect),
        limits=Limits(**model.limits.model_dump()),
        registers=tuple(_register(n, r) for n, r in model.registers.items()),
        metrology=Metrology(model.metrology.accuracy_class, model.metrology.standard),
        source=tuple(Document(d.document, d.page) for d in model.source),
        golden=tuple(
            Golden(
                origin=g.origin,
                note=g.note,
                fc=g.fc,
                addr=g.addr,
                frame=g.frame,
                expect=tuple(sorted(g.expect.items(), key=lambda e: order.get(e[0], -1))),
            )
            for g in model.golden
        ),
        caveats=model.caveats,
    )


def _check_names(profile: Profile, path: Path, marks: _Marks) -> None:
    known = {r.name for r in profile.registers}
    named: list[tuple[str, _Path]] = [(profile.probe.register, ("probe", "register"))]
    for index, golden in enumerate(profile.golden):
        named += [(name, ("golden", index, "expect", name)) for name, _ in golden.expect]
    for name, at in named:
        if name and name not in known:
            file, line = _mark(marks, at, path)
            raise InputError(
                f"names the register {name!r}, which the profile does not have",
                file=file,
                line=line,
                field=".".join(map(str, at)),
                hint=f"it has: {', '.join(sorted(known))}",
            )
    for register in profile.registers:
        at = ("registers", register.name)
        wanted = {
            Protocol.MODBUS: register.fc != 0 and register.size > 0 and register.size % 2 == 0,
            Protocol.DLT645: register.fc == 0 and register.addr > 0,
            Protocol.MTSICS: bool(register.command),
        }[profile.protocol]
        if not wanted:
            file, line = _mark(marks, at, path)
            raise InputError(
                f"does not say where protocol {profile.protocol} finds it",
                file=file,
                line=line,
                field=".".join(at),
                hint="modbus: fc, addr and whole words; dlt645: addr and size; mtsics: command",
            )
