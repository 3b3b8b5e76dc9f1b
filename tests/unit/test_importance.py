from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from pipelines.params import Importance
from pipelines.training.importance import permutation_importance

NAMES = ("strong", "weak", "noise", "kind")


def sample(rows: int) -> tuple[Any, Any, Any]:
    draw = np.random.default_rng(0)
    numeric = draw.normal(size=(rows, 3)).astype(np.float32)
    kind = draw.choice(["a", "b"], (rows, 1)).astype(object)
    labels = (draw.random(rows) < truth(numeric, kind)).astype(float)
    return numeric, kind, labels


def truth(numeric: Any, kind: Any) -> Any:
    return expit(2 * numeric[:, 0] + 0.3 * numeric[:, 1] + (kind[:, 0] == "a"))


def importance(rows: int = 4000, cap: int = 3000, repeats: int = 2, seed: int = 1) -> pd.DataFrame:
    numeric, kind, labels = sample(rows)
    before = numeric.copy(), kind.copy()
    table = permutation_importance((numeric, kind), NAMES, labels, truth, Importance(rows=cap, repeats=repeats), seed)
    assert (numeric == before[0]).all() and (kind == before[1]).all()
    return table


def test_inputs_are_ordered_by_importance_and_noise_has_none() -> None:
    table = importance()
    assert table["input"].tolist() == ["strong", "kind", "weak", "noise"]
    noise = table.iloc[-1]
    assert noise["log_loss_rise"] == 0 and noise["roc_auc_drop"] == 0
    assert (table["log_loss_rise"][:-1] > 0.003).all() and (table["roc_auc_drop"][:-1] > 0).all()


def test_it_is_seeded_and_reads_no_more_rows_than_allowed() -> None:
    pd.testing.assert_frame_equal(importance(), importance())
    assert not importance(seed=2).equals(importance())
    seen = []
    numeric, kind, labels = sample(500)

    def score(n: Any, k: Any) -> Any:
        seen.append(len(n))
        return truth(n, k)

    permutation_importance((numeric, kind), NAMES, labels, score, Importance(rows=200, repeats=3), 1)
    assert seen == [200] * (1 + 4 * 3)


def test_one_class_leaves_the_drop_undefined() -> None:
    numeric, kind, labels = sample(200)
    table = permutation_importance((numeric, kind), NAMES, labels * 0, truth, Importance(rows=100, repeats=1), 1)
    assert table["roc_auc_drop"].isna().all() and table["log_loss_rise"].notna().all()
