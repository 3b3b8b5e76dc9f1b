"""Offline features: our Feast offline store and the Feast project. A leaf: imports no step."""
