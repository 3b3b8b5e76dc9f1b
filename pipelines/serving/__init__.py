"""The model server: features, route, scores, log, answer. It needs no training library."""
