"""Flightdeck's steps and what they stand on."""

from pipelines.feast_import import quicken

quicken()
