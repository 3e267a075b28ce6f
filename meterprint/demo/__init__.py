"""The demo plant: simulated instruments over real protocols, and everything else real."""
