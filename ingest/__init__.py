"""Verifies, journals, receipts, and keeps the views."""
