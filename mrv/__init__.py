"""Measurement, reporting and verification: the shared words and their pure rules."""
