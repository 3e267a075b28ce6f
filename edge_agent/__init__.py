"""Reads instruments, signs, keeps until receipted, publishes."""
