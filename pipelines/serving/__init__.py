"""The model server: it reads features, routes, scores, logs and answers. It needs no training library."""
