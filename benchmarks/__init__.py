"""Measurements, and what their results rest on."""
