"""Receipts: what ingest has journalled, signed; only they free an agent's outbox (design §3)."""

from __future__ import annotations

from dataclasses import dataclass

from mrv.errors import WireError
from mrv.strict_json import Record, dumps, loads

RECEIPT_VERSION = 1
"""The version this module writes and reads."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the journal holds of one epoch of one stream."""

    origin: str
    """Journal that gives it."""
    agent: str
    """Agent it is for."""
    stream: str
    """Stream; "" where only `also` is meant."""
    epoch: str
    """Epoch; "" where only `also` is meant."""
    ranges: tuple[tuple[int, int, str], ...]
    """(first seq, last seq, identity of the last) of each unbroken run."""
    also: tuple[str, ...]
    """Identities journalled without a place: tables, envelopes whose header cannot be read."""
    index: int
    """Journal index of the newest entry meant."""
    size: int
    """Size of the journal when the receipt was given."""


def render_receipt(receipt: Receipt) -> bytes:
    """The signed text of a receipt: one line of JSON and a newline."""
    return (
        dumps(
            {
                "v": RECEIPT_VERSION,
                "origin": receipt.origin,
                "agent": receipt.agent,
                "stream": receipt.stream,
                "epoch": receipt.epoch,
                "ranges": [list(r) for r in receipt.ranges],
                "also": list(receipt.also),
                "index": receipt.index,
                "size": receipt.size,
            }
        )
        + b"\n"
    )


def parse_receipt(text: bytes) -> Receipt:
    """The receipt in a note's signed text. Raises WireError naming the member."""
    if not text.endswith(b"\n") or text.count(b"\n") != 1:
        raise WireError("a receipt is one line of JSON and a newline")
    record = Record(loads(text[:-1]))
    if record.integer("v") != RECEIPT_VERSION:
        raise record.fault("v", f"receipt version {RECEIPT_VERSION}")
    ranges = []
    for row in record.array("ranges"):
        if (
            not isinstance(row, list)
            or len(row) != 3
            or type(row[0]) is not int
            or type(row[1]) is not int
            or not 0 <= row[0] <= row[1]
            or not isinstance(row[2], str)
        ):
            raise record.fault("ranges", "[from, to, identity of to] each")
        ranges.append((row[0], row[1], row[2]))
    also = record.array("also")
    if not all(isinstance(identity, str) for identity in also):
        raise record.fault("also", "identities")
    receipt = Receipt(
        origin=record.text("origin"),
        agent=record.text("agent"),
        stream=record.text("stream"),
        epoch=record.text("epoch"),
        ranges=tuple(ranges),
        also=tuple(also),
        index=record.integer("index"),
        size=record.integer("size"),
    )
    record.close()
    return receipt
