"""Measure the judge of a rollout against its bars and write benchmarks/results/judge.md.

    python -m benchmarks.judge                          # independent rows, about five minutes
    python -m benchmarks.judge --home FOLDER            # also real flights; FOLDER keeps what the chain writes

Seeds are fixed; every row of the table gives its number of repetitions.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from benchmarks.ground import FLIGHTS, SPLIT, Ground
from benchmarks.judge_claims import Claim
from benchmarks.judge_rows import SIMULATIONS
from benchmarks.report import RESULTS, machine, save

PARAMS = (*SPLIT, "cleaning", "training")  # of the models that judge the flights


def table(rows: list[tuple[Claim, int]]) -> str:
    marks = {True: "yes", False: "**no**", None: ""}
    lines = [f"| {c.claim} | {c.bar} | {c.seen} | {marks[c.met]} | {c.reps or reps} |" for c, reps in rows]
    return "\n".join(["| claim | bar | seen | met | repetitions |", "|---|---|---|---|---|", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=2013)
    parser.add_argument("--stretches", type=int, nargs="+", default=[1, 3, 7], help="days that are drawn together")
    parser.add_argument("--home", type=Path, help="folder in which the chain runs over 2013; its losses are kept")
    parser.add_argument("--out", type=Path, default=RESULTS / "judge.md")
    asked = parser.parse_args()
    rows: list[tuple[Claim, int]] = []
    seconds: list[str] = []
    for simulation in SIMULATIONS:
        started = time.perf_counter()
        rows += [(claim, asked.reps) for claim in simulation(asked.reps, asked.seed)]
        seconds.append(f"{simulation.__name__} {time.perf_counter() - started:.0f} s")
        print(seconds[-1], flush=True)
    services: tuple[str, ...] = ()
    if asked.home:
        from benchmarks.judge_flights import simulate
        from benchmarks.judge_models import SERVICES, prepare

        services = SERVICES
        for service, file in prepare(asked.home).items():
            started = time.perf_counter()
            rows += [(claim, 2 * asked.reps) for claim in simulate(file, 2 * asked.reps, asked.seed, asked.stretches)]
            seconds.append(f"{service} {time.perf_counter() - started:.0f} s")
            print(seconds[-1], flush=True)
    home = " --home FOLDER" if asked.home else ""
    drawn = " ".join(str(stretch) for stretch in asked.stretches)
    command = f"python -m benchmarks.judge --reps {asked.reps} --seed {asked.seed} --stretches {drawn}{home}"
    text = (
        f"# The judge against its bars\n\n`{command}`\n\nMachine: {machine('numpy', 'scipy')}. Seed {asked.seed}. "
        f"Time: {', '.join(seconds)}.\n\n{table(rows)}\n\n{NOTES}"
    )
    ground = Ground("benchmarks.judge")
    if asked.home:
        ground = Ground("benchmarks.judge", PARAMS, FLIGHTS, services)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    save(asked.out, text, ground)


NOTES = """Rows of flights give one figure for each healthy pair, champion and challenger: two seeds of the network and
the same pair swapped, trees and network both ways, trees and trees trained a month earlier both ways, trees and trees
trained on 60 days both ways. A rollout is 60 days of June to December 2013, or 240 where it is asked how long a
decision takes. A rate fails where its lower 95 % limit passes the bar. "Equal" and "worse" models are made on scores:
noise on the logits of the better one, so that the mean of daily differences is zero, or just that share of the
champion's loss.

Of times, the oracle knows variance and long-run variance and looks once: 6 sd^2 LRV / gap^2 days. The third figure is
what the best bet of this reach would need that knew the gap and met it on every day: no method that lets a day be three
scales worse without going broke can be faster. Where the oracle needs less than some nine days, that limit decides, and
the bar of 1.5 oracles cannot be met. "By the whole period's mean" says what happens to a team whose question is about
another time than the days of the rollout: a stretch of bad weeks for one model shows it as worse in those weeks, which
it was.
"""

if __name__ == "__main__":
    main()
