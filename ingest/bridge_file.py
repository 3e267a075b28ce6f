"""Reads the `bridges` of plant.yaml or of a file of their own; every fault with its field."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from footprint.plant import PlantModel, Register
from footprint.reader import Node
from ingest.bridge_mapping import (
    DEVICE,
    ISO,
    TIME_FORMATS,
    BridgeMapping,
    MappedMessage,
    MappedValue,
    Pointer,
    TimePlace,
    converts,
)
from mrv.channel import ChannelKind
from mrv.errors import MeterprintError
from mrv.interval import NS_PER_S
from mrv.quantity import unit
from mrv.strict_json import MAX_SAFE_INTEGER, canonical

MOST_FLUSH_MS = 10_000
"""Longest time a reading waits for company, ms."""
MOST_PORT = 65_535
"""The last TCP port."""
_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)")


def pointer_of(node: Node) -> Pointer:
    """The pointer written at a node; a fault where it is none (RFC 6901 §3)."""
    text = node.text()
    if text and not text.startswith("/"):
        node.fault("a JSON pointer is expected", "write /energy/total, or '' for the whole message")
        return ()
    if re.search(r"~(?![01])", text):
        node.fault("a JSON pointer is expected", "~ is written ~0, and / inside a name ~1")
        return ()
    return tuple(
        token.replace("~1", "/").replace("~0", "~") for token in text.split("/")[1:] if text
    )


def _optional(node: Node) -> Pointer | None:
    return None if node.value is None else pointer_of(node)


def _time(node: Node) -> TimePlace:
    received = node.value == "received"
    if not received and not node.members(("at", "as", "offset", "behind_s", "ahead_s")):
        received = True
    offset = node.child("offset").text("")
    match = _OFFSET.fullmatch(offset)
    if offset and match is None:
        node.child("offset").fault("an offset from UTC is expected", "write '+08:00'")
    shift = None
    if match is not None and (int(match[2]) > 23 or int(match[3]) > 59):
        node.child("offset").fault("an offset from UTC is expected", "write '+08:00'")
    if match is not None:
        shift = (int(match[2]) * 3600 + int(match[3]) * 60) * (-1 if match[1] == "-" else 1)
    return TimePlace(
        pointer=None if received else pointer_of(node.child("at")),
        format=node.child("as").choice((ISO, *TIME_FORMATS), ISO),
        offset_s=shift,
        behind=_bounded(node.child("behind_s"), 604_800, 7_776_000) * NS_PER_S,
        ahead=_bounded(node.child("ahead_s"), 60, 86_400) * NS_PER_S,
    )


def _bounded(node: Node, default: int, high: int) -> int:
    value = node.integer(default)
    if value > high:
        node.fault(f"at most {high} s are expected")
    return min(value, high)


_VALUE = (
    "at",
    "register",
    "unit",
    "scale",
    "unit_at",
    "as",
    "finer",
    "length_s",
    "stamped",
    "tag_at",
)


def _value(node: Node, registers: Sequence[Register]) -> MappedValue | None:
    if not node.members(_VALUE):
        return None
    name = node.child("register").text()
    register = next((r for r in registers if r.id == name), None)
    if register is None and registers:
        known = ", ".join(sorted({r.id for r in registers}))
        node.child("register").fault(
            "a register of the instruments is expected", f"they have {known}"
        )
        return None
    own = register.unit if register is not None else "1"
    symbol = node.child("unit").text(own)
    try:
        if unit(symbol).kind != unit(own).kind:
            node.child("unit").fault(f"a unit that converts into {own} is expected")
    except MeterprintError as error:
        node.child("unit").fault("a known unit is expected", error.hint)
    amount = register is not None and register.kind == ChannelKind.AMOUNT
    for field in ("length_s", "stamped", "tag_at"):
        if not amount and node.child(field).value is not None:
            node.child(field).fault("only an amount has an interval and a batch")
    return MappedValue(
        pointer=pointer_of(node.child("at")),
        register=name,
        unit=symbol,
        scale=node.child("scale").number("1", positive=True),
        unit_pointer=_optional(node.child("unit_at")),
        as_text=node.child("as").choice(("number", "text"), "number") == "text",
        rounds=node.child("finer").choice(("refuse", "round"), "refuse") == "round",
        length=_bounded(node.child("length_s"), 0, MAX_SAFE_INTEGER // NS_PER_S) * NS_PER_S,
        stamped_end=node.child("stamped").choice(("start", "end"), "start") == "end",
        tag_pointer=_optional(node.child("tag_at")),
    )


def _topic(node: Node) -> str:
    topic = node.text()
    levels = topic.split("/")
    named = [level for level in levels if "{" in level or "}" in level]
    if not topic or len(named) > 1 or any(level != DEVICE for level in named):
        node.fault("an MQTT filter with at most one level {device} is expected")
    for place, level in enumerate(levels):
        hash_inside = "#" in level and (level != "#" or place != len(levels) - 1)
        if hash_inside or ("+" in level and level != "+"):
            node.fault("+ and # are whole levels, # the last one", "see MQTT 3.1.1 §4.7.1")
    if topic.startswith(("meterprint/", "$")):
        node.fault("a topic of foreign devices is expected", "meterprint/ is for our own agents")
    return topic


_MESSAGE = ("topic", "device_at", "instrument", "time", "values", "quality")


def _message(node: Node, plant: PlantModel) -> MappedMessage | None:
    if not node.members(_MESSAGE):
        return None
    topic = _topic(node.child("topic"))
    named = node.child("instrument")
    table: dict[str, str] = {}
    only = ""
    if isinstance(named.value, dict):
        table = {str(device): named.child(str(device)).text() for device in named.value}
    elif named.value is not None:
        only = named.text()
    known = [i.id for i in plant.instruments]
    for name in [only] if only else table.values():
        if name not in known:
            place = named if only else named.child(next(d for d, n in table.items() if n == name))
            place.fault("an instrument of this plant is expected", f"known: {', '.join(known)}")
    device_at = _optional(node.child("device_at"))
    if not only and device_at is None and DEVICE not in topic:
        node.child("instrument").fault(
            "it is not said whose messages these are",
            "put a level {device} into the topic, or name device_at or one instrument",
        )
    time = _time(node.child("time"))
    asked = [only] if only else list(table.values()) or known
    meters = [i for i in plant.instruments if i.id in asked]
    registers = [r for i in meters for r in i.registers]
    values = [_value(item, registers) for item in node.child("values").items()]
    if not values:
        node.child("values").fault("at least one value is expected")
    for item, value in zip(node.child("values").items(), values, strict=True):
        if value is None:
            continue
        path = item.child("register")
        kinds = {r.kind for i in meters if (r := i.register(value.register)) is not None}
        if time.pointer is None and "amount" in kinds:
            path.fault(
                "an amount needs the time its device states",
                "a message that comes twice would count twice",
            )
        if only or table:
            lacking = [i.id for i in meters if i.register(value.register) is None]
            if lacking:
                path.fault(f"{lacking[0]} has no such register")
            elif any(not converts(value, i) for i in meters):
                item.child("unit").fault("a unit that converts into that of each instrument")
    _twice(node.child("values").items(), values)
    quality = node.child("quality")
    if quality.value is not None:
        quality.members(("at", "good"))
    return MappedMessage(
        topic=topic,
        device_pointer=device_at,
        instruments=table,
        only=only,
        time=time,
        values=tuple(value for value in values if value is not None),
        quality_pointer=None if quality.value is None else pointer_of(quality.child("at")),
        good=tuple(quality.child("good").texts()) if quality.value is not None else (),
    )


def _twice(nodes: Sequence[Node], values: Sequence[MappedValue | None]) -> None:
    seen = set()
    for node, value in zip(nodes, values, strict=True):
        if value is not None and value.register in seen:
            node.child("register").fault("a register no other value of the message shows")
        seen.add(value.register if value is not None else "")


_BRIDGE = ("agent", "stream", "broker", "flush_ms", "messages")
_BROKER = ("host", "port", "username", "password_env", "ca")


def read_bridges(node: Node, plant: PlantModel) -> tuple[BridgeMapping, ...]:
    """The bridges listed at a node; what is wrong goes to its faults, with its path."""
    found: list[BridgeMapping] = []
    for item in node.items():
        if not item.members(_BRIDGE):
            continue
        broker = item.child("broker")
        if broker.value is not None:
            broker.members(_BROKER)
        messages = [_message(n, plant) for n in item.child("messages").items()]
        if not messages:
            item.child("messages").fault("at least one topic pattern is expected")
        bridge = BridgeMapping(
            agent=item.child("agent").identifier(),
            stream=item.child("stream").identifier() if _has(item, "stream") else "bridge",
            host=broker.child("host").text("127.0.0.1" if broker.value is not None else ""),
            port=_port(broker.child("port")),
            username=broker.child("username").text(""),
            password_env=broker.child("password_env").text(""),
            ca=broker.child("ca").text(""),
            flush=_flush(item.child("flush_ms")),
            messages=tuple(message for message in messages if message is not None),
            digest=hashlib.sha256(canonical(item.value)).hexdigest(),
        )
        if bridge.agent in [b.agent for b in found]:
            item.child("agent").fault("another name than that of another bridge is expected")
        found.append(bridge)
    return tuple(found)


def _port(node: Node) -> int:
    value = node.integer(1883, low=1)
    if value > MOST_PORT:
        node.fault(f"a TCP port up to {MOST_PORT} is expected")
    return min(value, MOST_PORT)


def _flush(node: Node) -> int:
    value = node.integer(1000, low=20)
    if value > MOST_FLUSH_MS:
        node.fault(f"at most {MOST_FLUSH_MS} ms are expected")
    return min(value, MOST_FLUSH_MS) * 1_000_000


def _has(node: Node, name: str) -> bool:
    value: Any = node.value
    return isinstance(value, dict) and value.get(name) is not None
