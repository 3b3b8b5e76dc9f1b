"""`flightdeck models verify`: a version of the toy, made again from a commit, its data and its parameters."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.__main__ import main
from pipelines.artifacts import provenance
from pipelines.artifacts.provenance import Machine
from pipelines.artifacts.scorer import ModelScorer, load_scorer
from pipelines.configuration import load_params
from pipelines.context import Context, build_context
from pipelines.errors import InvalidInput
from pipelines.params import Params
from pipelines.params.training import Tuning
from pipelines.registration.rebuild import Bench, Recipe
from pipelines.registration.verify import Rebuilding, recipe_of
from pipelines.registration.verify import verify as rebuilt
from pipelines.steps import execute
from pipelines.training import distributed
from pipelines.verdict import Verdict
from tests.artifacts import TRAINED, model_card
from tests.conftest import ROOT, TOY, run_training
from tests.services import thorough
from tests.steps.test_auxiliary_training_set import Worn

CODE = ("pipelines", "tests/__init__.py", "tests/toy", "requirements.txt")


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", str(folder), *who, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of one commit that holds the chain and the toy."""
    folder = tmp_path_factory.mktemp("clone")
    for name in CODE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "the code")
    return folder


@pytest.fixture
def context(toy_home: Path, copy_of: Callable[[Path], Context]) -> Context:
    return copy_of(toy_home)


def registered(context: Context, monkeypatch: pytest.MonkeyPatch, clone: Path, family: str) -> str:
    monkeypatch.setattr(provenance, "CODE", clone)
    version = context.snapshots.taken()[-1].version
    as_of = context.params.require_desk().as_of
    outputs = run_training(context, as_of, "r1", version, families=[family])["register"]
    assert outputs["registered"], outputs
    return str(outputs["version"])


def verify(context: Context, clone: Path, *words: str) -> int:
    given = ["--params", str(TOY), "--home", str(context.settings.home), "--repository", str(clone), "--json"]
    return main(["models", "verify", *words, *given])


def run_here(bench: Bench, step: str, **inputs: str) -> dict[str, Any]:
    """A step in this process, which has imported what it takes."""
    return execute(step, inputs, build_context(bench.params, bench.home))


@thorough
def test_further_outputs_are_verified_like_the_score(
    context: Context, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worn = replace(context, usecase=Worn())
    number = registered(worn, monkeypatch, clone, "mmoe")
    resolved: Any = worn.models.resolve(version=number)
    training_set = {"training_set_uri": resolved.training_set_uri}
    monkeypatch.setattr("pipelines.registration.verify.rebuild", lambda *_: (training_set, resolved.model_uri))
    rebuilding = Rebuilding(lambda *_: None, clone)
    assert rebuilt(number, worn, rebuilding, "ada").verdict is Verdict.PASS
    scored, load = ModelScorer.score_all, load_scorer
    with monkeypatch.context() as patched:
        patched.setattr(ModelScorer, "score_all", lambda *given: (scored(*given)[0], scored(*given)[1] + 0.01))
        report = rebuilt(number, worn, rebuilding, "ada")
    assert report.verdict is Verdict.REJECT and report.max_difference == pytest.approx(0.01)
    monkeypatch.setattr("pipelines.registration.verify.load_scorer", lambda *given: replace(load(*given), further=()))
    assert "further outputs are (), and were ('worn',)" in rebuilt(number, worn, rebuilding, "ada").why


EVERY = ("validate", "build_features", "apply_features", "build_training_set", "train", "evaluate")


@thorough
@pytest.mark.parametrize(
    ("family", "apart"),
    [("mlp", ("train",)), pytest.param("logistic_regression", EVERY, marks=pytest.mark.soak)],  # in own processes
)
def test_a_version_is_rebuilt_bit_for_bit(
    context: Context,
    clone: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    family: str,
    apart: tuple[str, ...],
) -> None:
    number = registered(context, monkeypatch, clone, family)
    run = Bench.run
    monkeypatch.setattr(
        Bench, "run", lambda bench, step, **inputs: (run if step in apart else run_here)(bench, step, **inputs)
    )
    capsys.readouterr()
    assert verify(context, clone, number) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["verdict"] == "PASS" and report["identical_graph"] and report["identical_training_set"]
    assert report["identical_environment"] and report["libraries"] == {} and report["rows"] > 100
    resolved = context.models.resolve(version=number)
    assert resolved is not None and resolved.tags["verify.verdict"] == "PASS"
    last = context.ledger.entries()[-1]
    assert (last.action, last.version) == ("verify", number) and last.evidence["commit"] == git(
        clone, "rev-parse", "HEAD"
    )
    assert main(["models", "show", number, "--card", "--params", str(TOY), "--home", str(context.settings.home)]) == 0
    assert "Not rebuilt yet" not in (text := capsys.readouterr().out) and "largest difference" in text
    assert not (context.settings.root / "verify" / f"pumps-{number}").exists()
    assert git(clone, "worktree", "list").count("\n") == 0


@thorough
def test_code_that_gives_another_model_is_detected(
    context: Context,
    clone: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    number = registered(context, monkeypatch, clone, "logistic_regression")
    resolved: Any = context.models.resolve(version=number)

    def tag(**tags: str) -> None:
        for name, value in tags.items():
            context.tracker.client.set_model_version_tag("pumps", number, name, value)

    file = clone / "pipelines" / "validation" / "validate.py"  # the first step, so that the rest need not run
    text = file.read_text()
    file.write_text(text + "\nraise ValueError('broken on purpose')\n")
    git(clone, "commit", "-qam", "broken")
    broken = git(clone, "rev-parse", "HEAD")
    file.write_text(text)
    git(clone, "commit", "-qam", "mended")
    tag(git_commit=broken)
    assert (
        verify(context, clone, number) == 3 and "step validate of the recorded commit failed" in capsys.readouterr().err
    )
    tag(git_commit=git(clone, "rev-parse", "HEAD"))
    outputs = {"training_set_uri": resolved.training_set_uri}
    with monkeypatch.context() as patched:  # the model itself, so there is no difference at all
        patched.setattr("pipelines.registration.verify.rebuild", lambda *_: (outputs, resolved.model_uri))
        assert verify(context, clone, number) == 0
        context.tracker.client.delete_model_version_tag("pumps", number, "git_dirty")
        assert verify(context, clone, number, "--tolerance", "-1") == 3, "any difference is more than allowed"
    commit = context.ledger.entries()[-1].evidence["commit"]
    assert commit.endswith("(whether files differed from it is not known)")
    verdicts = [e.reason[:6] for e in context.ledger.entries() if e.action == "verify"]
    assert verdicts == ["HOLD: ", "PASS: ", "REJECT"]
    tag(git_commit="0" * 40)
    assert verify(context, clone, number) == 2 and "fetch it" in capsys.readouterr().err
    tag(git_dirty="true")
    assert verify(context, clone, number) == 2 and "--allow-dirty" in capsys.readouterr().err
    with pytest.raises(InvalidInput, match="params_hash"):
        tag(params_hash="another")
        recipe_of(context.models.resolve(version=number), context, True)  # type: ignore[arg-type]
    Path(resolved.training_set_uri, "train.parquet").write_bytes(b"altered")
    assert verify(context, clone, number) == 2 and "train.parquet has sha256" in capsys.readouterr().err


def test_a_rebuild_uses_the_chosen_settings_instead_of_the_search() -> None:
    params = load_params(ROOT / "params.yaml").model_dump(mode="json")
    params["training"]["tuning"] = {"pruning": False, "folds": 3, "minutes": 1.0, "latency": {"budget_ms": 0.001}}
    card = model_card(seed=5, params={"dropout": 0.3}, training_set={**TRAINED, "feature_service": "older"})
    machine = Machine(device="cpu", processes=1, threads=1)
    science = Params.model_validate(Recipe("c", "d", params, card, machine).science())
    assert science.training.tuning == Tuning() and (science.training.trials, science.training.seed) == (1, 5)
    assert science.training.mlp.dropout == 0.3 and science.features.service == "older"


def test_a_network_is_rebuilt_by_the_same_number_of_processes_and_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[list[str], str]] = []

    def started(command: list[str], **settings: Any) -> subprocess.CompletedProcess[str]:
        calls.append((command, settings["env"]["OMP_NUM_THREADS"]))
        Path(command[command.index("--out") + 1]).write_text("{}")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("pipelines.registration.rebuild.subprocess.run", started)
    bench = Bench(ROOT, tmp_path / "home", {}, threads=3)
    for processes in (1, 2):
        bench.train(processes, "r1", family="mlp", training_set_uri="s", seed="1")
    (alone, _), (together, _) = calls
    assert [threads for _, threads in calls] == ["3", "3"]
    assert alone[1:4] == ["-m", "pipelines", "train"] and alone[-2:] == ["--trials", "1"]
    launched = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    assert together[1:8] == [*launched, "-m", "pipelines.training.distributed"]
    assert distributed.main(together[8:]) == 2  # its options are understood
    assert "params.yaml: usecase: Field required" in capsys.readouterr().err


def test_a_dirty_working_tree_is_recorded(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "CODE", clone)
    assert provenance.code() == {"git_commit": git(clone, "rev-parse", "HEAD"), "git_dirty": "false"}
    (clone / "stray.py").write_text("x = 1\n")
    assert provenance.code()["git_dirty"] == "true"
    (clone / "stray.py").unlink()
    monkeypatch.setenv("FLIGHTDECK_COMMIT", "abc")
    assert provenance.code() == {"git_commit": "abc"}
