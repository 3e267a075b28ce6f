"""Benchmarks: our figure beside the limit of the same run."""
