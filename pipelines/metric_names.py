"""The names of the metrics that gates in params.yaml may use. Imports nothing, so that reading params stays cheap.

The code that computes the metrics uses these names (tests/unit/test_metric_names.py).
"""

SCORES = ("roc_auc", "pr_auc", "log_loss", "brier", "skill", "calibration_error", "calibration_gap")
BEHAVIOUR_FAILURES = "behaviour_failures"
EVALUATED = (*SCORES, "cost", BEHAVIOUR_FAILURES)  # of an evaluation
FURTHER = ("roc_auc", "log_loss", "brier")  # of each further output; no bar names them
WORST, LATENCY, SIZE = "worst_slice_", "latency_p95_ms", "size_bytes"
FLOORS = (*EVALUATED, *(f"{WORST}{name}" for name in SCORES), LATENCY, SIZE)  # of a candidate, as the gate reads them
AGAINST = tuple(f"{name}_delta{end}" for name in SCORES for end in ("", "_low", "_high"))  # candidate minus champion
MONITORED = ("roc_auc", "log_loss", "brier", "calibration_gap")  # of a window, by its matured labels
RETRAINING = (
    *MONITORED,
    "mean_score",
    "base_rate",
    "roc_auc_drop",
)  # without drift, which alone never triggers retraining


def further_metric(label: str, metric: str) -> str:
    """The name, in an evaluation, of a metric of FURTHER for a further output."""
    return f"further.{label}.{metric}"
