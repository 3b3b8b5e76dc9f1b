"""FastAPI with the graph and nothing else, and FastAPI with a constant answer."""

from __future__ import annotations

from fastapi import FastAPI, Request

from benchmarks.peers.graph import Graph


def constant() -> FastAPI:
    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request) -> dict[str, float]:
        await request.body()
        return {"score": 0.5}

    return app


def graph() -> FastAPI:
    app, scores = FastAPI(), Graph()

    @app.post("/predict")
    async def predict(request: Request) -> dict[str, float]:
        row = await request.json()
        return {"score": scores.score(row["numeric"], row["categorical"])}

    return app
