"""A version of every family, built again from what it recorded.

    python -m benchmarks.verify [--families NAME ...] [--home DIR]

Trains and registers every family on the flights as of 2013-05-01, with shorter windows than params.yaml, then has
`flightdeck models verify` restore data, code and parameters of each and train it again, in processes of their own. The
checkout must be clean. Writes benchmarks/results/verify.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from benchmarks.judge import machine
from pipelines.context import build_context
from pipelines.params.training import FAMILIES
from pipelines.steps import execute
from tests.conftest import ROOT, run_training

RESULTS = Path(__file__).parent / "results" / "verify.md"
AS_OF = date(2013, 5, 1)
SPLITS = {"train_days": 60, "validation_days": 21, "test_days": 28}


def params_file(home: Path) -> Path:
    """params.yaml with shorter windows, and a gate that lets every family through, one after the other."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    raw["splits"] |= SPLITS
    raw["gate"] = {"floors": [{"metric": "roc_auc", "direction": "at_least", "threshold": 0.5}], "against_champion": []}
    file = home / "params.yaml"
    file.write_text(yaml.safe_dump(raw))
    return file


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
    execute("ingest", window, context)
    snapshot = execute("snapshot", {}, context)
    for step in ("validate", "build_features"):
        execute(step, window, context)
    execute("apply_features", {}, context)

    lines = []
    for family in asked.families:
        made = run_training(context, AS_OF, family, snapshot["data_version"], families=[family])
        number = str(made["register"]["version"])
        began = time.perf_counter()
        command = [sys.executable, "-m", "pipelines", "models", "verify", number, "--json"]
        command += ["--params", str(file), "--home", str(home)]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        took = time.perf_counter() - began
        report: dict[str, Any] = json.loads(done.stdout or "{}")
        same = ["no", "yes"][bool(report.get("identical_graph"))]
        facts = f"{report['rows']:,} | {report['max_difference']:.2g} | {same}" if "rows" in report else "| |"
        lines.append(f"| `{family}` | {number} | {report.get('verdict', done.returncode)} | {facts} | {took:.0f} |")
        print(lines[-1], flush=True)
    text = [
        "# Versions built again",
        "Each family was trained and registered on the flights as of 2013-05-01 (60 days of training, 21 of\n"
        "validation, 28 of test), then built again by `flightdeck models verify` from the data version, the commit\n"
        "and the parameters that it recorded: validation, features, training set and training, each in a process of\n"
        "its own. Seconds are of the whole command.",
        "| family | version | verdict | rows scored | largest difference of a score | identical graph | s |\n"
        "|---|---|---|---|---|---|---|\n" + "\n".join(lines),
        f"`python -m benchmarks.verify --families {' '.join(asked.families)}`, {machine()}.",
    ]
    RESULTS.write_text("\n\n".join(text) + "\n")
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
