"""Replay a profile's golden frames through the decoders the sources use."""

from __future__ import annotations

from device_profiles.decode import decode
from device_profiles.profile import Golden, Profile, Protocol, Register
from edge_agent import dlt645_frame, mtsics_reply
from mrv.errors import InputError


def registers_in_block(profile: Profile, fc: int, addr: int, words: int) -> tuple[Register, ...]:
    """Registers that lie wholly inside one Modbus block."""
    return tuple(
        r
        for r in profile.registers
        if r.fc == fc and addr <= r.addr and r.addr + r.words <= addr + words
    )


def decode_weight(register: Register, line: str) -> tuple[int | None, str]:
    """(counts, quality) of a weigher's reply; a weight that may not be accounted is None."""
    reply = mtsics_reply.parse_weight(line)
    if reply.quality:
        return None, reply.quality
    if reply.unit != register.unit:
        return None, mtsics_reply.OTHER_UNIT
    decoded = decode(register, reply.number.encode("ascii", "replace"))
    return decoded.v, decoded.quality


def decode_golden(profile: Profile, golden: Golden) -> tuple[tuple[str, int | None], ...]:
    """(register, counts) of every value in the frame that the golden entry names."""
    names = [name for name, _ in golden.expect]
    if profile.protocol is Protocol.MTSICS:
        return tuple(
            (name, decode_weight(profile.register(name), golden.frame)[0]) for name in names
        )
    raw = bytes.fromhex(golden.frame)
    if profile.protocol is Protocol.DLT645:
        frame = dlt645_frame.decode(raw)
        di = dlt645_frame.identifier(frame.data)
        return tuple(
            (r.name, decode(r, frame.data[4:]).v) for r in profile.registers if r.addr == di
        )
    block = registers_in_block(profile, golden.fc, golden.addr, len(raw) // 2)
    if not set(names) <= {r.name for r in block}:
        raise InputError(
            f"golden frame at {golden.addr:#06x} does not hold {', '.join(names)}", field="golden"
        )
    return tuple((r.name, decode(r, raw[2 * (r.addr - golden.addr) :][: r.size]).v) for r in block)
