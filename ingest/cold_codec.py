"""A block of journal entries in little space, restored byte for byte.

Envelopes of a stream differ from each other in their numbers. A block takes numbers, hashes and
signatures out of the notes and leaves a mark for each, so that what remains repeats itself; times
and values become differences to the ones before in the same channel, laid out by bytes of equal
weight. Whatever does not come back as it was stays in the text.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice
from typing import Any, NamedTuple

import msgspec
import numpy as np

from ingest.cold_sections import ColdDataError, SectionReader, planes, pressed, raw

SALT = 32
"""Bytes of a leaf's salt."""
HASH = 32
"""Bytes of an identity."""
SIGNATURE = 65
"""Last byte of the key id and Ed25519 signature, bytes (C2SP signed-note)."""
TEXT_LEVEL = 9
"""Zstandard level of the text; higher ones gain under 1 % and take five times as long."""
LARGEST = 2**62
"""Numbers from here on stay in the text, so that differences fit 64 bits."""

END, KNOWN, UNKNOWN, MOMENT, COLUMN, SIGNED, PLAIN = range(7)
"""Marks in the text; a note holds no control character but the newline."""

_NUMBER = rb"(0|[1-9][0-9]{0,18})"
_TOKEN = re.compile(
    rb'"prev":"([0-9a-f]{64})"'
    rb'|"t":"' + _NUMBER + rb'","mono":"' + _NUMBER + rb'"'
    rb'|"ch":"([^"\\\n]*)","t0":"' + _NUMBER + rb'","dt":(\[[0-9,]+\]),"v":(\[[0-9,nul-]+\])'
)
_SIGNATURE = re.compile(rb"\n\n\xe2\x80\x94 [^ \n]+ [A-Za-z0-9+/]{4}([A-Za-z0-9+/]{87}=)\n\Z")
_AGENT = re.compile(rb'"agent":"([^"]*)"')
_MARKS = [bytes([mark]) for mark in range(7)]
_MARK = re.compile(rb"([\x01-\x06])")
_WHOLE = bytes([PLAIN])
_STEPS = msgspec.json.Decoder(list[int])
_VALUES = msgspec.json.Decoder(list[int | None])
_encode = msgspec.json.Encoder().encode


class Stored(NamedTuple):
    """What a block holds of an entry."""

    kind: int
    """Type byte."""
    salt: bytes
    """Salt of its leaf."""
    note: bytes
    """The signed note."""
    identity: bytes
    """SHA-256 of the signed text."""


@dataclass(slots=True)
class _Numbers:
    """Numbers of a block by role, in the order in which they are met."""

    places: list[int] = field(default_factory=list)
    """How many entries back the envelope before stands."""
    moments: list[int] = field(default_factory=list)
    """Differences of `t` to the entry before, of `mono` to the clock, of `t0` to the last time."""
    sizes: list[int] = field(default_factory=list)
    """Readings of a column, how many more values than times it has, and how many are null."""
    steps: list[int] = field(default_factory=list)
    """Times since the reading before, ns."""
    values: list[int] = field(default_factory=list)
    """Values; the one before stands for a null."""
    firsts: list[tuple[int, int]] = field(default_factory=list)
    """Where the values of a column begin, and the value of its channel before it."""
    lengths: list[int] = field(default_factory=list)
    """Bytes of notes that are kept as they are."""
    missing: list[int] = field(default_factory=list)
    """Places of values that are null."""

    def streams(self) -> tuple[Any, ...]:
        """All of them, in the order of the block."""
        moments = (self.places, self.moments, self.sizes, self.steps)
        return (*moments, self._differences(), self.lengths, self.missing)

    def _differences(self) -> Any:
        """Differences of values, each to the one before in its channel."""
        values = np.array(self.values, np.int64)
        found = np.diff(values, prepend=0)
        if self.firsts:
            places, before = np.array(self.firsts, np.int64).T
            found[places] = values[places] - before
        return found


@dataclass(slots=True)
class _Past:
    """What earlier entries of the block say about the next one."""

    seen: dict[bytes, int] = field(default_factory=dict)
    """Place of each identity."""
    t: int = 0
    """`t` of the entry before."""
    agent: bytes = b""
    """Who signed the entry at hand, as far as its first words say."""
    ahead: dict[bytes, int] = field(default_factory=dict)
    """How far `mono` was ahead of `t` in an agent's entry before, ns."""
    time: dict[bytes, int] = field(default_factory=dict)
    """Last time of a channel."""
    value: dict[bytes, int] = field(default_factory=dict)
    """Last value of a channel."""


class _Packer:
    """Takes the notes of a block apart."""

    def __init__(self) -> None:
        self.text = bytearray()
        self.hashes = bytearray()
        self.signatures = bytearray()
        self.plain = bytearray()
        self.numbers = _Numbers()
        self._past = _Past()
        self._place = 0

    def add(self, entry: Stored) -> None:
        """Take in one entry."""
        signature = _SIGNATURE.match(entry.note, max(entry.note.rfind(b"\n\n"), 0))
        signed = b"" if signature is None else base64.b64decode(signature[1])
        if (
            signature is None
            or base64.b64encode(signed) != signature[1]
            or any(mark in entry.note for mark in _MARKS)
        ):
            self.text += bytes([PLAIN, END])
            self.plain += entry.note
            self.numbers.lengths.append(len(entry.note))
        else:
            cut = entry.note[: signature.start(1)]
            last = 0
            for token in _TOKEN.finditer(cut):
                if not last:
                    self._past.agent = _agent(cut[: token.start()])
                self.text += cut[last : token.start()]
                self._token(token)
                last = token.end()
            self.text += cut[last:]
            self.text += bytes([SIGNED, END])
            self.signatures += signed
        self._past.seen[entry.identity] = self._place
        self._place += 1

    def _token(self, token: re.Match[bytes]) -> None:
        prev, t, mono, channel, t0, steps, values = token.groups()
        if prev is not None:
            self._prev(bytes.fromhex(prev.decode()))
        elif t is not None:
            if not self._moment(int(t), int(mono)):
                self.text += token[0]
        elif not self._column(channel, int(t0), steps, values):
            self.text += token[0]

    def _prev(self, identity: bytes) -> None:
        place = self._past.seen.get(identity)
        if place is None:
            self.text.append(UNKNOWN)
            self.hashes += identity
        else:
            self.text.append(KNOWN)
            self.numbers.places.append(self._place - place)

    def _moment(self, t: int, mono: int) -> bool:
        past = self._past
        if max(t, mono) >= LARGEST:
            return False
        self.text.append(MOMENT)
        ahead = mono - t
        self.numbers.moments += (t - past.t, ahead - past.ahead.get(past.agent, 0))
        past.t, past.ahead[past.agent] = t, ahead
        return True

    def _column(self, channel: bytes, t0: int, steps: bytes, values: bytes) -> bool:
        past, numbers = self._past, self.numbers
        before = past.value.get(channel, 0)
        missing: list[int] = []
        read: Sequence[int | None]
        try:
            dt = _STEPS.decode(steps)
            if b"n" in values:
                read = _VALUES.decode(values)
                missing = [place for place, value in enumerate(read) if value is None]
                shown = _filled(read, before)
            else:
                shown = read = _STEPS.decode(values)
        except msgspec.MsgspecError:
            return False
        if _encode(dt) != steps or _encode(read) != values:
            return False
        high, low, end = max(shown), min(shown), t0 + sum(dt)
        if max(high, -low, end) >= LARGEST:
            return False
        self.text += b'"ch":"' + channel + b'",'
        self.text.append(COLUMN)
        numbers.moments.append(t0 - past.time.get(channel, past.t))
        numbers.sizes += (len(dt), len(shown) - len(dt), len(missing))
        numbers.missing += missing
        numbers.steps += dt
        numbers.firsts.append((len(numbers.values), before))
        numbers.values += shown
        past.time[channel] = end
        past.value[channel] = shown[-1]
        return True


def _filled(values: Sequence[int | None], last: int) -> list[int]:
    """Values with the one before in the place of a null."""
    return [last := last if value is None else value for value in values]


def pack(entries: Sequence[Stored], checks: Sequence[bytes]) -> bytes:
    """A block of entries; `checks` are a few bytes of each leaf hash, by which one is named."""
    packer = _Packer()
    for entry in entries:
        packer.add(entry)
    kinds = bytes(entry.kind for entry in entries)
    salts = b"".join(entry.salt for entry in entries)
    sections = [
        *(raw(part) for part in (kinds, b"".join(checks), salts)),
        *(raw(bytes(part)) for part in (packer.signatures, packer.hashes)),
        pressed(bytes(packer.text), TEXT_LEVEL),
        pressed(bytes(packer.plain), TEXT_LEVEL),
    ]
    for stream in packer.numbers.streams():
        sections += planes(stream)
    return struct.pack("<HB", len(entries), len(checks[0]) if checks else 0) + b"".join(sections)


class _Unpacker:
    """Puts the notes of a block together again."""

    def __init__(self, data: bytes, at: int, count: int, check: int) -> None:
        reader = SectionReader(data, at)
        self.kinds, self.checks, self.salts = (reader.section() for _ in range(3))
        if (len(self.kinds), len(self.checks), len(self.salts)) != (
            count,
            count * check,
            count * SALT,
        ):
            raise ColdDataError("the block has another number of entries than it says")
        signatures, hashes, text, plain = (reader.section() for _ in range(4))
        streams = [iter(reader.numbers()) for _ in range(7)]
        if reader.left:
            raise ColdDataError("the block is longer than its parts")
        self._places, self._moments, self._sizes, self._steps = streams[:4]
        self._values, self._lengths, self._missing = streams[4:]
        self._signatures = _portions(signatures, SIGNATURE)
        self._hashes = _portions(hashes, HASH)
        self._plain, self._plain_at = plain, 0
        self._past = _Past()
        self._identities: list[bytes] = []
        texts = text.split(b"\0")
        if len(texts) != count + 1 or texts[-1]:
            raise ColdDataError("the block has another number of texts than it says")
        self._texts = texts

    def entries(self) -> Iterator[Stored]:
        """The entries, in order."""
        for place, text in enumerate(self._texts[:-1]):
            note = self._note(text)
            identity = hashlib.sha256(note[: note.rfind(b"\n\n") + 1]).digest()
            self._identities.append(identity)
            salt = self.salts[place * SALT : (place + 1) * SALT]
            yield Stored(self.kinds[place], salt, note, identity)

    def _note(self, text: bytes) -> bytes:
        if text == _WHOLE:
            size = next(self._lengths)
            self._plain_at += size
            if size < 0 or self._plain_at > len(self._plain):
                raise ColdDataError("a note of the block is cut off")
            return self._plain[self._plain_at - size : self._plain_at]
        parts = _MARK.split(text)
        before = parts[0]
        self._past.agent = _agent(before)
        for place in range(1, len(parts), 2):
            parts[place] = self._token(parts[place][0], before)
            before = parts[place + 1]
        return b"".join(parts)

    def _token(self, mark: int, before: bytes) -> bytes:
        if mark == COLUMN:
            return self._column(before[before.rfind(b'"ch":"') + 6 : -2])
        if mark == MOMENT:
            past = self._past
            past.t += next(self._moments)
            ahead = past.ahead.get(past.agent, 0) + next(self._moments)
            past.ahead[past.agent] = ahead
            return b'"t":"%d","mono":"%d"' % (past.t, past.t + ahead)
        if mark == SIGNED:
            return base64.b64encode(next(self._signatures)) + b"\n"
        if mark == KNOWN:
            back = next(self._places)
            if not 0 < back <= len(self._identities):
                raise ColdDataError("an envelope of the block follows one that is not there")
            return b'"prev":"%s"' % binascii.hexlify(self._identities[-back])
        if mark == UNKNOWN:
            return b'"prev":"%s"' % binascii.hexlify(next(self._hashes))
        raise ColdDataError(f"mark {mark} has no meaning here")

    def _column(self, channel: bytes) -> bytes:
        past = self._past
        t0 = past.time.get(channel, past.t) + next(self._moments)
        size = next(self._sizes)
        more = next(self._sizes)
        lacking = next(self._sizes)
        if not 0 < size < LARGEST or size + more < 1 or lacking < 0:
            raise ColdDataError("a column of the block has no length")
        steps = list(islice(self._steps, size))
        known = past.value.get(channel, 0)
        values = list(islice(self._values, size + more))
        values[0] += known
        values = [*accumulate(values)]
        past.time[channel] = t0 + sum(steps)
        past.value[channel] = values[-1]
        written = _encode(self._with_nulls(values, lacking) if lacking else values)
        return b'"t0":"%d","dt":%s,"v":%s' % (t0, _encode(steps), written)

    def _with_nulls(self, values: Sequence[int], lacking: int) -> list[int | None]:
        shown: list[int | None] = [*values]
        for place in islice(self._missing, lacking):
            shown[place] = None
        return shown


def _agent(words: bytes) -> bytes:
    """The agent that the first words of an envelope name, "" where they name none."""
    found = _AGENT.search(words)
    return b"" if found is None else found[1]


def _portions(data: bytes, size: int) -> Iterator[bytes]:
    if len(data) % size:
        raise ColdDataError("a list of the block is cut off")
    return (data[at : at + size] for at in range(0, len(data), size))


def unpack(data: bytes) -> tuple[list[Stored], list[bytes]]:
    """Entries and checks of a block. Raises ColdDataError where the bytes are not what was packed.

    A flipped bit may go unnoticed here; the leaf hashes show it.
    """
    try:
        count, check = struct.unpack_from("<HB", data)
        unpacker = _Unpacker(data, 3, count, check)
        entries = list(unpacker.entries())
    except (StopIteration, RuntimeError) as error:
        raise ColdDataError("the block has fewer numbers than its text asks for") from error
    except (struct.error, ValueError, IndexError, OverflowError, MemoryError) as error:
        raise ColdDataError(f"no block: {error}") from error
    checks = unpacker.checks
    return entries, [checks[at : at + check] for at in range(0, count * check, check or 1)]
