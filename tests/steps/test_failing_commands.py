"""A command that fails ends in one line and the right status, and no secret is written anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.__main__ import main
from pipelines.context import build_context
from pipelines.errors import InvalidInput
from tests import commands
from tests.conftest import ROOT, TOY, tree_hashes
from tests.homes import copy_home
from tests.services import thorough

CANARY = "notforlogs"
WINDOW = ("--start", "2024-03-01", "--end", "2024-03-03")
INGEST = ("ingest", *WINDOW)
AWAY = "127.0.0.1:1"
SECRETS = {"AWS_SECRET_ACCESS_KEY": CANARY, "EXAMPLE_TOKEN": CANARY, "WAREHOUSE_URL": f"mysql://ann:{CANARY}@{AWAY}/x"}
Prepare = Callable[[Path], dict[str, str]]
Failing = Callable[[Path, tuple[str, ...], dict[str, str], int], str]  # home, command, variables and exit status


def flightdeck(
    home: Path, command: tuple[str, ...], variables: dict[str, str], room: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command; no file may grow beyond `room` bytes, as on a disk that is full."""
    given = [*command, "--params", str(TOY), "--home", str(home)]
    if room is None:
        return commands.flightdeck(given, variables)
    limits = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))"
    code = f"{limits}\nimport sys; from pipelines.__main__ import main; sys.exit(main({given!r}))"
    environ = {**os.environ, **variables, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True)


def damaged(home: Path) -> dict[str, str]:
    home.mkdir()
    (home / "records.db").write_text("no database, only text, and more text than a header has")
    return {}


def without_driver(home: Path) -> dict[str, str]:
    return {"FLIGHTDECK_RECORDS_URI": f"oracle+nosuch://ann:{CANARY}@{AWAY}/x"}


def no_uri(home: Path) -> dict[str, str]:
    return {"FLIGHTDECK_RECORDS_URI": f"ann:{CANARY}@{AWAY}"}


def locked_away(home: Path) -> dict[str, str]:
    home.mkdir()
    (home / "records.db").mkdir()
    return {}


def mlflow_away(home: Path) -> dict[str, str]:
    return {"FLIGHTDECK_MLFLOW_URI": f"http://ann:{CANARY}@{AWAY}", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


def mlflow_token(home: Path) -> dict[str, str]:
    return {**mlflow_away(home), "FLIGHTDECK_MLFLOW_URI": f"http://{AWAY}", "MLFLOW_TRACKING_TOKEN": CANARY}


def mlflow_nowhere(home: Path) -> dict[str, str]:
    return {"FLIGHTDECK_MLFLOW_URI": f"ann:{CANARY}@nowhere"}


def mlflow_database(home: Path) -> dict[str, str]:
    return {"FLIGHTDECK_MLFLOW_URI": f"nosuch://ann:{CANARY}@{AWAY}/x"}


def redis_away(home: Path) -> dict[str, str]:
    return {"FLIGHTDECK_FEAST_ONLINE": f"redis://:{CANARY}@{AWAY}/0"}


def registry_nowhere(home: Path) -> dict[str, str]:
    return {"FLIGHTDECK_FEAST_REGISTRY": f"nosuch://ann:{CANARY}@{AWAY}/x"}


def password_in_the_store(home: Path) -> dict[str, str]:
    return {"FLIGHTDECK_STORE_URI": f"sftp://ann:{CANARY}@{AWAY}/x"}


def password_in_the_remote(home: Path) -> dict[str, str]:
    return {"FLIGHTDECK_DVC_REMOTE": f"ssh://ann:{CANARY}@{AWAY}/x"}


def password_that_is_not_quoted(home: Path) -> dict[str, str]:
    return {"FLIGHTDECK_RECORDS_URI": f"postgresql://u:p@ss:{CANARY}@{AWAY}/x"}


def mlflow_password_that_is_not_quoted(home: Path) -> dict[str, str]:
    return {"FLIGHTDECK_MLFLOW_URI": f"postgresql://u:p@ss:{CANARY}@{AWAY}/x"}


def password_with_a_slash(home: Path) -> dict[str, str]:
    return {"FLIGHTDECK_RECORDS_URI": f"postgresql://u:1234/{CANARY}@h/x"}


def broken_host(home: Path) -> dict[str, str]:
    return {"FLIGHTDECK_FEAST_ONLINE": f"redis://u:{CANARY}@[::1/0"}


def port_that_is_none(home: Path) -> dict[str, str]:
    return {"FLIGHTDECK_RECORDS_URI": f"postgresql://u:{CANARY}@h:port/x"}


def signature_of_the_remote(home: Path) -> dict[str, str]:
    return {"FLIGHTDECK_DVC_REMOTE": f"azure://c?sig={CANARY}"}


def mlflow_damaged(home: Path) -> dict[str, str]:
    return _damaged_database(home / "mlflow" / "mlflow.db")


def declared_damaged(home: Path) -> dict[str, str]:
    return _damaged_database(home / "feast" / "pumps" / "declared.db")


def _damaged_database(place: Path) -> dict[str, str]:
    place.parent.mkdir(parents=True)
    place.write_text("no database, only text, and more text than a header has" * 100)
    return {}


def no_home(home: Path) -> dict[str, str]:
    home.write_text("a file, not a folder")
    return {}


def nothing(home: Path) -> dict[str, str]:
    return {}


FAILURES = [
    (damaged, INGEST, 1, "not a database"),
    (locked_away, INGEST, 1, "FLIGHTDECK_RECORDS_URI"),
    (without_driver, INGEST, 2, "FLIGHTDECK_RECORDS_URI"),
    (no_uri, INGEST, 2, "FLIGHTDECK_RECORDS_URI"),
    (mlflow_away, ("models", "list"), 1, "MLflow at http://127.0.0.1:1 cannot be used"),
    (mlflow_away, ("models", "verify", "1"), 1, "MLflow at http://127.0.0.1:1 cannot be used"),
    (mlflow_away, ("data", "versions"), 1, "127.0.0.1:1"),
    (mlflow_away, ("resolve_model",), 1, "MLflow at http://127.0.0.1:1 cannot be used"),
    (mlflow_token, ("reconcile_aliases",), 1, "MLflow at http://127.0.0.1:1 cannot be used"),
    (mlflow_nowhere, ("models", "list"), 2, "FLIGHTDECK_MLFLOW_URI"),
    (mlflow_database, ("resolve_model",), 2, "MLflow at nosuch://***@127.0.0.1:1/x refuses it"),
    (registry_nowhere, ("apply_features",), 2, "FLIGHTDECK_FEAST_REGISTRY"),
    (password_in_the_store, INGEST, 2, "FLIGHTDECK_STORE_URI"),
    (password_in_the_remote, ("snapshot",), 2, "FLIGHTDECK_DVC_REMOTE"),
    (password_that_is_not_quoted, INGEST, 2, "FLIGHTDECK_RECORDS_URI"),
    (mlflow_password_that_is_not_quoted, ("models", "list"), 2, "FLIGHTDECK_MLFLOW_URI"),
    (broken_host, ("materialize", "--as-of", "2024-04-30"), 2, "FLIGHTDECK_FEAST_ONLINE"),
    (password_with_a_slash, INGEST, 2, "FLIGHTDECK_RECORDS_URI"),
    (port_that_is_none, INGEST, 2, "FLIGHTDECK_RECORDS_URI"),
    (signature_of_the_remote, INGEST, 2, "FLIGHTDECK_DVC_REMOTE"),
    (mlflow_damaged, ("models", "list"), 1, "FLIGHTDECK_MLFLOW_URI"),
    (declared_damaged, ("apply_features",), 1, "FLIGHTDECK_FEAST_DECLARED"),
    (no_home, INGEST, 1, "home"),
    (nothing, (*INGEST, "--out", "/dev/full"), 1, "free some room"),
    (nothing, ("materialize", "--as-of", "0001-01-01"), 2, "years 1 to 9999"),
    (nothing, ("materialize", "--as-of", "9999-12-31T23:59:59-12:00"), 2, "years 1 to 9999"),
    (nothing, ("clock", "--at", "0001-01-01"), 2, "0001-01-01"),
    (nothing, ("log_candidates", "--evaluation-uris", "[" * 5000), 2, "nests too deeply"),
    (nothing, (*INGEST, "--out", str(ROOT)), 2, "is a folder"),
    (nothing, (*INGEST, "--out", "new/"), 2, "is a folder"),
    (nothing, ("clock", "--at", "noon"), 2, "'noon' is not an instant"),
    (nothing, ("build_training_set", "--as-of", "2024-04-30", "--data-version", "v", "--run", "r"), 2, "ingest"),
    (nothing, ("log_candidates", "--evaluation-uris", '{"a": 1, "a": 2}'), 2, "twice"),
]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Failing:
    """Runs a command that must end with a status, and gives its one line."""

    def fail(home: Path, command: tuple[str, ...], variables: dict[str, str], status: int) -> str:
        for name, value in {**SECRETS, **variables}.items():
            monkeypatch.setenv(name, value)
        assert main([*command, "--params", str(TOY), "--home", str(home)]) == status
        out, err = capfd.readouterr()
        lines = [line for line in err.splitlines() if line.startswith("flightdeck: ")]
        assert out == "" and len(lines) == 1 and "Traceback" not in err and CANARY not in err
        return lines[0]

    return fail


@pytest.mark.parametrize(("prepare", "command", "status", "words"), FAILURES)
def test_a_failing_command_prints_one_line_and_no_secret(
    prepare: Prepare, command: tuple[str, ...], status: int, words: str, tmp_path: Path, failing: Failing
) -> None:
    home = tmp_path / "home"
    line = failing(home, command, prepare(home), status)
    assert words in line
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in written if CANARY.encode() in path.read_bytes()]


@thorough
def test_an_unreachable_online_store_fails_the_commands_that_need_it(
    toy_home: Path, tmp_path: Path, failing: Failing
) -> None:
    copy_home(toy_home, tmp_path / "home")
    for command in (("materialize", "--as-of", "2024-05-10"), ("check_parity", "--as-of", "2024-05-10")):
        line = failing(tmp_path / "home", command, redis_away(tmp_path), 1)
        assert "FLIGHTDECK_FEAST_ONLINE" in line


@thorough
def test_a_full_disk_fails_the_command_and_the_next_run_completes_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for room in (0, 5_000, 100_000):
        done = flightdeck(home, INGEST, {}, room)
        assert done.returncode == 1, done.stderr
        assert done.stderr.splitlines()[-1].startswith("flightdeck: ") and "Traceback" not in done.stderr
    assert flightdeck(home, INGEST, {}).returncode == flightdeck(tmp_path / "other", INGEST, {}).returncode == 0
    assert tree_hashes(home / "data") == tree_hashes(tmp_path / "other" / "data")


def test_a_folder_as_output_file_is_refused_before_the_step_runs(tmp_path: Path) -> None:
    flightdeck(tmp_path / "home", (*INGEST, "--out", str(tmp_path)), {})
    assert not (tmp_path / "home" / "data").exists()


def test_an_incomplete_command_is_a_one_line_error(capfd: pytest.CaptureFixture[str]) -> None:
    for command, words in ((("ingest", "--start", "2024-03-01"), "--end"), (("nothing",), "'nothing'"), ((), "STEP")):
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == 2
        assert words in one_line_of(capfd)


def one_line_of(capfd: pytest.CaptureFixture[str]) -> str:
    out, err = capfd.readouterr()
    (line,) = err.splitlines()
    assert out == "" and line.startswith("flightdeck: ")
    return line


def test_a_remote_of_an_unknown_kind_is_named(tmp_path: Path) -> None:
    assert flightdeck(tmp_path / "home", INGEST, {}).returncode == 0
    done = flightdeck(tmp_path / "home", ("snapshot",), {"FLIGHTDECK_DVC_REMOTE": "nosuch://x"})
    assert done.returncode == 2 and "FLIGHTDECK_DVC_REMOTE" in done.stderr.splitlines()[-1]
    assert flightdeck(tmp_path / "home", ("snapshot",), {}).returncode == 0


def test_outputs_can_be_written_to_a_device_or_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", str(tmp_path / "pipe")], stdout=subprocess.PIPE, text=True)
    assert flightdeck(tmp_path / "home", INGEST, {}).returncode == 0
    for name in ("link", "pipe"):
        assert flightdeck(tmp_path / "home", (*INGEST, "--out", str(tmp_path / name)), {}).returncode == 0
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "link").is_symlink()
    assert reader.communicate(timeout=30)[0] == (tmp_path / "file").read_text() != ""
    (tmp_path / "kept").write_text("as DVC's cache has it")
    (tmp_path / "kept").chmod(0o444)
    kept = os.stat(tmp_path / "kept").st_ino
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    assert flightdeck(tmp_path / "home", (*INGEST, "--out", str(tmp_path / "link")), {}).returncode == 0
    assert (tmp_path / "link").is_symlink() and os.stat(tmp_path / "kept").st_ino != kept, (
        "the file was replaced, not written into"
    )


def test_endlessly_nested_or_unnamed_params_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for deep in ("[" * 200_000, "- " * 200_000, "{a: " * 101 + "}" * 101):
        (tmp_path / "deep.yaml").write_text(f"a:\n  {deep}\n")
        with pytest.raises(InvalidInput, match="nests more than 100 levels deep, from line 2 on"):
            build_context(tmp_path / "deep.yaml", tmp_path)
    monkeypatch.setenv("FLIGHTDECK_PARAMS", os.pathsep)
    with pytest.raises(InvalidInput, match="names no params file"):
        build_context(None, tmp_path)


def test_an_empty_home_means_the_default_and_an_unprintable_one_is_refused() -> None:
    assert build_context(TOY, "").settings.home == Path("var")
    with pytest.raises(InvalidInput, match="not valid UTF-8"):
        build_context(TOY, os.fsdecode(b"/tmp/no\xfftext"))


def test_a_deleted_experiment_is_named_with_the_way_to_restore_it(tmp_path: Path) -> None:
    context = build_context(TOY, tmp_path)
    context.tracker.client.delete_experiment(context.tracker.experiment_id)
    again = build_context(TOY, tmp_path)
    with pytest.raises(Exception, match="mlflow experiments restore --experiment-id") as failed:
        again.tracker.log_report("r", "1", {"a": 1.0}, {})
    assert getattr(failed.value, "exit_code", None) == 2


def test_a_variable_of_mlflow_does_not_reach_what_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_ACTIVE_MODEL_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_CONTEXT"):
        monkeypatch.setenv(name, "elsewhere")
    context = build_context(TOY, tmp_path)
    run = context.tracker.log_report("r", "1", {"a": 1.0}, {})
    assert context.tracker.client.get_run(run).info.experiment_id == context.tracker.experiment_id


def test_a_home_behind_a_link_is_refused_where_dvc_cannot_track_outputs(tmp_path: Path) -> None:
    (tmp_path / "repo").mkdir()
    (tmp_path / "disk").mkdir()
    (tmp_path / "repo" / "var").symlink_to(tmp_path / "disk")
    inside = {"DVC_ROOT": str(tmp_path / "repo")}
    done = flightdeck(tmp_path / "repo" / "var" / "dvc", INGEST, inside)
    assert done.returncode == 2 and "FLIGHTDECK_HOME" in done.stderr and not any((tmp_path / "disk").iterdir())
    (tmp_path / "repo" / "var").unlink()
    assert flightdeck(tmp_path / "repo" / "var" / "dvc", INGEST, inside).returncode == 0
