"""Compression: quantized products, pruned weights and distilled networks do what they promise."""

from __future__ import annotations

import math
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from pipelines.artifacts.scorer import Scorer
from pipelines.metrics.scores import measure
from pipelines.params.compression import Compression
from pipelines.params.training import Training
from pipelines.training.calibration import Platt, Uncalibrated
from pipelines.training.cleaning import fit_cleaning
from pipelines.training.distillation import Lesson
from pipelines.training.families import load_family
from pipelines.training.frames import numeric_inputs
from pipelines.training.onnx_graph import Graph, to_onnx
from pipelines.training.pruning import magnitude_masks, zero_share
from pipelines.training.quantization import Quantized, quantize_products
from pipelines.training.tasks import Frames, Task
from pipelines.usecase import LABEL
from tests.synthetic import AUXILIARY, INPUTS, frame, small_params
from tests.unit.test_families import hard, scorer
from tests.unit.test_torch_loop import HELD, NETWORKS, TRAIN, weights

networks = pytest.mark.parametrize("family", NETWORKS)


def fit(
    family: str = "mlp",
    compression: Compression | None = None,
    lesson: Any = None,
    train: pd.DataFrame = TRAIN,
    held: pd.DataFrame = HELD,
    **changes: Any,
) -> Any:
    params = small_params()
    cleaning = fit_cleaning(numeric_inputs(train, INPUTS), INPUTS.numeric, family, params.cleaning)
    declared = params.training.settings_of(family).model_copy(update=changes)
    task = Task(Frames(train, held, (AUXILIARY,)), INPUTS, cleaning, 7, compression or Compression(), lesson)
    return load_family(family).fit(task, declared)


@cache
def plain(family: str) -> Any:
    return fit(family, train=frame(4000, 1), held=frame(1000, 2))


def operators(graph: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_model_from_string(graph).graph.node]


@networks
def test_quantized_scores_are_close_and_calibration_was_fitted_on_those_of_the_graph(family: str) -> None:
    native, calibration = Quantized(plain(family)), Platt(0.9, 0.1)
    rows = hard(3000, 3, np.zeros(1, dtype=np.float32))
    scores = scorer(graph := to_onnx(native, calibration)).score(rows)
    assert np.abs(scores - calibration.apply(native.log_odds(rows))).max() <= 1e-5
    exact = calibration.apply(plain(family).log_odds(rows))
    assert 0 < np.abs(scores - exact).max() < 0.05 and "MatMulInteger" in operators(graph)


def test_quantized_further_outputs_are_close_and_those_of_the_graph_were_compared() -> None:
    native, exact = Quantized(plain("mmoe")), plain("mmoe")
    rows = hard(3000, 3, np.zeros(1, dtype=np.float32))
    scores, further = Scorer(to_onnx(native, Platt(0.9, 0.1)), INPUTS, further=(AUXILIARY,)).score_all(rows)
    np.testing.assert_allclose(scores, Platt(0.9, 0.1).apply(native.log_odds(rows)), atol=1e-5)
    np.testing.assert_allclose(further, native.further_outputs(rows), atol=1e-5)
    assert 0 < np.abs(further - exact.further_outputs(rows)).max() < 0.05
    assert plain("mlp").further_outputs(rows).shape == Quantized(plain("mlp")).further_outputs(rows).shape == (3000, 0)


@networks
def test_a_quantized_score_does_not_depend_on_its_neighbours(family: str) -> None:
    """A scale for the whole batch would depend on its largest value."""
    score = scorer(to_onnx(Quantized(plain(family)), Uncalibrated())).score
    rows = hard(40, 5, np.zeros(1, dtype=np.float32))
    np.testing.assert_allclose([score(rows.iloc[n : n + 1])[0] for n in range(40)], score(rows), atol=1e-6)
    assert score(rows.iloc[:0]).shape == (0,)


@networks
def test_the_same_seed_gives_the_same_quantized_bytes_and_a_smaller_graph(family: str) -> None:
    again = fit(family, train=frame(4000, 1), held=frame(1000, 2))
    graph, twice = (to_onnx(Quantized(native), Uncalibrated()) for native in (plain(family), again))
    assert graph == twice
    weights = (onnx.load_model_from_string(g).graph.initializer for g in (graph, to_onnx(again, Uncalibrated())))
    small, large = (sum(numpy_helper.to_array(w).nbytes for w in ws if w.data_type != 8) for ws in weights)
    assert small < large


def product(matrix: np.ndarray[Any, Any], bias: bool = False, **attributes: Any) -> Graph:
    graph = Graph()
    names = [graph.constant(matrix, "w"), *([graph.constant(np.full(3, 0.5, dtype=np.float32), "b")] if bias else [])]
    graph.add("Gemm" if bias else "MatMul", "x", *names, output="y", **attributes)
    return graph


def evaluate(graph: Graph, x: np.ndarray[Any, Any]) -> Any:
    value = onnx.helper.make_tensor_value_info
    whole = onnx.helper.make_graph(graph.nodes, "g", [value("x", 1, ["N", 4])], [value("y", 1, None)], graph.constants)
    model = onnx.helper.make_model(whole, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    return ReferenceEvaluator(model).run(None, {"x": x})[0]


@given(st.integers(0, 2**31), st.floats(1e-6, 1e6), st.booleans())
def test_a_quantized_product_is_within_half_a_step_of_each_side(seed: int, size: float, bias: bool) -> None:
    draw = np.random.default_rng(seed)
    x = (size * draw.normal(size=(5, 4))).astype(np.float32)
    x[0] = 0.0
    w = draw.normal(size=(4, 3)).astype(np.float32)
    w[:, 2] = 0.0
    graph = product(np.ascontiguousarray(w.T) if bias else w, bias, **({"transB": 1} if bias else {}))
    exact = evaluate(graph, x)
    assert quantize_products(graph) == 1
    row, column = np.abs(x).max(axis=1, keepdims=True) / 127, np.abs(w).max(axis=0) / 127
    bound = 0.5 * row * np.abs(w).sum(axis=0) + 0.5 * column * np.abs(x).sum(axis=1, keepdims=True) + row * column
    assert (np.abs(evaluate(graph, x) - exact) <= 1.01 * bound + 1e-6).all()


def test_integer_sums_do_not_saturate_at_their_extremes() -> None:
    w = np.full((4, 3), 3.0, dtype=np.float32)
    graph = product(w)
    x = np.full((2, 4), -7.0, dtype=np.float32)
    quantize_products(graph)
    np.testing.assert_allclose(evaluate(graph, x), x @ w, rtol=1e-6)


@pytest.mark.parametrize("changes", [{"alpha": 2.0}, {"transA": 1}])
def test_products_of_an_unsupported_form_are_left_alone(changes: dict[str, Any]) -> None:
    graph = product(np.ones((4, 3), dtype=np.float32), True, **changes)
    before = [node.SerializeToString() for node in graph.nodes]
    assert quantize_products(graph) == 0 and [node.SerializeToString() for node in graph.nodes] == before
    single = product(np.ones((4, 1), dtype=np.float32))
    assert quantize_products(single) == 0


@given(st.floats(0, 0.99), st.integers(1, 30), st.integers(1, 30), st.booleans())
def test_masks_prune_exactly_the_share_of_smallest_weights(share: float, outs: int, ins: int, ties: bool) -> None:
    layer = nn.Linear(ins, outs)
    if ties:
        nn.init.ones_(layer.weight)
    size = layer.weight.detach().abs()
    mask = magnitude_masks(nn.Sequential(layer, nn.LayerNorm(outs)), share)["0.weight"]
    assert int((~mask).sum()) == int(share * mask.numel())
    if (~mask).any():
        assert size[~mask].max() <= size[mask].min()


@networks
@pytest.mark.parametrize("epochs", [0, 2])
def test_a_pruned_fit_has_the_declared_share_of_zeros_in_every_matrix(family: str, epochs: int) -> None:
    fitted = fit(family, Compression(prune=0.5, fine_tune_epochs=epochs), epochs=2)
    layers = [m.weight.detach() for m in fitted.network.modules() if isinstance(m, nn.Linear)]
    assert [int((w == 0).sum()) for w in layers] == [w.numel() // 2 for w in layers] and layers
    assert zero_share(fitted.network) == pytest.approx(0.5, abs=0.02)
    again = fit(family, Compression(prune=0.5, fine_tune_epochs=epochs), epochs=2)
    assert weights(again) == weights(fitted)
    whole = fit(family, epochs=2)
    kept = list(layers[0][layers[0] != 0].tolist())
    first = next(m.weight for m in whole.network.modules() if isinstance(m, nn.Linear)).detach().flatten().tolist()
    assert set(kept).issubset(first) == (epochs == 0)  # fine-tuning moves what is left


def test_fine_tuning_recovers_part_of_the_loss_from_pruning() -> None:
    held, read = frame(1500, 2), frame(3000, 9)
    lost = [
        measure(read[LABEL], Uncalibrated().apply(fitted.log_odds(read)))["log_loss"]
        for epochs in (0, 3)
        for fitted in [fit("mlp", Compression(prune=0.9, fine_tune_epochs=epochs), train=frame(4000, 1), held=held)]
    ]
    assert lost[1] < lost[0]


def teacher(score: Any) -> Any:
    return SimpleNamespace(score=score)


def truth(rows: pd.DataFrame) -> Any:
    """An approximation of the probability by which labels are drawn."""
    effect = rows["kind"].map({"a": -1.0, "b": 0.6, "c": -0.3, "d": 1.2}).fillna(0.0)
    odds = 1.1 * rows["x"] + effect + 0.8 * rows["gappy"].isna() - 0.8
    return 1 / (1 + np.exp(-odds.to_numpy(dtype=np.float64)))


@networks
def test_a_teacher_of_weight_zero_changes_no_bit(family: str) -> None:
    silent = fit(family, lesson=Lesson(teacher(truth), 3.0, 0.0), epochs=2)
    assert weights(silent) == weights(fit(family, epochs=2))
    heard = fit(family, lesson=Lesson(teacher(truth), 3.0, 0.3), epochs=2)
    assert weights(heard) != weights(silent)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_a_student_learns_from_a_perfect_teacher_what_labels_do_not_show(temperature: float) -> None:
    """Training labels are random; with alpha 1 they have no weight."""
    rows = frame(4000, 1)
    coins = rows.assign(**{LABEL: np.random.default_rng(5).integers(0, 2, len(rows)).astype(np.float64)})
    read, held = frame(3000, 9), frame(1000, 2)
    changes: dict[str, Any] = {"train": coins, "held": held, "epochs": 12, "patience": 12}
    taught = fit("mlp", lesson=Lesson(teacher(truth), temperature, 1.0), **changes).log_odds(read)
    assert np.abs(Uncalibrated().apply(taught) - truth(read)).mean() < 0.05
    alone = fit("mlp", **changes).log_odds(read)
    assert np.abs(Uncalibrated().apply(alone) - truth(read)).mean() > 0.1


@given(st.floats(-8, 8), st.floats(0.001, 0.999), st.floats(0.5, 10), st.floats(0, 1), st.floats(0, 3))
def test_the_loss_is_the_papers(odds: float, score: float, temperature: float, alpha: float, hard: float) -> None:
    lesson = Lesson(teacher(lambda rows: np.array([score])), temperature, alpha)
    target = float(lesson.targets(pd.DataFrame())[0])
    assert target == pytest.approx(1 / (1 + ((1 - score) / score) ** (1 / temperature)), rel=1e-5)
    p = 1 / (1 + math.exp(-odds / temperature))
    soft = -target * math.log(p) - (1 - target) * math.log1p(-p)
    first, log_odds, targets = (torch.tensor(v, dtype=torch.float64) for v in ([[hard, 2.0]], [[odds, 1.0]], [target]))
    known = lesson.losses(first, log_odds, targets, torch.tensor([True]))
    assert known.tolist()[0] == pytest.approx([alpha * temperature**2 * soft + (1 - alpha) * hard, 2.0], rel=1e-6)
    unknown = lesson.losses(torch.tensor([[0.0, 2.0]]), log_odds, targets, torch.tensor([False]))
    assert unknown.tolist() == [[0.0, 2.0]]


@pytest.mark.parametrize("rows", [0, 1, 8192, 8193, 20_000])
def test_a_teacher_scores_every_row_once_and_in_order(rows: int) -> None:
    scores = np.random.default_rng(1).uniform(0.1, 0.9, rows)
    lesson = Lesson(teacher(lambda part: part["score"].to_numpy()), 1.0, 0.5)
    np.testing.assert_allclose(lesson.targets(pd.DataFrame({"score": scores})), scores, rtol=1e-5)


def test_certain_teachers_give_finite_targets() -> None:
    lesson = Lesson(teacher(lambda rows: np.array([0.0, 1.0])), 2.0, 0.5)
    low, high = lesson.targets(pd.DataFrame())
    assert 0 < low < 0.01 and 0.99 < high < 1


@pytest.mark.parametrize(
    ("compression", "message"),
    [
        ({"hist_gradient_boosting": {"quantize": True}}, "only networks can be compressed"),
        ({"forest": {}}, "family 'forest' is unknown"),
        ({"mlp": {"distil": {"teacher": "forest"}}}, "family 'forest' is unknown"),
        ({"mlp": {"distil": {"teacher": "mlp"}}}, "mlp would need a teacher itself"),
        (
            {"mlp": {"distil": {"teacher": "dcn_v2"}}, "dcn_v2": {"distil": {"teacher": "mlp"}}},
            "would need a teacher itself",
        ),
        ({"mlp": {"distil": {"teacher": "mmoe", "alpha": 1.1}}}, "less than or equal to 1"),
        ({"mlp": {"distil": {"teacher": "mmoe", "alpha": -0.1}}}, "greater than or equal to 0"),
        ({"mlp": {"distil": {"teacher": "mmoe", "temperature": 0}}}, "greater than 0"),
        ({"mlp": {"prune": 1.0}}, "less than 1"),
        ({"mlp": {"fine_tune_epochs": 2}}, "fine_tune_epochs follow pruning"),
        ({"mlp": {"max_difference": 0}}, "greater than 0"),
        ({"mlp": {"bits": 4}}, "bits"),
    ],
)
def test_impossible_settings_are_refused_when_read(compression: dict[str, Any], message: str) -> None:
    declared = small_params().training.model_dump()
    with pytest.raises(ValueError, match=message):
        Training.model_validate({**declared, "compression": compression})


def test_a_teacher_trained_on_days_of_the_fold_is_refused() -> None:
    declared = small_params().training.model_dump()
    taught = {"mlp": {"distil": {"teacher": "mmoe"}}}
    Training.model_validate({**declared, "compression": taught})
    with pytest.raises(ValueError, match="has seen the days that folds judge by"):
        Training.model_validate({**declared, "compression": taught, "tuning": {"folds": 3}})
