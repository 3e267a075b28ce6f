"""Completeness and reconciliation."""
