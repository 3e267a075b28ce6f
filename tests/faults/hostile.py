"""Hostile bytes: what a storm of mutated envelopes and facts is made of."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.faults.figures import Progress

EXTREMES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53 - 1, 2**53, -(2**53), 2**63 - 1, 2**63, -(2**63),
    2**64, 10**30, 1.5, 1e308, "", "0", "-0", "+1", " 1", "1 ", "0x10", "1e9", "NaN", "Infinity",
    "9" * 400, str(2**63), str(-(2**63)), "9223372036854775807", "\u0000", "\ud83d\ude00", "ａ",
    "١٢", "../..", "' OR 1=1 --", "<script>", "{}", [], {}, [[]], [None], {"": ""}, [1] * 2000,
    "e" * 100_000, ["a", 1, None], {"a": {"b": {"c": []}}}, "2026-02-30", "1/0", "1/3", "-1",
)  # fmt: skip
"""Values that programs trip over."""
RAW = (
    b"\x00", b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"\xe2\x80\x94 ", b"\n", b"\n\n",
    b'"a":1,"a":2', b"NaN", b"Infinity", b"-0", b"1e400", b"[" * 2000, b'{"a":' * 2000, b"\r\n",
    b"\xef\xbb\xbf", b" ", b"9" * 5000, b"\\u0000", b"\\ud800", b"/**/", b",",
)  # fmt: skip
"""Bytes that parsers trip over."""


def mutate_bytes(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """One to three mutations: bit flip, splice, truncation, insertion, deletion, repetition."""
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(data) + 1) if data else 0
        kind = rng.randrange(7)
        if kind == 0 and data:
            place = min(place, len(data) - 1)
            data = data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
        elif kind == 1:
            data = data[:place] + other[rng.randrange(len(other) + 1) :]
        elif kind == 2:
            data = data[:place]
        elif kind == 3:
            data = data[:place] + rng.choice(RAW) + data[place:]
        elif kind == 4:
            data = data[:place] + data[place + rng.randint(1, 40) :]
        elif kind == 5:
            data = data[:place] + data[max(0, place - rng.randint(1, 200)) :]
        else:
            data = data[:place] + rng.randbytes(rng.randint(1, 8)) + data[place:]
    return data


def mutate_json(value: Any, rng: random.Random) -> Any:
    """A copy of a JSON value with one leaf or branch replaced, removed, renamed or doubled."""
    value = json.loads(json.dumps(value))
    places = list(_places(value))
    if not places:
        return rng.choice(EXTREMES)
    holder, key = rng.choice(places)
    kind = rng.randrange(5)
    if kind <= 1 or (kind == 4 and not isinstance(holder, list)):
        holder[key] = rng.choice(EXTREMES)
    elif kind == 2:
        del holder[key]
    elif kind == 3 and isinstance(holder, dict):
        holder[rng.choice(("", "x", "v", "id", key + " "))] = holder.pop(key)
    elif isinstance(holder, list):
        holder.insert(key, holder[key])
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        for key in value:
            yield value, key
            yield from _places(value[key])
    elif isinstance(value, list):
        for place, item in enumerate(value[:50]):
            yield value, place
            yield from _places(item)


def mutate_line(line: bytes, rng: random.Random, other: bytes) -> bytes:
    """A changed line of JSON: by structure three times out of four, else by bytes."""
    if rng.random() < 0.25:
        return mutate_bytes(line, rng, other)
    value = json.loads(line)
    for _ in range(rng.randint(1, 2)):
        value = mutate_json(value, rng)
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def torture(folder: Path) -> list[bytes]:
    """The malformed JSON of the reference set, as bytes."""
    lines = (folder / "json_malformed.jsonl").read_text().splitlines()
    return [base64.b64decode(json.loads(line)["b64"]) for line in lines]


def attempts(count: int, seed: int, make: Callable[[random.Random], None]) -> None:
    """Call `make` `count` times, each with a generator of its own, so that one can be repeated."""
    progress = Progress("attempts", count)
    for place in range(count):
        try:
            make(random.Random(seed * 1_000_003 + place))
        except Exception as error:
            raise AssertionError(f"attempt {place} of seed {seed}: {error!r}") from error
        if not place % 256:
            progress.at(place)
