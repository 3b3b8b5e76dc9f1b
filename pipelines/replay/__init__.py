"""A replay: the events of a past window, in simulated time, against a running model server."""
