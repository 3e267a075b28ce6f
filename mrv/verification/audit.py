"""Audit of fact chains: who may sign what, and that no link is missing (design §3, "Trust").

The root key signs `key_enrolled` and `key_revoked`; an enrolled facts key signs everything else.
A key counts from the registry fact that enrols it until the one that revokes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mrv.errors import EvidenceError, MeterprintError
from mrv.fact import REGISTRY, FactHeader, parse_header
from mrv.verification.note import PublicKey, identity, open_note, split

KEY_FACTS = ("key_enrolled", "key_revoked")
"""Registry facts that only the root key may sign."""


@dataclass(frozen=True, slots=True)
class EnrolledKey:
    """A key the site has enrolled."""

    role: str
    """root, facts, receipts, checkpoints or agent."""
    key: PublicKey
    """The key."""
    enrolled_at: int
    """seq of the registry fact that enrols it."""
    revoked_at: int | None = None
    """seq of the registry fact that revokes it; None = in force."""


@dataclass(frozen=True, slots=True)
class AuditedHeader:
    """A fact header whose place and signature hold."""

    header: FactHeader
    """The header."""
    identity: str
    """Identity of its signed text."""
    note: bytes
    """The signed note, as sent."""


class ChainFault(EvidenceError):
    """A fact chain that does not hold; `seq` is where."""

    def __init__(self, message: str, *, chain: str, seq: int) -> None:
        super().__init__(message)
        self.chain = chain
        self.seq = seq


class KeyBook:
    """The keys of a site, filled while its registry is read.

    A key that was revoked and enrolled again was in force in each of its periods.
    """

    def __init__(self, root: PublicKey) -> None:
        self.root = root
        self._keys: dict[str, list[EnrolledKey]] = {}

    def enrol(self, role: str, vkey: str, seq: int) -> None:
        """Enter a key; one that is in force keeps its place."""
        key = PublicKey.parse(vkey)
        periods = self._keys.setdefault(key.vkey, [])
        if not periods or periods[-1].revoked_at is not None:
            periods.append(EnrolledKey(role, key, seq))

    def revoke(self, vkey: str, seq: int) -> None:
        """Strike a key out from registry fact `seq` on; one that is not in force stays as it is."""
        periods = self._keys.get(vkey, [])
        if periods and periods[-1].revoked_at is None:
            periods[-1] = replace(periods[-1], revoked_at=seq)

    def periods(self, key: PublicKey, role: str) -> tuple[EnrolledKey, ...]:
        """When a key was in force in a role, in order."""
        return tuple(k for k in self._keys.get(key.vkey, ()) if k.role == role)

    def _latest(self) -> list[EnrolledKey]:
        return sorted((p[-1] for p in self._keys.values()), key=lambda k: k.enrolled_at)

    def of_role(self, role: str) -> tuple[PublicKey, ...]:
        """Keys of a role, also revoked ones, in the order they were enrolled."""
        return tuple(k.key for k in self._latest() if k.role == role)

    def in_force(self, role: str) -> tuple[PublicKey, ...]:
        """Keys of a role that are not revoked."""
        return tuple(k.key for k in self._latest() if k.role == role and k.revoked_at is None)

    def agent(self, name: str) -> tuple[PublicKey, ...]:
        """Keys an agent of that name signs with."""
        return tuple(key for key in self.of_role("agent") if key.name == name)


def audit_chain(
    chain: str,
    notes: Iterable[bytes],
    signers: Callable[[FactHeader], Sequence[PublicKey] | None],
) -> list[AuditedHeader]:
    """Headers of a chain from seq 0 on, each signed by whom `signers` allows and linked.

    Where `signers` gives None the signature is not looked at: the chain's hashes, whose last one
    a signed checkpoint names, bind the header all the same.

    Raises ChainFault at the first header that is not.
    """
    audited: list[AuditedHeader] = []
    prev = ""
    for seq, note in enumerate(notes):
        try:
            text, _ = split(note)
            header = parse_header(text)
            allowed = signers(header)
            if allowed is not None:
                open_note(note, allowed)
        except MeterprintError as error:
            raise ChainFault(f"{chain}#{seq}: {error}", chain=chain, seq=seq) from error
        if header.chain != chain or header.seq != seq or header.prev != prev:
            raise ChainFault(
                f"{chain}#{seq}: the header says {header.chain}#{header.seq} after "
                f"{header.prev[:12] or 'nothing'}, expected after {prev[:12] or 'nothing'}",
                chain=chain,
                seq=seq,
            )
        prev = identity(text)
        audited.append(AuditedHeader(header, prev, note))
    return audited


def audit_registry(
    notes: Sequence[bytes], key_bodies: Mapping[int, Mapping[str, object]], root: PublicKey
) -> tuple[list[AuditedHeader], KeyBook]:
    """The registry chain and the keys it enrols.

    `key_bodies` holds the opened body of each `key_enrolled` and `key_revoked` fact by seq.
    Raises ChainFault where a header does not hold or the body of a key fact is missing.
    """
    book = KeyBook(root)

    def signers(header: FactHeader) -> Sequence[PublicKey]:
        if header.type in KEY_FACTS:
            body = key_bodies.get(header.seq)
            if body is None:
                raise ChainFault(
                    f"the body of the key fact {REGISTRY}#{header.seq} is missing",
                    chain=REGISTRY,
                    seq=header.seq,
                )
            vkey = str(body.get("vkey", ""))
            if header.type == "key_enrolled":
                book.enrol(str(body.get("role", "")), vkey, header.seq)
            else:
                book.revoke(vkey, header.seq)
            return (root,)
        return book.in_force("facts")

    return audit_chain(REGISTRY, notes, signers), book
