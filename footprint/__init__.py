"""From activity to the footprint of a batch, and its recomputation by a stranger."""
