"""Derivation of data: days that are out of date, and what a change of a day makes out of date."""
