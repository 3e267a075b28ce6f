"""A foreign message as readings, or the name of what is wrong with it. Pure.

Faults of a whole message (nobody's, no JSON, no time) refuse it: reason and bytes go to the
quarantine. Faults of one value make a null reading with a flag, so that the others of the message
stand; its bytes are kept in the quarantine as well.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from footprint.plant import Instrument, PlantModel
from ingest.bridge_json import (
    ABSENT,
    BAD_QUALITY,
    CONFLICT,
    MISSING,
    NO_TIME,
    NOT_A_NUMBER,
    OUT_OF_RANGE,
    REDELIVERED,
    RETAINED,
    ROUNDED,
    TIME_AHEAD,
    TIME_BEHIND,
    TOO_FINE,
    UNKNOWN_DEVICE,
    UNKNOWN_TOPIC,
    WRONG_UNIT,
    Numeral,
    Refused,
    at,
    read_json,
)
from ingest.bridge_mapping import (
    ISO,
    TIME_FORMATS,
    BridgeMapping,
    MappedMessage,
    MappedValue,
)
from ingest.bridge_number import NUMBER, NotExact, OutOfRange, counts, iso_ns, unix_ns
from mrv.quantity import unit
from mrv.strict_json import is_plain

MAX_ROUTES = 20_000
"""Topics whose way is remembered; beyond that they are looked up again."""
LONG_TOPIC = 512
"""Bytes of a topic that is too long to be remembered."""
WINDOW = 65_536
"""Messages that may be unacknowledged at once: MQTT numbers them with 16 bits (§2.3.1)."""
Row = tuple[int, int | None, str, int, str]
"""(t ns UTC, counts or None, flag, length ns, tag) of one reading."""


@dataclass(slots=True)
class _Memory:
    """Times and counts of a channel that came lately, in two generations."""

    seen: dict[int, int | None] = field(default_factory=dict)
    before: dict[int, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Register:
    """One value of one instrument's messages, ready to be read."""

    value: MappedValue
    channel: str
    numerator: int
    denominator: int
    modulus: int
    memory: _Memory


@dataclass(frozen=True, slots=True)
class _Route:
    """Whose messages come on a topic."""

    message: MappedMessage
    registers: tuple[_Register, ...]
    longest: int
    """Length of the longest interval of its amounts, ns."""
    key: str | None
    """Member with its time where that stands at the top of a message, else None."""


class Decoded(NamedTuple):
    """What a message says."""

    rows: Sequence[tuple[str, Row]]
    """(channel, reading) of what is new in it."""
    flags: Sequence[tuple[str, str]] = ()
    """(channel, flag) of its null readings."""
    duplicate: bool = False
    """Whether all of it was known."""


class Decoder:
    """Reads the messages of one bridge. It remembers what came lately, to tell twins."""

    def __init__(self, mapping: BridgeMapping, plant: PlantModel) -> None:
        self._mapping = mapping
        self._plant = plant
        self._memories: dict[str, _Memory] = {}
        self._devices: dict[tuple[int, str], _Route] = {}
        self._topics: dict[bytes, _Route | MappedMessage] = {}
        self._known = 0
        self._patterns = [
            (message, message.filter.split("/"), message.topic.split("/"))
            for message in mapping.messages
        ]

    def decode(
        self,
        topic: bytes,
        payload: bytes,
        now: int,
        *,
        again: bool = False,
        retained: bool = False,
    ) -> Decoded:
        """The readings of a message received at `now` (ns UTC). Raises Refused.

        `again` is the broker's word that it may have sent it before, `retained` that it had kept
        it: neither was read when it was received.
        """
        way = self._topics.get(topic)
        if way is None:
            way = self._way(topic)
        document = read_json(payload)
        route = way if isinstance(way, _Route) else self._by_pointer(way, document)
        message = route.message
        place = message.time
        if place.pointer is None:
            moment = now
        else:
            moment = _moment(route, document)
            if moment < now - place.behind:
                raise Refused(TIME_BEHIND, f"{(now - moment) // 10**9} s behind")
            if moment > now + place.ahead:
                raise Refused(TIME_AHEAD, f"{(moment - now) // 10**9} s ahead")
        fault = ""
        if (again or retained) and place.pointer is None:
            fault = REDELIVERED if again else RETAINED
        elif message.quality_pointer is not None:
            seen = at(document, message.quality_pointer)
            if seen is ABSENT or _word(seen) not in message.good:
                fault = BAD_QUALITY
        rows: list[tuple[str, Row]] = []
        flags: list[tuple[str, str]] = []
        fresh: list[tuple[dict[int, int | None], int, int | None]] = []
        twins = 0
        for register in route.registers:
            value, memory = register.value, register.memory
            flag, count = (fault, None) if fault else _number(register, document)
            t = moment - value.length if value.stamped_end else moment
            known = memory.seen.get(t, ABSENT)
            if known is ABSENT and memory.before:
                known = memory.before.get(t, ABSENT)
            if known is not ABSENT and (count is None or known is not None):
                if count is not None and known != count:
                    raise Refused(CONFLICT, f"{register.channel} at {t}: {known}, now {count}")
                twins += 1
                continue
            if count is None:
                flags.append((register.channel, flag))
            tag = ""
            if value.tag_pointer is not None:
                tag = _tag(at(document, value.tag_pointer))
            rows.append((register.channel, (t, count, flag, value.length, tag)))
            fresh.append((memory.seen, t, count))
        for seen, t, count in fresh:
            seen[t] = count
        self._known += 1
        if self._known >= WINDOW:
            self._forget()
        return Decoded(rows, flags, bool(twins) and not rows)

    def remember(self, channel: str, t: int, count: int | None) -> None:
        """A reading the journal has already: the same message must not be taken twice."""
        self._memories.setdefault(channel, _Memory()).seen[t] = count

    def _forget(self) -> None:
        self._known = 0
        for memory in self._memories.values():
            memory.before, memory.seen = memory.seen, {}

    def _way(self, topic: bytes) -> _Route | MappedMessage:
        """Whose messages come on a topic; the pattern where the message itself says so."""
        try:
            levels = topic.decode().split("/")
        except UnicodeDecodeError as error:
            raise Refused(UNKNOWN_TOPIC, "not UTF-8") from error
        for place, (message, pattern, named) in enumerate(self._patterns):
            if not _matches(pattern, levels):
                continue
            way: _Route | MappedMessage | None = message
            if message.only:
                way = self._of_device(place, message, "")
            elif message.device_pointer is None:
                device = levels[named.index("{device}")]
                way = self._of_device(place, message, device)
                if way is None:
                    raise Refused(UNKNOWN_DEVICE, device[:200])
            if way is not None:
                if len(self._topics) >= MAX_ROUTES:
                    self._topics.clear()
                if len(topic) <= LONG_TOPIC:
                    self._topics[topic] = way
                return way
        raise Refused(UNKNOWN_TOPIC, "/".join(levels)[:200])

    def _by_pointer(self, message: MappedMessage, document: Any) -> _Route:
        seen = at(document, message.device_pointer or ())
        device = str(seen) if isinstance(seen, str) else ""
        place = self._mapping.messages.index(message)
        route = self._of_device(place, message, device) if device else None
        if route is None:
            raise Refused(UNKNOWN_DEVICE, device[:200] or "nothing names the device")
        return route

    def _of_device(self, place: int, message: MappedMessage, device: str) -> _Route | None:
        route = self._devices.get((place, device))
        if route is not None:
            return route
        name = message.only or (
            message.instruments.get(device, "") if message.instruments else device
        )
        instrument = self._plant.instrument(name)
        route = None if instrument is None else self._route(message, instrument)
        if route is not None:  # strangers are not remembered: there is no end of their names
            self._devices[place, device] = route
        return route

    def _route(self, message: MappedMessage, instrument: Instrument) -> _Route | None:
        found = []
        for value in message.values:
            register = instrument.register(value.register)
            if register is None:
                return None
            channel = f"{instrument.id}.{register.id}"
            foreign, own = unit(value.unit), unit(register.unit)
            if foreign.kind != own.kind:
                return None
            factor = value.scale * foreign.scale / own.scale / register.resolution
            memory = self._memories.setdefault(channel, _Memory())
            found.append(
                _Register(
                    value,
                    channel,
                    factor.numerator,
                    factor.denominator,
                    register.modulus,
                    memory,
                )
            )
        longest = max(value.length for value in message.values)
        pointer = message.time.pointer or ()
        key = pointer[0] if len(pointer) == 1 else None
        return _Route(message, tuple(found), longest, key)


def _moment(route: _Route, document: Any) -> int:
    """When a message was read, ns UTC. Raises Refused."""
    place = route.message.time
    if route.key is not None and type(document) is dict:
        seen = document.get(route.key, ABSENT)
    else:
        seen = at(document, place.pointer or ())
    if not isinstance(seen, str):
        raise Refused(NO_TIME, "nothing" if seen is ABSENT else _word(seen)[:100])
    try:
        if place.format == ISO:
            moment = iso_ns(seen, place.offset_s)
        else:
            moment = unix_ns(seen, TIME_FORMATS[place.format])
    except ValueError as error:
        raise Refused(NO_TIME, str(error)) from error
    if not route.longest <= moment < 2**63:
        raise Refused(NO_TIME, seen[:100])
    return moment


def _matches(pattern: Sequence[str], levels: Sequence[str]) -> bool:
    """Whether a topic fits an MQTT filter (MQTT 3.1.1 §4.7)."""
    for place, level in enumerate(pattern):
        if level == "#":
            return True
        if place >= len(levels) or level not in ("+", levels[place]):
            return False
    return len(levels) == len(pattern)


def _number(register: _Register, document: Any) -> tuple[str, int | None]:
    """(flag, counts) of one value."""
    value = register.value
    if value.unit_pointer is not None and at(document, value.unit_pointer) != value.unit:
        return WRONG_UNIT, None
    pointer = value.pointer
    if len(pointer) == 1 and type(document) is dict:
        seen = document.get(pointer[0], ABSENT)
    else:
        seen = at(document, pointer)
    if type(seen) is not Numeral:
        if seen is ABSENT or seen is None:
            return MISSING, None
        if not (value.as_text and type(seen) is str and NUMBER.fullmatch(seen)):
            return NOT_A_NUMBER, None
    flag = ""
    try:
        count = counts(seen, register.numerator, register.denominator)
    except NotExact:
        if not value.rounds:
            return TOO_FINE, None
        flag = ROUNDED
        count = counts(seen, register.numerator, register.denominator, rounds=True)
    except OutOfRange:
        return OUT_OF_RANGE, None
    if register.modulus and not 0 <= count < register.modulus:
        return OUT_OF_RANGE, None
    return flag, count


def _word(seen: Any) -> str:
    """A scalar as the mapping would write it."""
    if isinstance(seen, bool):
        return "true" if seen else "false"
    return str(seen) if isinstance(seen, str) else json.dumps(seen)[:100]


def _tag(seen: Any) -> str:
    if isinstance(seen, str) and 0 < len(seen) <= 128 and is_plain(seen):
        return str(seen)
    return ""
