"""Whether a use case keeps its contract on its own data: one function a check, and the command that asks them all."""
