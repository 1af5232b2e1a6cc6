"""The commands: parse, call, print. torch is imported only inside the commands that need it."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from reinforced.cli.calibrate import calibrate
from reinforced.cli.compare import compare
from reinforced.cli.diagnose import diagnose
from reinforced.cli.evaluate import evaluate, verify
from reinforced.cli.mechanism import indicators, landscape
from reinforced.cli.policy import import_policy
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
    diagnose,
    calibrate,
    indicators,
    landscape,
    data,
    recipe,
):
    app.command()(command)
app.command("runs")(list_runs)
app.command("import-policy")(import_policy)

_LISTS = ("--threat", "--attacks", "--surrogates", "--curve", "--seeds", "--only")


def _spread(arguments: list[str]) -> list[str]:
    """``--attacks a b`` as ``--attacks a --attacks b``: these take all words up to the next option."""
    if arguments[:1] == ["compare"]:  # it takes one threat, which runs may follow
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


def main() -> NoReturn:
    """The ``reinforced`` command: errors are one line and exit code 2, without a traceback unless --debug."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
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
        _fail(f"internal: {type(error).__name__}: {error} (--debug shows where)", 1)
