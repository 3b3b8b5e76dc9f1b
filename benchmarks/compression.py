"""Savings and cost of compressing networks: size, latency and quality on the test window.

    python -m benchmarks.compression [--of mlp dcn_v2 | --of taught] [--home DIR]

One training set of the flights, as of 2013-09-01, with the features of `flight_delay_v2`. Every model is fitted with
the settings of params.yaml, calibrated as they say on the validation window, and scored in onnxruntime on one thread.
Latencies are measured in turns: each round calls every model once. Writes benchmarks/results/compression.md, and for
`taught`, which is distillation, benchmarks/results/distillation.md.
"""

from __future__ import annotations

import argparse
import gzip
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
from onnxruntime.quantization import QuantType, quantize_dynamic

from benchmarks import year
from benchmarks.ground import BUILT, FLIGHTS, Ground
from benchmarks.report import RESULTS, machine, save
from pipelines.artifacts.manifest import Manifest
from pipelines.artifacts.scorer import Scorer, model_arrays
from pipelines.context import Context, build_context
from pipelines.metrics.scores import measure
from pipelines.params.compression import NONE, Compression
from pipelines.training.calibration import fit_calibration
from pipelines.training.cleaning import fit_cleaning
from pipelines.training.compression import compress
from pipelines.training.distillation import Lesson
from pipelines.training.families import FittedModel, load_family
from pipelines.training.frames import numeric_inputs, read_frame
from pipelines.training.onnx_graph import to_onnx
from pipelines.training.tasks import Frames, Task
from pipelines.usecase import DAY, LABEL

AS_OF, SERVICE = "2013-09-01T04:00:00Z", "flight_delay_v2"
PARAMS = (*BUILT, "splits", "cleaning", "training")
TEACHERS = ("hist_gradient_boosting",)
ROUNDS, WARM, BATCH, BATCHES = 2000, 50, 1000, 30
SEEDS = (2013, 2014, 2015)  # of the distilled network, whose gain must be compared with the effect of a seed
SMALL = {"hidden": (8,), "embedding_dim": 2}
PRUNED = (("pruned 50 %", 0.5, 2), ("pruned 80 %", 0.8, 2), ("pruned 80 %, not fine-tuned", 0.8, 0))
HEAD = (
    "| model | bytes | gzip | zstd | one row p50 ms | p95 ms | 1000 rows ms | ROC AUC | log loss | moved by at most "
    "| by its neighbours |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


@dataclass
class Row:
    name: str
    scorer: Scorer
    scores: Any
    measures: list[dict[str, float]]
    reference: Any = None
    one: list[float] = field(default_factory=list)
    batch: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)

    def line(self) -> str:
        graph = self.scorer.graph
        zstd = pa.Codec("zstd", compression_level=19).compress(graph)
        quality = " | ".join(said([m[name] for m in self.measures]) for name in ("roc_auc", "log_loss"))
        p50, p95 = np.quantile(self.one, [0.5, 0.95])
        moved = "" if self.reference is None else f"{np.abs(self.scores - self.reference).max():.4f}"
        return (
            f"| {self.name} | {len(graph)} | {len(gzip.compress(graph, 9))} | {len(zstd)} | {p50:.3f} | {p95:.3f} "
            f"| {np.median(self.batch):.2f} | {quality} | {moved} "
            f"| {np.abs(np.array(self.alone) - self.scores[: len(self.alone)]).max():.1g} |"
        )


def said(values: list[float]) -> str:
    mean = f"{np.mean(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.4f} to {max(values):.4f})"


class Desk:
    """One training set, and the models fitted on it."""

    def __init__(self, context: Context, uri: str) -> None:
        self.params, self.uri, store = context.params, uri, context.data.store
        self.manifest = Manifest.read(store, uri)
        self.inputs = self.manifest.model_inputs.inputs
        train, self.validation, self.test = (
            read_frame(store, uri, name, self.manifest) for name in ("train", "validation", "test")
        )
        self.frames = Frames(train, self.validation)
        self.numbers = numeric_inputs(train, self.inputs)

    def fit(
        self, family: str, compression: Compression = NONE, lesson: Lesson | None = None, seed: int = 0, **changes: Any
    ) -> FittedModel:
        rules = self.params.cleaning
        cleaning = fit_cleaning(self.numbers, self.inputs.numeric, family, rules)
        seed = seed or self.params.training.seed
        task = Task(self.frames, self.inputs, cleaning, seed, compression, lesson)
        settings = getattr(self.params.training, family).model_copy(update=changes)
        print(f"fits {family} {compression} {changes}", flush=True)
        return compress(load_family(family).fit(task, settings), compression)

    def row(self, name: str, fitted: FittedModel, reference: Row | None = None, peer: bool = False) -> Row:
        odds, labels, days = fitted.log_odds(self.validation), self.validation[LABEL], self.validation[DAY]
        graph = to_onnx(fitted, fit_calibration(self.params.training.calibration, odds, labels, days)[0])
        scorer = Scorer(by_onnxruntime(graph) if peer else graph, self.inputs, threads=1)
        scores = scorer.score(self.test)
        return Row(name, scorer, scores, [measure(self.test[LABEL], scores)], reference and reference.scores)

    def of_family(self, family: str) -> Iterator[Row]:
        plain = self.fit(family)
        yield (first := self.row(family, plain))
        yield self.row(f"{family}, int8", compress(plain, Compression(quantize=True)), first)
        yield self.row(f"{family}, int8 by onnxruntime", plain, first, peer=True)
        for name, share, epochs in PRUNED:
            pruned = self.fit(family, Compression(prune=share, fine_tune_epochs=epochs))
            yield self.row(f"{family}, {name}", pruned, first)
            if epochs:
                yield self.row(f"{family}, {name}, int8", compress(pruned, Compression(quantize=True)), first)

    def taught(self) -> Iterator[Row]:
        taught: dict[str, Lesson | None] = {"nobody": None}
        for family in TEACHERS:
            yield (teacher := self.row(family, self.fit(family)))
            taught |= {f"{family}, alpha {alpha}": Lesson(teacher.scorer, 2.0, alpha) for alpha in (0.5, 0.9)}
        for name, lesson in taught.items():
            rows = [
                self.row(f"small mlp, taught by {name}", self.fit("mlp", NONE, lesson, seed, **SMALL)) for seed in SEEDS
            ]
            yield replace(rows[0], measures=[row.measures[0] for row in rows])


def by_onnxruntime(graph: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "model.onnx"
        quantize_dynamic(onnx.load_model_from_string(graph), str(out), per_channel=True, weight_type=QuantType.QUInt8)
        return out.read_bytes()


def take_times(desk: Desk, rows: list[Row]) -> None:
    numeric, categorical = model_arrays(desk.test, desk.inputs)
    for number in range(ROUNDS + WARM):
        for row in rows:
            began = time.perf_counter()
            score = row.scorer.score_arrays(numeric[number : number + 1], categorical[number : number + 1])
            if number >= WARM:
                row.one.append(1000 * (time.perf_counter() - began))
            row.alone.append(float(score[0]))
    for number in range(BATCHES):
        at = slice(number % 20 * BATCH, (number % 20 + 1) * BATCH)
        for row in rows:
            began = time.perf_counter()
            row.scorer.score_arrays(numeric[at], categorical[at])
            row.batch.append(1000 * (time.perf_counter() - began))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", nargs="+", default=["mlp", "dcn_v2"], help="families, or `taught`")
    parser.add_argument("--home", type=Path, help="folder to work in; a temporary one by default")
    arguments = parser.parse_args()
    context = build_context(home=arguments.home or tempfile.mkdtemp(prefix="compression-"))
    year.prepare(context)
    desk = Desk(context, year.training_set(context, AS_OF, "compression", SERVICE))
    parts: list[str] = arguments.of
    rows = [row for part in parts for row in (desk.taught() if part == "taught" else desk.of_family(part))]
    take_times(desk, rows)
    windows = ", ".join(f"{name} {start} to {end}" for name, (start, end) in desk.manifest.windows.items())
    text = [
        "# Distillation" if parts == ["taught"] else "# Compression of networks",
        "",
        (__doc__ or "").split("\n")[0],
        f"{windows}. {ROUNDS} single rows and {BATCHES} batches in turns, one thread.",
        f"{machine('onnxruntime', 'torch', load=os.getloadavg()[0])} at the end.",
        "",
        "`int8` is ours, with a scale for every row; `by onnxruntime` is `quantize_dynamic`, with one for the batch.",
        "Pruned networks were fine-tuned for 2 epochs unless said otherwise. Teachers speak at temperature 2.",
        f"The small mlp ({SMALL}) has the mean of seeds {SEEDS}, with least and largest.",
        "`moved by at most`: the largest difference of a test score from the uncompressed model's.",
        "`by its neighbours`: the largest difference between a row scored alone and within the whole window.",
        "",
        HEAD,
        *[row.line() for row in rows],
        "",
        f"`OMP_NUM_THREADS=1 python -m benchmarks.compression --of {' '.join(parts)}`",
    ]
    name = "distillation.md" if parts == ["taught"] else "compression.md"
    save(RESULTS / name, "\n".join(text), Ground("benchmarks.compression", PARAMS, FLIGHTS, (SERVICE,)))


if __name__ == "__main__":
    main()
