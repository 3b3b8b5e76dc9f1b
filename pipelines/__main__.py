"""Command line: `flightdeck STEP --input value ...`, one subcommand for each step, outputs as JSON; and a console."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from pipelines import console, failure
from pipelines.arguments import Parser
from pipelines.context import build_context
from pipelines.errors import InvalidInput, Unavailable
from pipelines.json_text import read_json
from pipelines.params import Params
from pipelines.steps import STEPS, execute

SERVE = "serve"  # a subcommand that is neither a step nor a command of the console


def parser() -> argparse.ArgumentParser:
    top = Parser(
        prog="flightdeck",
        description="Run one step of the chain (with the inputs of dvc.yaml and Airflow), or a command of the console.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="steps and their inputs:\n" + "\n".join(map(_listing, STEPS)),
    )
    commands = top.add_subparsers(dest="step", metavar="STEP", required=True)
    commands.add_parser(SERVE, help="Serve predictions over HTTP until stopped.", add_help=False)
    for step in STEPS.values():
        command = commands.add_parser(step.name, help=step.summary, description=step.summary)
        command.add_argument("--params", metavar="FILE", help="params file (default: FLIGHTDECK_PARAMS or params.yaml)")
        command.add_argument("--home", metavar="DIR", help="where runs write (default: FLIGHTDECK_HOME or var)")
        command.add_argument("--out", metavar="FILE", help="also write the outputs to this JSON file")
        for name, field in step.load().Inputs.model_fields.items():
            default = "required" if field.is_required() else f"default: {_format_default(field.default)}"
            command.add_argument(
                f"--{name.replace('_', '-')}",
                dest=f"input_{name}",
                metavar="VALUE",
                required=field.is_required(),
                help=f"{field.description or ''} ({default}); JSON, plain text, or @FILE.json:KEY".replace("%", "%%"),
            )
    console.add_commands(commands)
    return top


def _listing(name: str) -> str:
    fields = STEPS[name].load().Inputs.model_fields.items()
    flags = " ".join(f"--{n.replace('_', '-')}" if f.is_required() else f"[--{n.replace('_', '-')}]" for n, f in fields)
    return f"  {name:20} {flags}"


def _format_default(default: Any) -> str:
    return "none" if default in (None, PydanticUndefined) else str(default)


def read_value(text: str, params: Params) -> Any:
    """A flag's value: `@FILE.json:KEY` is an output of an earlier step; else JSON where it is an array or an object.

    A list of params in braces becomes a list of values: `@evaluate-{training.families}.json:evaluation_uri`. An array
    may hold outputs too: `["@evaluate-mlp.json:evaluation_uri"]`.

    Raises:
        InvalidInput: if the file, the key or the list of params is missing.
    """
    if placeholder := re.search(r"\{([a-z_]+(?:\.[a-z_]+)+)\}", text):
        values: Any = params
        for name in placeholder[1].split("."):
            values = getattr(values, name, None)
        if not isinstance(values, tuple):
            raise InvalidInput(f"{text}: {placeholder[1]} is not a list in the params file; name one that is")
        return [read_value(text.replace(placeholder[0], str(value)), params) for value in values]
    if text.startswith("@"):
        return _earlier_output(text)
    if text.startswith(("[", "{")):
        try:
            value = read_json(text)
        except ValueError as error:
            raise InvalidInput(f"{text}: not JSON ({error})") from None
        if isinstance(value, list):
            return [_earlier_output(one) if str(one).startswith("@") else one for one in value]
        return value
    return None if text == "null" else text


def _earlier_output(reference: str) -> Any:
    file, _, key = reference[1:].rpartition(":")
    try:
        return read_json(Path(file).read_text())[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"{reference}: no output {key!r} in {file!r} ({error!r}); run the step that writes it"
        ) from None


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == [SERVE]:
        from pipelines.serving.__main__ import main as serve

        return serve(words[1:])
    arguments = vars(parser().parse_args(words))
    try:
        run(arguments)
        sys.stdout.flush()  # here, so that a broken pipe is reported as such
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        return failure.report(error)
    return 0


def run(arguments: Mapping[str, Any]) -> None:
    """Run a step and print its outputs, or run a command of the console."""
    require_reachable(arguments["home"], os.environ)
    step = STEPS.get(arguments["step"])  # the console shows, and ends rollouts, whatever does not fit
    checked = step is not None and not step.unchecked
    context = build_context(arguments["params"], arguments["home"], checked=checked)
    if arguments["step"] not in STEPS:
        try:
            console.answer(arguments, context)
        except Exception as error:
            raise failure.translate(error, context.settings.mlflow) from error
        return
    raw = {k.removeprefix("input_"): v for k, v in arguments.items() if k.startswith("input_") and v is not None}
    out = (
        None if arguments["out"] is None else require_file(arguments["out"])
    )  # before a long run, whose outputs would be lost
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the outputs; libraries print there too
        outputs = execute(arguments["step"], {k: read_value(v, context.params) for k, v in raw.items()}, context)
    text = json.dumps(outputs, indent=2)
    if out is not None:
        write_file(out, text + "\n")
    print(text)


def require_reachable(home: str | None, environ: Mapping[str, str]) -> None:
    """Refuse a home outside the repository of `dvc repro`, where DVC cannot keep the outputs of a stage.

    Raises:
        InvalidInput: if the home is a link to such a place, or lies below one.
    """
    root = environ.get("DVC_ROOT")  # set by DVC for the commands of its stages
    if root and home and not Path(home).resolve().is_relative_to(Path(root).resolve()):
        raise InvalidInput(
            f"{home} is, or lies below, a link to {Path(home).resolve()}, and DVC keeps no outputs outside {root}; "
            "make it a folder (or mount the other disk there), or set FLIGHTDECK_HOME to move the servers only"
        )


def require_file(out: str) -> Path:
    """The path of a file to write; its folder is created.

    Raises:
        InvalidInput: if it names a folder.
    """
    path = Path(out)
    if "\0" in out:
        raise InvalidInput(f"--out {out!r} is not a path; correct it")
    if path.is_dir() or out.endswith(("/", os.sep)):
        raise InvalidInput(f"--out {out} is a folder; name a file in it, such as {path / 'outputs.json'}")
    (path.resolve() if path.is_symlink() else path).parent.mkdir(parents=True, exist_ok=True)
    return path


def write_file(path: Path, text: str) -> None:
    """Write a file atomically, also through a link; a pipe or a device is written to directly."""
    if path.exists() and not path.is_file():
        try:
            path.write_text(text)
        except BrokenPipeError:
            raise Unavailable(f"--out {path}: its reader has closed the pipe; run this again") from None
        return
    path = path.resolve()
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text)
    os.replace(beside, path)


if __name__ == "__main__":
    sys.exit(main())
