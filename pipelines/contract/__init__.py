"""Whether a use case keeps its contract on its own data: one function for each check, and all of them by name."""
