"""Proofs: signed notes, Merkle tree, checkpoints, bundle container."""
