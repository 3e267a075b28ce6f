"""Signatures verified in bulk hold exactly where a verifier says so, whatever was crafted."""

from __future__ import annotations

import hashlib
import json

import pytest

from ingest import signature_check
from ingest.signature_check import COFACTORED, FEWEST, SignatureCheck
from mrv.verification.note import PublicKey, SecretKey

# RFC 8032 §5.1: the field, the group order, the curve and its base point.
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)

SPECCHECK = """
8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6 c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a0000000000000000000000000000000000000000000000000000000000000000
9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79 c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04
aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43 c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e
9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79 cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d 9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009
e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d 160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed5125ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09
e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d 21122a84e0b5fca4052f5b1235c80a537878b38f3142356b2c2384ebad4668b7e40bc836dac0f71076f9abe3a53f9c03c1ceeeddb658d0030494ace586687405
85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40 442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623 e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514
85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40 442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623 8ce5b96c8f26d0ab6c47958c9e68b937104cd36e13c33566acd2fe8d38aa19427e71f98a473474f2f13f06f97c20d58cc3f54b8bd0d272f42b695dd7e89a8c22
fdaebc429f4a735932a160da1301080c13280eea8bc280d1b392c6b9e6ba3a5a f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43 edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f454d370c8d9fc323a41450f8d513eafeb5b0697390c1e505a0d4ddc71f566607
84b698d39be126ff55fe45079e6c8bf64a0d7db6994560b4e96b7021eb39c1a1 f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43 edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f084d5b99c2a9463d9c8bd5026916996984eeec87ddf1d3be329006ace1b37b09
"""
"""message, key, signature: the ten cases of ed25519-speccheck (Taming the many EdDSAs, SSR 2020)."""


def plus(one, other):
    (x1, y1), (x2, y2) = one, other
    k = D * x1 * x2 * y1 * y2 % P
    return (
        (x1 * y2 + x2 * y1) * pow(1 + k, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - k, -1, P) % P,
    )


def times(number, point):
    total = (0, 1)
    while number:
        if number & 1:
            total = plus(total, point)
        point, number = plus(point, point), number >> 1
    return total


def x_of(y, sign):
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if v * x * x % P != u:
        x = x * SQRT_M1 % P
    if v * x * x % P != u:
        return None
    return P - x if x % 2 != sign else x


def told(point):
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


BASE = (x_of(4 * pow(5, -1, P) % P, 0), 4 * pow(5, -1, P) % P)
ORDER_8 = times(
    L, next((x, y) for y in range(3, 99) if (x := x_of(y, 0)) and times(4 * L, (x, y)) != (0, 1))
)


def crafted():
    """Signatures that satisfy the equation with the cofactor, torsion in key, nonce or both."""
    found = []
    for key_torsion in range(8):
        for nonce_torsion in range(8):
            for a, r in ((9, 11), (0, 11), (9, 0), (0, 0)):
                public = plus(times(a, BASE), times(key_torsion, ORDER_8))
                nonce = plus(times(r, BASE), times(nonce_torsion, ORDER_8))
                for text in (b"", b"1", b"22"):
                    digest = hashlib.sha512(told(nonce) + told(public) + text).digest()
                    s = (r + int.from_bytes(digest, "little") * a) % L
                    for shown in (s, s + L):
                        signature = told(nonce) + shown.to_bytes(32, "little")
                        found.append((PublicKey("k", told(public)), text, signature))
    return found


def odd_encodings():
    """Keys and nonces that are not on the curve, or written with y ≥ p."""
    ys = [*range(5), *range(P - 2, P + 19)]
    words = [(y | sign << 255).to_bytes(32, "little") for y in ys for sign in (0, 1)]
    key = SecretKey("k", bytes(32))
    good = key.sign(b"x")
    return [
        *[(PublicKey("k", word), b"x", good) for word in words],
        *[(PublicKey("k", word), b"x", words[0] + bytes(32)) for word in words],
        *[(key.public, b"x", word + good[32:]) for word in words],
        *[(key.public, b"x", good[:32] + word) for word in words],
        *[(key.public, b"x", good[:size]) for size in (0, 1, 63)],
        (key.public, b"x", good + b"\0"),
    ]


def published(shared):
    path = shared / "reference" / "evidence" / "wycheproof_ed25519_test.json"
    for group in json.loads(path.read_text())["testGroups"]:
        key = PublicKey("w", bytes.fromhex(group["publicKey"]["pk"]))
        for case in group["tests"]:
            yield key, bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])


def speccheck():
    for line in SPECCHECK.split("\n"):
        if line:
            text, key, signature = map(bytes.fromhex, line.split())
            yield PublicKey("s", key), text, signature


@pytest.fixture(scope="module")
def checks():
    """One by one, and in the compiled loop."""
    plain, warm = SignatureCheck(), SignatureCheck()
    warm.warm()
    assert plain.quick
    assert warm._at_once is not None
    return plain, warm


def agree(checks, signed):
    expected = [key.verify(text, signature) for key, text, signature in signed]
    well_formed = [one for one in signed if len(one[2]) == 64]
    for check in checks:
        assert check.hold(signed) == expected
        assert check.hold(well_formed) == [k.verify(t, s) for k, t, s in well_formed]
        loop = check._at_once or check._one_by_one
        for one, quick in zip(well_formed, loop(well_formed), strict=True):
            assert not quick or one[0].verify(*one[1:]), "accepted beyond what a verifier accepts"
    return expected


def test_published_vectors_get_the_verdict_of_a_verifier(checks, shared):
    assert len(agree(checks, list(published(shared)))) == 82
    assert len(agree(checks, list(speccheck()))) == 10


def test_crafted_torsion_and_odd_encodings_get_the_verdict_of_a_verifier(checks):
    verdicts = agree(checks, crafted())
    assert any(verdicts)
    assert not all(verdicts)
    agree(checks, odd_encodings())


def test_genuine_and_altered_messages_of_many_keys(checks):
    keys = [SecretKey.generate(f"k{i}") for i in range(3)]
    signed = [(k.public, b"%d" % i * i, k.sign(b"%d" % i * i)) for i in range(40) for k in keys]
    assert agree(checks, signed) == [True] * 120
    turned = [(key, text + b"!", signature) for key, text, signature in signed]
    assert agree(checks, turned) == [False] * 120
    assert [check.hold([]) for check in checks] == [[], []]


def test_a_libsodium_that_verifies_with_the_cofactor_is_not_used(checks):
    keys = {bytes.fromhex(key) for key, _, _ in COFACTORED}

    def cofactored(signed):
        return [key.key in keys or key.verify(*rest) for key, *rest in signed]

    assert signature_check._accepted(cofactored) is None
    assert signature_check._accepted(lambda signed: [True] * len(signed)) is None
    assert signature_check._accepted(checks[0]._one_by_one) is not None


def test_without_libsodium_openssl_answers(monkeypatch):
    monkeypatch.setattr(signature_check, "_library", lambda: None)
    check = SignatureCheck()
    check.warm()
    key = SecretKey.generate("k")
    signed = [(key.public, b"a", key.sign(b"a")), (key.public, b"b", key.sign(b"a"))] * FEWEST
    assert not check.quick
    assert check.hold(signed) == [True, False] * FEWEST
