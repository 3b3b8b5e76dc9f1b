"""The health of the features on the days of a monitored window, from the reports of check_features."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.artifacts.feature_report import FeatureReport
from pipelines.artifacts.summary import FeatureHealth
from pipelines.verdict import Verdict

SHOWN = 20  # reasons


def summarize_health(reports: Sequence[FeatureReport]) -> FeatureHealth | None:
    """The number of windows checked and held, how often each view was held, and why; None if none was checked."""
    if not reports:
        return None
    held_reports = [report for report in reports if report.verdict is not Verdict.PASS]
    views = sorted({name for report in reports for name in report.views})
    return FeatureHealth(
        windows=len(reports),
        held=len(held_reports),
        held_by_view={name: sum(_holds(report, name) for report in held_reports) for name in views},
        reasons=tuple(f"{report.window[0]}: {why}" for report in held_reports for why in report.reasons)[:SHOWN],
    )


def _holds(report: FeatureReport, view: str) -> bool:
    return view not in report.views or report.views[view].verdict is not Verdict.PASS


def health_sentence(health: FeatureHealth | None) -> str:
    """One sentence for a reader."""
    if health is None:
        return "The health of the features was not checked on these days."
    if not health.held:
        return f"The features of these days were healthy ({health.windows} checks)."
    views = ", ".join(f"{name} {count} times" for name, count in health.held_by_view.items() if count)
    share = f"{health.held} of {health.windows}"
    return f"Health checks of the features held {share} windows ({views}); the summary names the reasons."
