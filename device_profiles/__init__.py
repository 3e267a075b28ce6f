"""Devices as data: registers, resolutions, limits, golden frames."""
