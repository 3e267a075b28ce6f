"""A tree that fetches its leaves by block is the tree itself."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrv.verification.merkle import BLOCK, BlockTree, Frontier, ProofError, Tree


def leaves(count):
    return [hashlib.sha256(i.to_bytes(4, "big")).digest() for i in range(count)]


LEAVES = leaves(5 * BLOCK + 77)


def both(size):
    whole, blocks, frontier, asked = Tree(), Tree(), Frontier(), []
    for leaf in LEAVES[:size]:
        whole.append(leaf)
        root = frontier.append(leaf)
        if root is not None:
            blocks.append(root)

    def fetch(number):
        asked.append(number)
        return LEAVES[number * BLOCK : min((number + 1) * BLOCK, size)]

    return whole, BlockTree(size, blocks, fetch), asked


@settings(deadline=None)
@given(st.integers(1, len(LEAVES)), st.data())
def test_proofs_are_the_same_and_ask_for_few_blocks(size, data):
    whole, view, asked = both(size)
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(index + 1, size))
    assert view.root() == whole.root()
    assert view.inclusion_proof(index, old) == whole.inclusion_proof(index, old)
    assert view.consistency_proof(old, size) == whole.consistency_proof(old, size)
    assert len(set(asked)) <= 3
    assert len(asked) == len(set(asked))


def test_a_view_takes_no_leaf_and_needs_the_root_of_each_block():
    _, view, _ = both(300)
    with pytest.raises(ProofError, match="takes no leaf"):
        view.append(LEAVES[0])
    with pytest.raises(ProofError, match="too few"):
        BlockTree(BLOCK, Tree(), lambda _: [])
