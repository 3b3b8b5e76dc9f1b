"""Scores with intervals, curves and slices of a binary probability forecast. A leaf: imports no step."""
