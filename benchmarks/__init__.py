"""Measurements, and the ground of their results: code, params and data."""
