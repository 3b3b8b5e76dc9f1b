"""A replay: the world of a past window, driven through simulated time against a running model server."""
