"""Ed25519 signatures of many messages verified at once, beside whatever else Python does (ADR 32).

libsodium (PyNaCl) verifies in half the time OpenSSL takes here. What it accepts is accepted; what
it refuses `PublicKey.verify` decides, so that exactly the same signatures hold as for a verifier.
A libsodium that accepts more than OpenSSL (cofactored verification) is not used at all. A group is
verified in one compiled loop without the interpreter's lock: a thread that gives the lock back for
each signature waits for a busy one each time it wants it again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Final

import structlog

from mrv.verification.note import PublicKey

Signed = tuple[PublicKey, bytes, bytes]
"""(key, text, signature)."""
SIGNATURE_BYTES: Final = 64
FEWEST: Final = 4
"""Signatures from which a group is worth the compiled loop."""
COFACTORED: Final = (
    (
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        (
            "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed512"
            "5ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09"
        ),
    ),
    (
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        (
            "21122a84e0b5fca4052f5b1235c80a537878b38f3142356b2c2384ebad4668b7"
            "e40bc836dac0f71076f9abe3a53f9c03c1ceeeddb658d0030494ace586687405"
        ),
    ),
)
"""(key, message, signature) that hold with the cofactor only: cases 4 and 5 of ed25519-speccheck
(Chalkias, Garillot, Nikolaenko: Taming the many EdDSAs, SSR 2020)."""
GENUINE: Final = (
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    "72",
    (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    ),
)
"""(key, message, signature) of RFC 8032 §7.1, test 2."""

log = structlog.get_logger("ingest")

Loop = Callable[[Sequence[Signed]], list[bool]]
"""Verdicts of libsodium; each signature has 64 bytes."""


class SignatureCheck:
    """Says of many signatures whether they hold. `warm` makes large groups quicker."""

    def __init__(self) -> None:
        self._one_by_one = _accepted(_library())
        self._at_once: Loop | None = None

    @property
    def quick(self) -> bool:
        """Whether libsodium is there and may be asked."""
        return self._one_by_one is not None

    def warm(self) -> None:
        """Have the compiled loop ready (half a second); may be called from a thread of its own."""
        if self._one_by_one is not None and self._at_once is None:
            self._at_once = _accepted(_compiled())

    def hold(self, signed: Sequence[Signed]) -> list[bool]:
        """Whether each signature is its key's, as `PublicKey.verify` says."""
        loop = self._one_by_one
        if self._at_once is not None and len(signed) >= FEWEST:
            loop = self._at_once
        if loop is None or any(len(signature) != SIGNATURE_BYTES for _, _, signature in signed):
            return [key.verify(text, signature) for key, text, signature in signed]
        return [
            quick or key.verify(text, signature)
            for quick, (key, text, signature) in zip(loop(signed), signed, strict=True)
        ]


def _accepted(loop: Loop | None) -> Loop | None:
    """The loop where it gives the verdicts we know, None where it does not or there is none."""
    if loop is None:
        return None
    cases = [GENUINE, *COFACTORED, (GENUINE[0], "73", GENUINE[2])] * FEWEST
    signed = [
        (PublicKey("known", bytes.fromhex(key)), bytes.fromhex(text), bytes.fromhex(signature))
        for key, text, signature in cases
    ]
    if loop(signed) == [True, False, False, False] * FEWEST:
        return loop
    log.warning("libsodium_not_used", reason="it does not verify as OpenSSL does")
    return None


def _library() -> Loop | None:
    """Asks libsodium for one signature after the other, None where it is not installed."""
    try:
        from nacl.bindings import crypto_sign_open  # noqa: PLC0415 (servers alone have it)
        from nacl.exceptions import BadSignatureError  # noqa: PLC0415
    except ImportError:
        return None

    def holds(key: PublicKey, text: bytes, signature: bytes) -> bool:
        try:
            crypto_sign_open(signature + text, key.key)
        except BadSignatureError:
            return False
        return True

    return lambda signed: [holds(*one) for one in signed]


def _each(check: Any, base: int, starts: Any, keys: int, good: Any) -> None:
    """Verify message after message; addresses of the messages and of the keys, 32 bytes each."""
    for i in range(len(good)):
        size = starts[i + 1] - starts[i]
        good[i] = check(0, 0, base + starts[i], size, keys + 32 * i) == 0


def _compiled() -> Loop | None:
    """The loop compiled by numba around libsodium's own function; None where it cannot be."""
    try:
        import numba  # noqa: PLC0415 (a third of a second, and only servers have it)
        import numpy as np  # noqa: PLC0415
        from nacl._sodium import ffi, lib  # noqa: PLC0415 (its function, for compiled code)
        from numba import types  # noqa: PLC0415
        from numba.experimental import function_type  # noqa: F401, PLC0415 (knows `Opener`)

        address = int(ffi.cast("uintptr_t", ffi.addressof(lib, "crypto_sign_open")))
    except (ImportError, AttributeError) as error:
        log.warning("signatures_one_by_one", reason=str(error))
        return None
    word = types.int64

    class Opener(types.WrapperAddressProtocol):
        """`crypto_sign_open(m, mlen, sm, smlen, pk)`: 0 where the signature holds."""

        def __wrapper_address__(self) -> int:
            return address

        def signature(self) -> Any:
            return types.int32(word, word, word, word, word)

    each, opener = numba.njit(nogil=True, cache=True)(_each), Opener()

    def loop(signed: Sequence[Signed]) -> list[bool]:
        messages = [signature + text for _, text, signature in signed]
        starts = np.fromiter(accumulate(map(len, messages), initial=0), np.int64)
        good = np.zeros(len(signed), np.uint8)
        joined = np.frombuffer(b"".join(messages), np.uint8)
        keys = np.frombuffer(b"".join([key.key for key, _, _ in signed]), np.uint8)
        each(opener, joined.ctypes.data, starts, keys.ctypes.data, good)
        verdicts: list[bool] = good.astype(bool).tolist()
        return verdicts

    return loop
