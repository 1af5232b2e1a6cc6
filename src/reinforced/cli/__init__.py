"""The commands: parse, call, print. torch is imported only inside the commands that need it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

import typer

from reinforced.cli.calibrate import calibrate
from reinforced.cli.compare import compare
from reinforced.cli.diagnose import diagnose
from reinforced.cli.evaluate import evaluate, verify
from reinforced.cli.mechanism import indicators, landscape
from reinforced.cli.policy import import_policy
from reinforced.cli.publish import export, leaderboard
from reinforced.cli.report import report
from reinforced.cli.reproduce import reproduce
from reinforced.cli.serve import serve
from reinforced.cli.sweep import sweep
from reinforced.cli.train import data, list_runs, quickstart, recipe, train
from reinforced.errors import Interrupted, ReinforcedError

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Image classifiers trained by reinforcement learning, and a judge of their robustness.",
    epilog="Every command takes --debug: show the traceback of an error.",
)
for command in (
    quickstart,
    train,
    evaluate,
    verify,
    compare,
    sweep,
    reproduce,
    diagnose,
    calibrate,
    indicators,
    landscape,
    report,
    leaderboard,
    export,
    serve,
    data,
    recipe,
):
    app.command()(command)
app.command("runs")(list_runs)
app.command("import-policy")(import_policy)

_LISTS = ("--threat", "--attacks", "--surrogates", "--curve", "--seeds", "--only", "--table")


def _spread(arguments: list[str]) -> list[str]:
    """``--attacks a b`` as ``--attacks a --attacks b``: these take all words up to the next option."""
    if arguments[:1] in (["compare"], ["landscape"]):  # these take one threat, which runs may follow
        return arguments
    spread: list[str] = []
    current = ""
    for argument in arguments:
        if argument.startswith("-"):
            current = argument if argument in _LISTS else ""
            if not current:
                spread.append(argument)
        else:
            spread += [current, argument] if current else [argument]
    return spread


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(code)


def _terminated(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # timeout(1) sends it to the process and to its group
    _fail("terminated; what is finished is kept: the same command goes on from there", 128 + number)


def _fail_by_system(error: OSError) -> NoReturn:
    if error.filename is not None:
        _fail(f"{error.filename}: {error.strerror}", 2)
    # If standard output takes no more, what is left of it would make the interpreter's end fail.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if isinstance(error, BrokenPipeError):
        sys.exit(1)  # whoever read it has enough, as click has it
    _fail(f"{error.strerror} (--debug shows where)", 2)


def main() -> NoReturn:
    """The ``reinforced`` command: errors are one line and exit code 2, without a traceback unless --debug."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminated)
    try:
        code = app(args=_spread(arguments) or ["--help"], prog_name="reinforced", standalone_mode=False) or 0
        if code == 130:  # what typer makes of a KeyboardInterrupt
            _fail("interrupted", 130)
        sys.exit(code)
    except Exception as error:
        if debug:
            raise
        if isinstance(error, Interrupted):
            _fail(str(error), error.exit_code)
        if isinstance(error, (ReinforcedError, typer.TyperException)):
            _fail(str(error) if isinstance(error, ReinforcedError) else error.format_message(), 2)
        if isinstance(error, OSError) and error.strerror:
            _fail_by_system(error)
        _fail(f"internal: {type(error).__name__}: {error} (--debug shows where)", 1)
