"""Which blocks of words to ask a Modbus device for: few requests, each a consistent snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from device_profiles.profile import Register


@dataclass(frozen=True, slots=True)
class Block:
    """One request."""

    fc: int
    """Function code 3 or 4."""
    addr: int
    """PDU address of its first word."""
    words: int
    """Words asked for, 1–125."""
    registers: tuple[Register, ...]
    """Registers inside, by address."""


def plan(registers: Sequence[Register], max_words: int, max_gap: int) -> tuple[Block, ...]:
    """Blocks that cover `registers`, each at most `max_words` long, over gaps ≤ `max_gap` words.

    Greedy by address, which needs the fewest blocks: a block is closed only when it must be. A
    register is never cut in two, so a value longer than `max_words` gets a block of its own.
    """
    blocks: list[Block] = []
    for register in sorted(registers, key=lambda r: (r.fc, r.addr, r.words)):
        end = register.addr + register.words
        last = blocks[-1] if blocks else None
        if last is not None and last.fc == register.fc:
            reach = last.addr + last.words
            if register.addr - reach <= max_gap and end - last.addr <= max_words:
                words = max(reach, end) - last.addr
                blocks[-1] = Block(last.fc, last.addr, words, (*last.registers, register))
                continue
        blocks.append(Block(register.fc, register.addr, register.words, (register,)))
    return tuple(blocks)
