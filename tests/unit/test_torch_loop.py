"""The training loop of networks: its result depends on data, settings and seed only, also after interruptions."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pipelines.artifacts.scorer import Scorer
from pipelines.errors import InvalidInput
from pipelines.metrics.scores import measure
from pipelines.training.calibration import Platt
from pipelines.training.checkpoints import NAME, Checkpoints, State
from pipelines.training.cleaning import fit_cleaning
from pipelines.training.families import load_family
from pipelines.training.frames import numeric_inputs
from pipelines.training.networks import tensors
from pipelines.training.onnx_graph import to_onnx
from pipelines.training.processes import Processes
from pipelines.training.search import Report
from pipelines.training.tasks import Frames, Task
from pipelines.training.torch_loop import Loop, TensorColumns, log_odds, losses, rate
from pipelines.usecase import LABEL
from tests.examples import costly
from tests.services import thorough
from tests.synthetic import AUXILIARY, INPUTS, frame, small_params

NETWORKS = ("mlp", "dcn_v2", "ft_transformer", "mmoe")
TRAIN, HELD = frame(1200, 1), frame(400, 2)
FRAMES = Frames(TRAIN, HELD, (AUXILIARY,))


class Killed(Exception):
    pass


def fit(
    family: str = "mlp",
    checkpoints: Path | None = None,
    report: Report | None = None,
    frames: Frames = FRAMES,
    seed: int = 7,
    forced_epochs: int | None = None,
    **changes: Any,
) -> Any:
    params = small_params()
    cleaning = fit_cleaning(numeric_inputs(TRAIN, INPUTS), INPUTS.numeric, family, params.cleaning)
    declared = params.training.settings_of(family).model_copy(update={"epochs": 5, "patience": 5, **changes})
    task = Task(frames, INPUTS, cleaning, seed)
    return load_family(family).fit(
        replace(task, epochs=forced_epochs, checkpoints=checkpoints, report=report), declared
    )


def weights(fitted: Any) -> list[bytes]:
    return [value.numpy().tobytes() for value in fitted.network.state_dict().values()]


def kill_after(epoch: int) -> Report:
    def report(step: int, loss: float) -> None:
        if step == epoch:
            raise Killed

    return report


@thorough
@pytest.mark.parametrize("family", NETWORKS)
@pytest.mark.parametrize("epoch", [1, 3, 5])
def test_a_fit_killed_after_any_epoch_resumes_to_the_same_bits(tmp_path: Path, family: str, epoch: int) -> None:
    whole = weights(fit(family))
    with pytest.raises(Killed):
        fit(family, tmp_path, kill_after(epoch))
    seen: list[int] = []
    again = weights(fit(family, tmp_path, lambda done, loss: seen.append(done)))
    assert again == whole and seen == list(range(epoch + 1, 6))


def test_a_fit_killed_repeatedly_resumes_to_the_same_bits(tmp_path: Path) -> None:
    for epoch in range(1, 5):
        with pytest.raises(Killed):
            fit("dcn_v2", tmp_path, kill_after(epoch))
    assert weights(fit("dcn_v2", tmp_path)) == weights(fit("dcn_v2"))


@thorough
def test_a_new_process_completes_a_fit_killed_within_an_epoch(tmp_path: Path) -> None:
    """SIGKILL in the middle of the third epoch, of 5 batches each."""
    script = f"""
import os, signal, torch
from pathlib import Path
from tests.unit.test_torch_loop import fit
torch.set_num_threads({torch.get_num_threads()})
count, step = 0, torch.optim.AdamW.step
def counted(self, *args, **kwargs):
    global count
    count += 1
    if count == 13:
        os.kill(os.getpid(), {signal.SIGKILL})
    return step(self, *args, **kwargs)
torch.optim.AdamW.step = counted
fit(checkpoints=Path({str(tmp_path)!r}))
"""
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == -signal.SIGKILL
    assert os.listdir(tmp_path) == [NAME]
    seen: list[int] = []
    assert weights(fit("mlp", tmp_path, lambda done, loss: seen.append(done))) == weights(fit())
    assert seen == [3, 4, 5]


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 0.02},
        {"seed": 8},
        {"frames": replace(FRAMES, train=frame(1200, 5))},
        {"frames": replace(FRAMES, validation=frame(400, 5))},
    ],
)
def test_a_checkpoint_of_another_fit_is_ignored(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(Killed):
        fit("mlp", tmp_path, kill_after(3))
    assert weights(fit("mlp", tmp_path, **changes)) == weights(fit("mlp", **changes))


def test_a_checkpoint_of_other_code_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Killed):
        fit("mlp", tmp_path, kill_after(3))
    monkeypatch.setattr("pipelines.training.torch_loop.code_digest", lambda: "deployed since")
    seen: list[int] = []
    fit("mlp", tmp_path, lambda done, loss: seen.append(done))
    assert seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped"])
def test_a_damaged_checkpoint_restarts_the_fit(tmp_path: Path, damage: str) -> None:
    with pytest.raises(Killed):
        fit("mlp", tmp_path, kill_after(3))
    file = tmp_path / NAME
    content = file.read_bytes()
    half = len(content) // 2
    flipped = content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
    file.write_bytes({"truncated": content[:half], "empty": b"", "flipped": flipped}[damage])
    assert weights(fit("mlp", tmp_path)) == weights(fit())


class Attack:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.target),))


def state(epoch: int) -> State:
    return {"epoch": epoch, "since": 0, "best": 0.5, "kept": {}, "network": {}, "optimizer": {}}


def test_loading_a_checkpoint_executes_no_code(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "f")
    attack: Any = Attack(tmp_path / "owned")
    checkpoints.save({**state(1), "epoch": attack})
    assert checkpoints.parse(checkpoints.read()) is None and not (tmp_path / "owned").exists()


def test_a_checkpoint_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path, "f")
    checkpoints.save(state(1))
    written = checkpoints.read()

    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoints.save(state(2))
    assert checkpoints.read() == written and checkpoints.parse(written) == {**state(1), "fingerprint": "f"}


@given(st.floats(-20, 20), st.sampled_from([0.0, 1.0]), st.floats(0.1, 10), st.floats(0, 5))
def test_the_focal_loss_equals_the_formula_of_the_paper(
    log_odds: float, label: float, weight: float, gamma: float
) -> None:
    right = 1 / (1 + math.exp(-log_odds if label else log_odds))
    by_hand = -(weight if label else 1.0) * (1 - right) ** gamma * math.log(right)
    odds, labels = torch.tensor([[[log_odds]], [[label]]], dtype=torch.float64)
    values = losses(odds, labels, torch.tensor([weight], dtype=torch.float64), gamma)
    assert float(values) == pytest.approx(by_hand, rel=1e-5, abs=1e-7)


def test_an_unknown_label_adds_no_loss_and_no_gradient() -> None:
    odds = torch.tensor([[0.3, 2.0], [-1.0, 0.5]], requires_grad=True)
    labels = torch.tensor([[1.0, math.nan], [math.nan, 0.0]])
    for gamma in (0.0, 2.0):
        odds.grad = None
        lost = losses(odds, labels, torch.ones(2), gamma)
        lost.sum().backward()  # type: ignore[no-untyped-call]
        assert (lost == 0).tolist() == [[False, True], [True, False]]
        assert odds.grad is not None and (odds.grad == 0).tolist() == [[False, True], [True, False]]


@given(st.integers(1, 500), st.floats(0, 0.9))
def test_the_learning_rate_warms_up_and_decays_to_zero(steps: int, share: float) -> None:
    warmup = int(share * steps)
    rates = np.array([rate(step, steps, warmup) for step in range(steps)])
    assert (rates > 0).all() and rates.argmax() == warmup and rates[warmup] == 1.0
    assert (np.diff(rates[: warmup + 1]) > 0).all() and (np.diff(rates[warmup:]) < 0).all()
    assert rates[-1] == pytest.approx(0.5 * (1 + math.cos(math.pi * (steps - 1 - warmup) / (steps - warmup))))


def test_training_stops_when_patience_ends_and_keeps_the_best_epoch() -> None:
    """Validation labels are inverted, so more training makes the validation loss worse."""
    seen: list[float] = []
    held = HELD.assign(label=1 - HELD[LABEL])
    changes: dict[str, Any] = {"epochs": 12, "patience": 2, "learning_rate": 0.003}
    frames = replace(FRAMES, validation=held)
    fitted = fit("mlp", None, lambda done, loss: seen.append(loss), frames, **changes)
    best = int(np.argmin(seen))
    assert len(seen) == best + 3 < 12
    read = tensors(held, INPUTS, fitted.cleaning, fitted.vocabulary, fitted.scale)
    odds = log_odds(fitted.network, *read)[:, 0].double()
    kept = torch.nn.functional.binary_cross_entropy_with_logits(odds, torch.tensor(held[LABEL].to_numpy()))
    assert float(kept) == pytest.approx(seen[best], abs=1e-9)


def test_a_given_number_of_epochs_is_run_whatever_the_validation_loss(tmp_path: Path) -> None:
    frames = replace(FRAMES, validation=HELD.assign(label=1 - HELD[LABEL]))
    settings: dict[str, Any] = {"frames": frames, "epochs": 6, "patience": 1}
    seen: list[int] = []
    whole = fit("mlp", forced_epochs=4, **settings)
    assert fit("mlp", **settings).epochs < 4
    assert whole.epochs == 4 and weights(whole) != weights(fit("mlp", forced_epochs=3, **settings))
    with pytest.raises(Killed):
        fit("mlp", tmp_path, kill_after(2), forced_epochs=4, **settings)
    again = fit("mlp", tmp_path, lambda done, loss: seen.append(done), forced_epochs=4, **settings)
    assert weights(again) == weights(whole) and seen == [3, 4]


class Line(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = torch.nn.Linear(3, 1)

    def forward(self, numbers: Tensor, rows: Tensor, tasks: int) -> Tensor:
        out: Tensor = self.line(numbers)
        return out


@pytest.mark.parametrize("clip", [0.05, 100.0])
def test_gradients_are_clipped_in_every_step(clip: float) -> None:
    from rich.progress import Progress

    draw = torch.Generator().manual_seed(1)
    data = TensorColumns(
        10 * torch.randn(500, 3, generator=draw), torch.zeros(500, 0, dtype=torch.int64), torch.ones(500, 1)
    )
    chosen = small_params().training.mlp.model_copy(update={"clip_norm": clip})
    torch.manual_seed(0)
    loop = Loop(Line(), data, chosen, 3, torch.ones(1), Processes())
    optimizer, norms = loop.optimizer(), []

    def look(stepped: Any, *_: Any) -> None:
        gradients = [p.grad for group in stepped.param_groups for p in group["params"]]
        norms.append(float(torch.cat([g.flatten() for g in gradients]).norm()))

    optimizer.register_step_pre_hook(look)
    loop.epoch(0, optimizer, Progress(disable=True))
    assert len(norms) == 2 and max(norms) <= clip * 1.001
    assert (max(norms) > 0.05 * 0.99) and (clip < 1 or max(norms) > 0.2)


def test_class_weights_and_focal_loss_change_the_model() -> None:
    read = frame(800, 3)
    plain, balanced, heavy, focal = (
        fit(**changes).log_odds(read)
        for changes in ({}, {"positive_weight": "balanced"}, {"positive_weight": 6.0}, {"focal_gamma": 2.0})
    )
    assert plain.mean() < balanced.mean() < heavy.mean()
    assert np.abs(focal).mean() < np.abs(plain).mean()  # a focal loss counts confident rows less


@given(st.integers(0, 50), st.integers(1, 7))
def test_the_shares_of_a_batch_add_up_to_it_and_are_even(rows: int, count: int) -> None:
    batch = torch.arange(rows)
    shares = [Processes(rank, count).share(batch) for rank in range(count)]
    assert torch.cat(shares).tolist() == batch.tolist()
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@costly()
@given(st.integers(0, 2**31))
def test_the_random_state_of_the_caller_is_unchanged(seed: int) -> None:
    torch.manual_seed(seed)
    before = torch.get_rng_state()
    fit(frames=replace(FRAMES, train=TRAIN.head(60)), epochs=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_mmoe_learns_its_second_task_also_from_rows_without_the_label() -> None:
    unlabelled = frame(2500, 11).assign(**{LABEL: np.nan})
    constant = TRAIN.assign(**{AUXILIARY: 0.0})  # on labelled rows the second label is constant
    frames = replace(FRAMES, train=pd.concat([constant, unlabelled]))
    fitted = fit("mmoe", frames=frames, auxiliary_weight=1.0, epochs=10)
    held = frame(2000, 12)
    read = tensors(held, INPUTS, fitted.cleaning, fitted.vocabulary, fitted.scale)
    both = torch.sigmoid(log_odds(fitted.network, *read, tasks=2)).numpy()
    assert measure(held[LABEL], both[:, 0])["roc_auc"] > 0.75
    assert measure(held[AUXILIARY], both[:, 1])["roc_auc"] > 0.7
    np.testing.assert_array_equal(fitted.log_odds(held), log_odds(fitted.network, *read)[:, 0].double().numpy())
    scores, further = Scorer(to_onnx(fitted, Platt(0.5, 1.0)), INPUTS, further=fitted.further).score_all(held)
    np.testing.assert_allclose(scores, Platt(0.5, 1.0).apply(fitted.log_odds(held)), atol=1e-5)
    np.testing.assert_allclose(further, both[:, 1:], atol=1e-5)


def test_mmoe_without_a_second_task_says_so() -> None:
    declared = small_params().training.mmoe
    cleaning = fit_cleaning(numeric_inputs(TRAIN, INPUTS), INPUTS.numeric, "mmoe", small_params().cleaning)
    mmoe, task = load_family("mmoe"), Task(Frames(TRAIN, HELD), INPUTS, cleaning, seed=1)
    with pytest.raises(InvalidInput, match=r"no auxiliary label; declare `auxiliary`"):
        mmoe.fit(task, declared)
    with pytest.raises(InvalidInput, match="'second' too, which does not vary"):
        mmoe.fit(replace(task, frames=Frames(TRAIN.assign(**{AUXILIARY: 1.0}), HELD, (AUXILIARY,))), declared)
