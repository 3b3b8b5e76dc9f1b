"""Offline features: our Feast offline store, the Feast project, point-in-time frames. A leaf: imports no step."""
