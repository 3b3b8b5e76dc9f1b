"""Measure the judge of a rollout against its bars and write benchmarks/results/judge.md.

    python -m benchmarks.judge                          # independent rows, about five minutes
    python -m benchmarks.judge --home FOLDER            # also real flights; FOLDER keeps what the chain writes

Seeds are fixed; every row of the table says how often it was repeated.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from benchmarks.ground import FLIGHTS, SPLIT, Ground
from benchmarks.judge_claims import Claim
from benchmarks.judge_rows import SIMULATIONS
from benchmarks.report import RESULTS, machine, save
from pipelines.params import load_params

PARAMS = (*SPLIT, "cleaning", "training")  # of the models that judge the flights


def table(rows: list[tuple[Claim, int]]) -> str:
    marks = {True: "yes", False: "**no**", None: ""}
    lines = [f"| {c.claim} | {c.bar} | {c.seen} | {marks[c.met]} | {c.reps or reps} |" for c, reps in rows]
    return "\n".join(["| claim | bar | seen | met | repetitions |", "|---|---|---|---|---|", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=2013)
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
    if asked.home:
        from benchmarks.judge_days import prepare, simulate

        file = prepare(asked.home)
        started = time.perf_counter()
        rows += [(claim, 2 * asked.reps) for claim in simulate(file, 2 * asked.reps, asked.seed)]
        seconds.append(f"flights {time.perf_counter() - started:.0f} s")
    home = " --home FOLDER" if asked.home else ""
    command = f"python -m benchmarks.judge --reps {asked.reps} --seed {asked.seed}{home}"
    text = (
        f"# The judge against its bars\n\n`{command}`\n\nMachine: {machine('numpy', 'scipy')}. Seed {asked.seed}. "
        f"Time: {', '.join(seconds)}.\n\n{table(rows)}\n\n{NOTES}"
    )
    ground = Ground("benchmarks.judge")
    if asked.home:
        ground = Ground("benchmarks.judge", PARAMS, FLIGHTS, (load_params("params.yaml").features.service,))
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    save(asked.out, text, ground)


NOTES = """Rows of flights name six healthy pairs: two seeds of the network and the same pair swapped, trees and network
both ways, trees and trees trained a month earlier both ways. Days of June to December 2013 are drawn with replacement,
60 a rollout. "Noise" is added to every logit; "shift" raises every logit by the same: such a challenger is better on
bad days and worse on good ones, so its daily differences scatter widely. The ranges and bets without a remark are those
of benchmarks/judge_rules.py (DAYS); they were chosen on these days.
"""

if __name__ == "__main__":
    main()
