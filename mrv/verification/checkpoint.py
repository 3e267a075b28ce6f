"""Checkpoints: the signed head of a journal (C2SP tlog-checkpoint) with our extension lines.

Body: origin, size, base64 root, then `chain <name> <count> <identity of its head>` for each chain
of facts and `streams <hash of the list of stream heads>`, so that no tail can be left out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from mrv.errors import EvidenceError
from mrv.strict_json import Record, dumps, loads


class CheckpointError(EvidenceError):
    """A text that is not a checkpoint."""


@dataclass(frozen=True, slots=True, order=True)
class StreamHead:
    """An envelope that no other one of the journal follows."""

    agent: str
    """Agent."""
    stream: str
    """Stream."""
    epoch: str
    """Epoch."""
    seq: int
    """Number in the epoch."""
    identity: str
    """Identity."""


@dataclass(frozen=True, slots=True)
class ChainHead:
    """Length and last header of a chain of facts."""

    chain: str
    """Name of the chain, without spaces."""
    count: int
    """Number of facts, ≥ 1."""
    identity: str
    """Identity of the last header, hex."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a journal."""

    origin: str
    """Name of the journal = name of the key that signs it."""
    size: int
    """Number of entries."""
    root: bytes
    """RFC 6962 root, 32 bytes."""
    extensions: tuple[str, ...] = ()
    """Extension lines, without newline."""

    def text(self) -> bytes:
        """The text that is signed."""
        root = base64.b64encode(self.root).decode()
        lines = (self.origin, str(self.size), root, *self.extensions)
        return "".join(f"{line}\n" for line in lines).encode()

    @property
    def chains(self) -> tuple[ChainHead, ...]:
        """Heads of the fact chains. Raises CheckpointError where a line is malformed."""
        heads = []
        for line in self.extensions:
            parts = line.split(" ")
            if parts[0] != "chain":
                continue
            if len(parts) != 4 or not parts[2].isdigit():
                raise CheckpointError(f"not a chain line: {line!r}")
            heads.append(ChainHead(parts[1], int(parts[2]), parts[3]))
        return tuple(heads)

    @property
    def streams(self) -> str:
        """Hash of the list of stream heads, hex; "" where it is not stated."""
        for line in self.extensions:
            if line.startswith("streams "):
                return line.removeprefix("streams ")
        return ""


def extension_lines(chains: Iterable[ChainHead], streams: str) -> tuple[str, ...]:
    """The lines that bind chains and streams to a checkpoint, in a fixed order."""
    ordered = sorted(chains, key=lambda head: head.chain)
    lines = [f"chain {head.chain} {head.count} {head.identity}" for head in ordered]
    return (*lines, f"streams {streams}")


def parse_checkpoint(text: bytes) -> Checkpoint:
    """Read a checkpoint's text. Raises CheckpointError."""
    try:
        lines = text.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise CheckpointError("a checkpoint is UTF-8") from error
    if len(lines) < 4 or lines[-1] != "" or not all(lines[:-1]):
        raise CheckpointError("a checkpoint is origin, size and root, a line each")
    origin, size, root = lines[:3]
    if not size.isdigit() or (len(size) > 1 and size[0] == "0"):
        raise CheckpointError(f"a size is a decimal number, seen {size!r}")
    try:
        hashed = base64.b64decode(root, validate=True)
    except (binascii.Error, ValueError) as error:
        raise CheckpointError(f"a root is base64, seen {root!r}") from error
    if len(hashed) != 32:
        raise CheckpointError(f"a root has 32 bytes, seen {len(hashed)}")
    return Checkpoint(origin, int(size), hashed, tuple(lines[3:-1]))


def stream_list(heads: Iterable[StreamHead]) -> bytes:
    """The list of stream heads as text: a JSON array a line, sorted."""
    return b"".join(
        dumps([h.agent, h.stream, h.epoch, h.seq, h.identity]) + b"\n" for h in sorted(heads)
    )


def stream_list_hash(heads: Iterable[StreamHead]) -> str:
    """SHA-256 of the list of stream heads, hex."""
    return hashlib.sha256(stream_list(heads)).hexdigest()


def parse_stream_list(text: bytes) -> tuple[StreamHead, ...]:
    """Read a list of stream heads. Raises WireError or CheckpointError."""
    heads = []
    for line in text.splitlines():
        value = loads(line)
        if not isinstance(value, list) or len(value) != 5:
            raise CheckpointError("a stream head is [agent, stream, epoch, seq, identity]")
        names = ("agent", "stream", "epoch", "seq", "identity")
        record = Record(dict(zip(names, value, strict=True)))
        heads.append(
            StreamHead(
                record.text("agent"),
                record.text("stream"),
                record.text("epoch"),
                record.integer("seq"),
                record.text("identity"),
            )
        )
    return tuple(heads)
