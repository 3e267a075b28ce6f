"""JSON read strictly: no duplicate keys, no floats, no NaN, nothing after the value.

Wire records hold integers, strings, booleans, null, arrays and objects only (design §3), so a
number with a fraction or an exponent is refused here and never rounded.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from mrv.errors import WireError

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Control characters (Unicode Cc) and the two line separators: never in a name."""
MAX_SAFE_INTEGER = 2**53 - 1
"""Largest integer that travels as a JSON number (RFC 8259 §6); larger ones travel as strings."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise WireError(f"the member {name!r} stands twice", field=name)
            seen.add(name)
    return record


def _refuse(text: str) -> NoReturn:
    raise WireError(f"only integers travel as numbers, seen {text[:40]}")


def _integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > MAX_SAFE_INTEGER:
        raise WireError(
            f"an integer beyond ±(2^53−1) travels as a string, seen {text[:40]}",
        )
    return int(text)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_float=_refuse, parse_constant=_refuse, strict=True
)
_BOUNDED_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs,
    parse_float=_refuse,
    parse_constant=_refuse,
    parse_int=_integer,
    strict=True,
)
"""The same with each integer checked, which takes longer than all the rest."""


def loads(data: bytes, *, bounded: bool = True) -> Any:
    """The JSON value in `data` (UTF-8). Raises WireError with the position of the fault.

    With `bounded` no integer is beyond ±(2^53−1); without it the caller checks each one.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise WireError(f"not UTF-8 at byte {error.start}") from error
    try:
        value, end = (_BOUNDED_DECODER if bounded else _DECODER).raw_decode(text)
    except WireError:
        raise
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {error}") from error
    if end != len(text):
        raise WireError(f"text after the JSON value at character {end}")
    if "\\u" in text:
        refuse_half_surrogates(value)
    return value


def refuse_half_surrogates(value: Any) -> None:
    """A half of a surrogate pair, which JSON can escape (RFC 8259 §8.2), is no text.

    Raises WireError where one stands anywhere in the value.
    """
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise WireError("half a surrogate pair is no text") from error


def is_plain(text: str) -> bool:
    """Whether a name can be written on one line: no control character."""
    return text.isprintable() or not CONTROL.search(text)


def dumps(value: Any) -> bytes:
    """`value` as compact UTF-8 JSON; members stay in the order given."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def canonical(value: Any) -> bytes:
    """`value` as compact UTF-8 JSON with sorted members: the form whose hash is quoted."""
    return json.dumps(
        value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, sort_keys=True
    ).encode()


class Record:
    """A JSON object read member by member; every refusal names the member's dotted path."""

    __slots__ = ("_members", "_path", "_used")

    def __init__(self, value: object, path: str = "") -> None:
        if not isinstance(value, dict):
            raise WireError(f"an object is expected, seen {_short(value)}", field=path)
        self._members: dict[str, Any] = value
        self._path = path
        self._used: set[str] = set()

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def fault(self, name: str, expected: str) -> WireError:
        """The error for member `name` that is not what was expected."""
        seen = _short(self._members[name]) if name in self._members else "nothing"
        return WireError(f"{expected} is expected, seen {seen}", field=self._dotted(name))

    def _dotted(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def raw(self, name: str) -> Any:
        """The member as it stands, None where it is absent."""
        self._used.add(name)
        return self._members.get(name)

    def text(
        self, name: str, *, limit: int = 256, default: str | None = None, lines: bool = False
    ) -> str:
        """A string member of at most `limit` characters; control characters only in `lines`."""
        self._used.add(name)
        value = self._members.get(name)
        if value is None and default is not None and name not in self._members:
            return default
        if not isinstance(value, str) or len(value) > limit:
            raise self.fault(name, f"a string of at most {limit} characters")
        if not (lines or value.isprintable() or is_plain(value)):
            raise self.fault(name, "a string without control characters")
        return value

    def optional_text(self, name: str, *, limit: int = 256) -> str | None:
        """A string member, or None where it is null or absent."""
        return None if self.raw(name) is None else self.text(name, limit=limit)

    def integer(self, name: str, *, low: int = 0, high: int = MAX_SAFE_INTEGER) -> int:
        """An integer member within [low, high]."""
        value = self.raw(name)
        if type(value) is not int or not low <= value <= high:
            raise self.fault(name, f"an integer from {low} to {high}")
        return value

    def nanoseconds(self, name: str) -> int:
        """An absolute or monotonic time: a decimal string of ns, 0 ≤ ns < 2^63."""
        value = self.raw(name)
        if (
            not isinstance(value, str)
            or not value.isascii()
            or not value.isdigit()
            or len(value) > 19
            or (len(value) > 1 and value[0] == "0")
            or int(value) >= 2**63
        ):
            raise self.fault(name, "a decimal string of nanoseconds below 2^63")
        return int(value)

    def optional_nanoseconds(self, name: str) -> int | None:
        """A time, or None where it is null or absent."""
        return None if self.raw(name) is None else self.nanoseconds(name)

    def array(self, name: str, *, limit: int = 100_000) -> list[Any]:
        """An array member of at most `limit` elements."""
        value = self.raw(name)
        if not isinstance(value, list) or len(value) > limit:
            raise self.fault(name, f"an array of at most {limit} elements")
        return value

    def record(self, name: str) -> Record:
        """An object member."""
        return Record(self.raw(name), self._dotted(name))

    def records(self, name: str, *, limit: int = 100_000) -> list[Record]:
        """An array of objects."""
        path = self._dotted(name)
        return [Record(v, f"{path}[{i}]") for i, v in enumerate(self.array(name, limit=limit))]

    def close(self) -> None:
        """Refuse members nobody asked for: a typo must not be read as an absence."""
        extra = sorted(set(self._members) - self._used)
        if extra:
            raise WireError(f"unknown member {extra[0]!r}", field=self._dotted(extra[0]))


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
