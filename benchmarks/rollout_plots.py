"""Draw the pictures of docs/rollouts.md from real flights: docs/images/rollouts-*.png.

    python -m benchmarks.rollout_plots --home FOLDER    # the folder of `python -m benchmarks.judge --home FOLDER`

The scores are those of `benchmarks.judge_models`, the rollouts and their truth those of `benchmarks.judge_flights`.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from scipy.special import logsumexp

from benchmarks.judge_claims import ALPHA, RISK, first
from benchmarks.judge_flights import LIMIT, LONG, MARGINS, QUALITY, Flights, Pair, Series, _t_test, series
from benchmarks.judge_models import START, prepare
from benchmarks.judge_scores import Array
from pipelines.judge import betting
from pipelines.judge.eprocess import BETS
from pipelines.judge.plan import blocks_needed, long_run_ratio, oracle
from pipelines.training.plots import BLUE, GREY, RED

SERVICE, IMAGES = "flight_delay_v3", Path(__file__).parent.parent / "docs" / "images"
PAIR: Pair = ("trees", "mlp_1")  # champion, challenger; of the pictures with known truth
REAL: Pair = ("trees_old", "trees")  # of the one with real days in their order
GREEN = "#2e7d32"
REPS, SEED, STRETCH = 2000, 2013, 7
RISES = (-0.05, -0.02, 0.0, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1)  # that are simulated
SHORTEST = 5  # days of a t-test


def peeking(flights: Flights) -> Figure:
    """The share of equal models called "worse" up to each day, by three judges that look every day."""
    drawn = flights.drawn[1][:, :LIMIT]
    equal = series(flights, PAIR, 0.0)
    by_day = {
        "rows as the unit": (RED, "-", _by_day(_rows(flights, drawn) >= RISK)),
        "t-test of the days so far": (RED, "--", _t_tests(equal.days[drawn])),
        "the judge: bets on days": (BLUE, "-", _by_day(equal.rollback(drawn) >= QUALITY)),
    }
    figure, axes = _figure()
    for name, (color, style, share) in by_day.items():
        axes.plot(np.arange(1, LIMIT + 1), 100 * share, style, color=color)
        end = f"{name}: {100 * share[-1]:.1f} %"
        axes.annotate(end, (LIMIT, 100 * share[-1]), (-4, 6), textcoords="offset points", ha="right", color=color)
    axes.axhline(100 * ALPHA, color=GREY, linestyle=":")
    axes.annotate("promised: at most 5 %", (22, 100 * ALPHA), (0, 4), textcoords="offset points", color="#555555")
    axes.set(
        title=f"Equal models that have been called worse (champion {PAIR[0]}, challenger {PAIR[1]})",
        xlabel="day of the rollout; each judge looks every day",
        ylabel=f"share of {len(drawn):,} rollouts (%)",
        xlim=(0, LIMIT + 0.5),
        ylim=(0, 66),
    )
    return figure


def _rows(flights: Flights, drawn: Array) -> Array:
    """log E of bets on single rows after every day."""
    gains = np.log1p(BETS[:, None] * flights.rows_of(*flights.made(PAIR, 0.0)))
    sums = np.stack([np.bincount(flights.day, one)[flights.since :] for one in gains])
    log_e: Array = logsumexp(np.cumsum(sums[:, drawn], axis=2), axis=0) - math.log(len(BETS))
    return log_e


def _t_tests(d: Array) -> Array:
    early = [0.0] * (SHORTEST - 1)
    return np.array(early + [float(_t_test(d[:, :day]).mean()) for day in range(SHORTEST, d.shape[1] + 1)])


def _by_day(hit: Array) -> Array:
    share: Array = np.maximum.accumulate(hit, axis=1).mean(axis=0)
    return share


def days(flights: Flights) -> Figure:
    """Days to a decision by the challenger's effect: planned, simulated, and by an oracle."""
    before = flights.by_day(flights.rows_of(*(flights.score[model] for model in PAIR)))[: flights.since]
    scatter, ratio, loss = flights.scatter(PAIR), long_run_ratio(before), flights.loss(PAIR[0])
    truths = [series(flights, PAIR, rise) for rise in RISES]
    drawn = flights.drawn[STRETCH][:500]
    print(f"sd of days: {scatter.sd:.4f} in May, {truths[RISES.index(0.0)].days.std():.4f} of equal models since")
    rises = np.linspace(-0.05, 0.1, 301)
    figure, axes = _figure()
    asked = [(f"promotion, margin {100 * margin:g} %", margin) for margin in MARGINS]
    for (name, limit), color in zip([*asked, ("rollback", 0.0)], (BLUE, GREEN, RED), strict=True):
        gaps, bound = ((limit - rises) if limit else rises) * loss, RISK if limit else QUALITY
        floor = (limit or MARGINS[0]) * loss
        planned = [blocks_needed(gap, scatter, bound, betting.Limits(LIMIT, floor, 1.0)) for gap in gaps]
        best = [oracle(gap, scatter.sd, ratio) for gap in gaps]
        axes.plot(100 * rises, planned, color=color, label=name)
        axes.plot(100 * rises, best, color=color, linestyle="--", linewidth=0.8)
        tried = [one for one in truths if (one.rise < limit if limit else one.rise > 0)]
        log_e = [one.promotion(drawn, limit) if limit else one.rollback(drawn) for one in tried]
        found = [float(np.median(first(each, bound, np.arange(1, LONG + 1)))) for each in log_e]
        axes.plot([100 * one.rise for one in tried], found, "o", color=color, markersize=6)
        print(name, dict(zip([one.rise for one in tried], found, strict=True)))
    axes.plot([], [], color=GREY, label="planned, by the scatter of May")
    axes.plot([], [], "o", color=GREY, label="simulated median")
    axes.plot([], [], color=GREY, linestyle="--", linewidth=0.8, label="an oracle that looks once")
    axes.axhline(LIMIT, color="#333333", linestyle=":")
    axes.annotate("time limit", (10, LIMIT), (0, 4), textcoords="offset points", ha="right", color="#333333")
    axes.set(
        title=f"Days to a decision (champion {PAIR[0]}, challenger {PAIR[1]})",
        xlabel="the challenger's loss less the champion's (% of the champion's)",
        ylabel="days",
        yscale="log",
        xlim=(-5.2, 10.2),
        ylim=(1, 1000),
    )
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.legend(loc="upper left", ncols=2, fontsize=8, framealpha=1)
    return figure


def evidence(flights: Flights) -> Figure:
    """The evidence of a rollout on real days in order, and the judge's bounds."""
    d = flights.days_of(*(flights.score[model] for model in REAL))[:LIMIT]
    real = Series(0.0, d, flights.scatter(REAL), flights.loss(REAL[0]))
    order, margin = np.arange(LIMIT)[None], MARGINS[0] * real.loss
    sure = [betting.bounds(d[:day], ALPHA, _bets(real, d[:day])) for day in range(1, LIMIT + 1)]
    low, high = (np.array([np.nan if one is None else one for one in side]) for side in zip(*sure, strict=True))
    when = np.arange(1, LIMIT + 1)
    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    above, beneath = figure.subplots(2, 1, sharex=True)
    for name, color, log_e, bound in (
        (f"not inferior at {100 * MARGINS[0]:g} %", BLUE, real.promotion(order, MARGINS[0])[0], RISK),
        ("worse", RED, real.rollback(order)[0], QUALITY),
    ):
        above.plot(when, log_e, color=color, label=f"log E: {name}")
        above.axhline(bound, color=color, linestyle=":", label=f"bound {bound:.2f}")
        day = first(log_e[None], bound, when)[0]
        if math.isfinite(day):
            above.axvline(day, color=color, linewidth=0.8)
            _note(above, f"day {day:.0f}: passed", day, color)
        print(name, "bound reached on day", day, "log E at the end", float(log_e[-1]))
    above.axhline(0, color=GREY, linewidth=0.8)
    for epoch in _bets(real, d)[1:]:
        for axes in (above, beneath):
            axes.axvline(epoch.since, color=GREY, linestyle="--", linewidth=0.8)
        _note(above, "bets begin anew", epoch.since, "#555555")
        print("bets begin anew after day", epoch.since)
    above.set(
        ylim=(-4.2, 6.2), ylabel="log E", title=f"A rollout on real days (champion {REAL[0]}, challenger {REAL[1]})"
    )
    beneath.plot(when, d, "o", color=GREY, markersize=4, label="difference of the day")
    beneath.fill_between(when, low, high, color=BLUE, alpha=0.2, label="the mean lies here, 95 % on each side")
    beneath.plot(when, np.cumsum(d) / when, color=BLUE, label="mean so far")
    beneath.axhline(margin, color=GREEN, linestyle="--", label=f"margin, {100 * MARGINS[0]:g} % of the champion's loss")
    beneath.axhline(0, color=GREY, linewidth=0.8)
    beneath.set(
        ylabel="challenger's loss less champion's", xlabel=f"day; the first is {START:%Y-%m-%d}", xlim=(0, LIMIT + 0.5)
    )
    for axes, place in ((above, "upper left"), (beneath, "lower right")):
        _finish(axes)
        axes.legend(loc=place, fontsize=8, ncols=2, framealpha=1)
    return figure


def _bets(one: Series, d: Array) -> betting.Bets:
    return betting.bets(d, one.scatter, betting.Limits(LIMIT, MARGINS[0] * one.loss, 1.0))


def _note(axes: Axes, text: str, day: float, color: str) -> None:
    axes.text(day + 0.4, 0.06, text, transform=axes.get_xaxis_transform(), color=color, fontsize=9)


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    _finish(axes)
    return figure, axes


def _finish(axes: Axes) -> None:
    axes.set_axisbelow(True)
    axes.grid(alpha=0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="of `python -m benchmarks.judge --home FOLDER`")
    asked = parser.parse_args()
    flights = Flights(prepare(asked.home)[SERVICE], REPS, SEED, (1, STRETCH))
    for draw in (peeking, days, evidence):
        draw(flights).savefig(IMAGES / f"rollouts-{draw.__name__}.png", dpi=100, metadata={"Software": None})


if __name__ == "__main__":
    main()
