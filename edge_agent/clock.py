"""What the machine knows of its clock: asked of the kernel, which whoever disciplines it tells.

`adjtimex(2)`: STA_UNSYNC in `status` says that nobody disciplines the clock (NTP, PTP or GPS
daemon alike clear it); `maxerror` is the bound of its error in µs.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

from mrv.envelope import Clock, ClockState

STA_UNSYNC = 0x0040
"""Flag of timex.status: clock unsynchronised (adjtimex(2))."""
TIME_ERROR = 5
"""Return value of adjtimex: clock not synchronised (adjtimex(2))."""
UNKNOWN_ERROR_MS = 1000
"""Stated bound where the kernel gives none, ms."""
TIMESYNC_MARKER = Path("/run/systemd/timesync/synchronized")
"""Made by systemd-timesyncd once it has set the clock."""


class _Timex(ctypes.Structure):
    """`struct timex` of 64-bit and 32-bit Linux (sys/timex.h), padded generously."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


@cache
def _libc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None)
    return library if hasattr(library, "adjtimex") else None


def kernel_clock() -> tuple[bool, int] | None:
    """(whether somebody disciplines the clock, bound of its error in ms); None = not to be had."""
    library = _libc()
    if library is None:
        return None
    answer = _Timex()
    state = library.adjtimex(ctypes.byref(answer))
    if state < 0:
        return None
    synchronised = state != TIME_ERROR and not answer.status & STA_UNSYNC
    return synchronised, -(-answer.maxerror // 1000)


def system_clock() -> Clock:
    """State of the machine's clock: synchronised where the kernel or timesyncd says so."""
    known = kernel_clock()
    if known is not None and known[0]:
        return Clock(ClockState.SYNCHRONISED, known[1], "ntp")
    if TIMESYNC_MARKER.exists():
        return Clock(ClockState.SYNCHRONISED, UNKNOWN_ERROR_MS, "ntp")
    return Clock(ClockState.INFORMATIVE, UNKNOWN_ERROR_MS, "system")
