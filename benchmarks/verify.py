"""A version of every family, rebuilt from its records.

    python -m benchmarks.verify [--families NAME ...] [--home DIR]

Trains and registers every family on the flights as of 2013-05-01, with shorter windows than params.yaml, then has
`flightdeck models verify` restore data, code and parameters of each and train it again, in processes of their own. An
MLP is also fitted by two processes under torchrun. The checkout must be clean. Writes benchmarks/results/verify.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from benchmarks.ground import FLIGHTS, ROOT, SPLIT, Ground
from benchmarks.report import RESULTS, machine, save
from pipelines import chains
from pipelines.configuration import load
from pipelines.context import Context, build_context
from pipelines.instants import midnight
from pipelines.params.training import FAMILIES
from pipelines.steps import execute
from pipelines.walk import walk

PARAMS = (*SPLIT, "cleaning", "training", "costs", "evaluation", "behaviour", "gate")
TOGETHER = "mlp"  # the family that is also fitted by two processes
AS_OF = date(2013, 5, 1)
SPLITS = {"train_days": 60, "validation_days": 21, "test_days": 28}


def params_file(home: Path) -> Path:
    """params.yaml with shorter windows, and a gate that lets every family through."""
    raw = load(ROOT / "params.yaml").in_force()
    raw["splits"] |= SPLITS
    raw["gate"]["floors"] = [{"metric": "roc_auc", "direction": "at_least", "threshold": 0.5}]
    file = home / "params.yaml"
    file.write_text(yaml.safe_dump(raw))
    return file


def registered(context: Context, file: Path, family: str, processes: int, data_version: str) -> str:
    """The version of a family, fitted by one process or several. There is no champion, so the floors decide."""
    as_of, run = midnight(AS_OF, context.usecase.timezone).isoformat(), f"{family}-{processes}"

    def run_step(step: str, inputs: dict[str, Any]) -> dict[str, Any]:
        if step != "train" or processes == 1:
            return execute(step, inputs, context)
        out = file.with_name("trained.json")
        launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        module = ["-m", "pipelines.training.distributed", "--params", str(file), "--home", str(file.parent)]
        asked = ["--family", family, "--training-set-uri", inputs["training_set_uri"], "--run-name", run]
        subprocess.run([*launched, *module, *asked, "--out", str(out)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        trained: dict[str, Any] = json.loads(out.read_text())
        return trained

    given = {"as_of": as_of, "run": run, "families": [family], "feature_service": None, "trials": None, "seed": None}
    known = {"snapshot": {"data_version": data_version}, "resolve_model": {"model_uri": None, "sha256": None}}
    return str(walk(chains.training, given, run_step, previous=known)["register"]["version"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--home", type=Path, help="folder to work in; a temporary one by default")
    asked = parser.parse_args()
    home = (asked.home or Path(tempfile.mkdtemp(prefix="verify-"))).absolute()
    home.mkdir(parents=True, exist_ok=True)
    file = params_file(home)
    context = build_context(file, home)
    window = {"start": str(context.usecase.start), "end": str(AS_OF)}
    steps = (*chains.FEATURES, "snapshot")
    snapshot = walk(chains.data, {**window, "run": None}, partial(execute, context=context), only=steps)["snapshot"]

    lines = []
    for family, processes in [*((family, 1) for family in asked.families), (TOGETHER, 2)]:
        number = registered(context, file, family, processes, snapshot["data_version"])
        began = time.perf_counter()
        command = [sys.executable, "-m", "pipelines", "models", "verify", number, "--json"]
        command += ["--params", str(file), "--home", str(home)]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        took = time.perf_counter() - began
        report: dict[str, Any] = json.loads(done.stdout or "{}")
        same = ["no", "yes"][bool(report.get("identical_graph"))]
        facts = f"{report['rows']:,} | {report['max_difference']:.2g} | {same}" if "rows" in report else " | | "
        lines.append(
            f"| `{family}` | {processes} | {number} | {report.get('verdict', done.returncode)} | {facts} | {took:.0f} |"
        )
        print(lines[-1], flush=True)
    text = [
        "# Versions built again",
        "Each family was trained and registered on the flights as of 2013-05-01 (60 days of training, 21 of\n"
        "validation, 28 of test), then built again by `flightdeck models verify` from the data version, the commit\n"
        "and the parameters that it recorded: validation, features, training set and training, each in a process of\n"
        "its own. Seconds are of the whole command.",
        "| family | processes | version | verdict | rows scored | largest difference | identical graph | s |\n"
        "|---|---|---|---|---|---|---|---|\n" + "\n".join(lines),
        f"`python -m benchmarks.verify --families {' '.join(asked.families)}`, {machine('scikit-learn', 'torch')}.",
    ]
    ground = Ground("benchmarks.verify", PARAMS, FLIGHTS, (context.params.features.service,))
    save(RESULTS / "verify.md", "\n\n".join(text), ground)


if __name__ == "__main__":
    main()
