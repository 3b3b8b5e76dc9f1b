"""An import error, and no DAG: it names every use case whose DAGs are missing, and why. The others' DAGs run.

Airflow keeps one import error for each file, and drops all DAGs of that file. So the error has a file of its own.
"""

from __future__ import annotations

import data
import deployment
import monitoring
import training

import bridge
from pipelines.errors import InvalidInput

if broken := bridge.problems(data.build, training.build, monitoring.build, deployment.build, deployment.build_override):
    raise InvalidInput(
        "these use cases have no DAGs, or not all of them; those of the others are there:\n"
        + "\n".join(f"  {why if why.startswith(file) else f'{file}: {why}'}" for file, why in broken.items())
    )
