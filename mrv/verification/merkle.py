"""The Merkle tree of RFC 6962 §2.1 and its proofs; leaves are salted hashes (design §3)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from mrv.errors import EvidenceError

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Root of the empty tree (RFC 6962 §2.1)."""
HASH_BYTES = 32
"""Length of a hash."""
BLOCK_LEVEL = 8
"""Level of the nodes that are kept for a whole block of leaves (as tiles of C2SP tlog-tiles)."""
BLOCK = 1 << BLOCK_LEVEL
"""Leaves of a block."""
KEPT_BLOCKS = 64
"""Blocks whose leaves are kept at hand for the next proof (16 kB each)."""


class ProofError(EvidenceError):
    """A Merkle proof that does not hold."""


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 ‖ data) (RFC 6962 §2.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right) (RFC 6962 §2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def entry_leaf_data(kind: int, salt: bytes, entry: bytes) -> bytes:
    """Leaf data of a journal entry: type byte ‖ SHA-256(salt ‖ entry) (design §3)."""
    return bytes([kind]) + hashlib.sha256(salt + entry).digest()


class Frontier:
    """The right edge of a tree: all that appending needs, O(log n) hashes."""

    def __init__(self, size: int = 0, nodes: Sequence[bytes] = ()) -> None:
        if len(nodes) != size.bit_count():
            raise ProofError(f"a tree of {size} leaves has {size.bit_count()} edge nodes")
        self.size = size
        self._nodes = list(nodes)

    def append(self, leaf: bytes) -> bytes | None:
        """Add a leaf hash; the root of a block of `BLOCK` leaves where this one completes it."""
        node, size, level, block = leaf, self.size, 0, None
        while size & 1:
            node = node_hash(self._nodes.pop(), node)
            size >>= 1
            level += 1
            if level == BLOCK_LEVEL:
                block = node
        self._nodes.append(node)
        self.size += 1
        return block

    @property
    def nodes(self) -> tuple[bytes, ...]:
        """Roots of the complete subtrees, from the left."""
        return tuple(self._nodes)

    def root(self) -> bytes:
        """Root of the tree so far."""
        if not self._nodes:
            return EMPTY_ROOT
        root = self._nodes[-1]
        for node in reversed(self._nodes[:-1]):
            root = node_hash(node, root)
        return root

    def to_bytes(self) -> bytes:
        """Size and nodes, to be stored."""
        return self.size.to_bytes(8, "big") + b"".join(self._nodes)

    @classmethod
    def from_bytes(cls, data: bytes) -> Frontier:
        """Read what `to_bytes` wrote. Raises ProofError where the length is wrong."""
        size = int.from_bytes(data[:8], "big")
        nodes = [data[i : i + HASH_BYTES] for i in range(8, len(data), HASH_BYTES)]
        return cls(size, nodes)


class Tree:
    """A whole tree: complete subtrees of every level, 64 bytes a leaf."""

    def __init__(self) -> None:
        self._levels: list[bytearray] = [bytearray()]

    @property
    def size(self) -> int:
        """Number of leaves."""
        return len(self._levels[0]) // HASH_BYTES

    def append(self, leaf: bytes) -> None:
        """Add a leaf hash."""
        node, index, level = leaf, self.size, 0
        self._levels[0] += node
        while index & 1:
            node = node_hash(self._node(level, index - 1), node)
            level += 1
            index >>= 1
            if level == len(self._levels):
                self._levels.append(bytearray())
            self._levels[level] += node

    def _node(self, level: int, index: int) -> bytes:
        start = index * HASH_BYTES
        return bytes(self._levels[level][start : start + HASH_BYTES])

    def _range(self, start: int, end: int) -> bytes:
        """Hash of leaves [start, end); `start` is a multiple of the subtree's size."""
        size = end - start
        if size & (size - 1) == 0:
            level = size.bit_length() - 1
            return self._node(level, start >> level)
        split = 1 << ((size - 1).bit_length() - 1)
        return node_hash(self._range(start, start + split), self._range(start + split, end))

    def root(self, size: int | None = None) -> bytes:
        """Root of the first `size` leaves (default all)."""
        wanted = self.size if size is None else size
        if not 0 <= wanted <= self.size:
            raise ProofError(f"the tree has {self.size} leaves, asked for {wanted}")
        return self._range(0, wanted) if wanted else EMPTY_ROOT

    def inclusion_proof(self, index: int, size: int) -> list[bytes]:
        """Audit path of leaf `index` in the first `size` leaves (RFC 6962 §2.1.1)."""
        if not 0 <= index < size <= self.size:
            raise ProofError(f"no leaf {index} in a tree of {size} (held: {self.size})")
        return self._path(index, 0, size)

    def _path(self, index: int, start: int, end: int) -> list[bytes]:
        size = end - start
        if size == 1:
            return []
        split = start + (1 << ((size - 1).bit_length() - 1))
        if index < split:
            return [*self._path(index, start, split), self._range(split, end)]
        return [*self._path(index, split, end), self._range(start, split)]

    def consistency_proof(self, old: int, new: int) -> list[bytes]:
        """Proof that the first `old` leaves are a prefix of the first `new` (RFC 6962 §2.1.2)."""
        if not 0 < old <= new <= self.size:
            raise ProofError(f"no proof from {old} to {new} (held: {self.size})")
        return [] if old == new else self._subproof(old, 0, new, whole=True)

    def _subproof(self, old: int, start: int, end: int, *, whole: bool) -> list[bytes]:
        size = end - start
        if old == size:
            return [] if whole else [self._range(start, end)]
        split = 1 << ((size - 1).bit_length() - 1)
        middle = start + split
        if old <= split:
            return [*self._subproof(old, start, middle, whole=whole), self._range(middle, end)]
        return [
            *self._subproof(old - split, middle, end, whole=False),
            self._range(start, middle),
        ]


class BlockTree(Tree):
    """A tree of which only the roots of whole blocks are at hand; leaves are fetched by block.

    `blocks` holds the root of each block of `BLOCK` leaves, `leaves` gives the leaf hashes of a
    block (of the last one as many as there are). A proof asks for the leaves of one block, or of
    two where the last one is not full.
    """

    def __init__(self, size: int, blocks: Tree, leaves: Callable[[int], Sequence[bytes]]) -> None:
        super().__init__()
        if blocks.size < size >> BLOCK_LEVEL:
            raise ProofError(f"{blocks.size} block roots are too few for {size} leaves")
        self._size = size
        self._blocks = blocks
        self._leaves = leaves
        self._fetched: dict[int, Tree] = {}

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._size

    def append(self, leaf: bytes) -> None:
        """Refused: this tree is a view. Raises ProofError."""
        raise ProofError(f"a view of a tree takes no leaf, as {leaf.hex()[:16]}…")

    def _node(self, level: int, index: int) -> bytes:
        if level >= BLOCK_LEVEL:
            return self._blocks._node(level - BLOCK_LEVEL, index)  # noqa: SLF001 (its own kind)
        shift = BLOCK_LEVEL - level
        inside = index & ((1 << shift) - 1)
        return self._block(index >> shift)._node(level, inside)  # noqa: SLF001 (its own kind)

    def _block(self, number: int) -> Tree:
        tree = self._fetched.pop(number, None)
        if tree is None:
            tree = Tree()
            for leaf in self._leaves(number):
                tree.append(leaf)
        self._fetched[number] = tree
        if len(self._fetched) > KEPT_BLOCKS:
            del self._fetched[next(iter(self._fetched))]
        return tree


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """Root that an audit path leads to (RFC 9162 §2.1.3.2).

    Raises ProofError where the path has the wrong length.
    """
    if not 0 <= index < size:
        raise ProofError(f"no leaf {index} in a tree of {size}")
    if len(leaf) != HASH_BYTES or any(len(node) != HASH_BYTES for node in proof):
        raise ProofError("a hash has 32 bytes")
    node, last, root = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofError("the proof is too long")
        if node & 1 or node == last:
            root = node_hash(sibling, root)
            while node and not node & 1:
                node >>= 1
                last >>= 1
        else:
            root = node_hash(root, sibling)
        node >>= 1
        last >>= 1
    if last:
        raise ProofError("the proof is too short")
    return root


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that `leaf` is leaf `index` of the tree of `size` with that root. Raises ProofError."""
    reached = root_from_inclusion(leaf, index, size, proof)
    if reached != root:
        raise ProofError(f"the proof leads to {reached.hex()[:16]}…, not {root.hex()[:16]}…")


def verify_consistency(
    old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Check that one tree is a prefix of another (RFC 9162 §2.1.4.2). Raises ProofError."""
    if any(len(node) != HASH_BYTES for node in proof):
        raise ProofError("a hash has 32 bytes")
    if not 0 < old_size <= new_size:
        raise ProofError(f"no consistency from {old_size} to {new_size}")
    if old_size == new_size:
        if proof or old_root != new_root:
            raise ProofError("trees of one size are the same and need no proof")
        return
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise ProofError("the proof is empty")
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node >>= 1
        last >>= 1
    old_reached = new_reached = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofError("the proof is too long")
        if node & 1 or node == last:
            old_reached = node_hash(sibling, old_reached)
            new_reached = node_hash(sibling, new_reached)
            while node and not node & 1:
                node >>= 1
                last >>= 1
        else:
            new_reached = node_hash(new_reached, sibling)
        node >>= 1
        last >>= 1
    if last:
        raise ProofError("the proof is too short")
    if old_reached != old_root or new_reached != new_root:
        raise ProofError("the proof does not join the two roots")
