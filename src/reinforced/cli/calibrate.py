"""The command that judges the judge: calibrate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reinforced.cli.common import new_table, say, show
from reinforced.cli.diagnose import BUDGETS
from reinforced.errors import ReinforcedError, did_you_mean

if TYPE_CHECKING:
    from reinforced.studies.calibrate import Calibration


def calibrate(
    seeds: Annotated[list[int] | None, typer.Option(help="Of bases and draws [default: 0 1 2].")] = None,
    only: Annotated[list[str] | None, typer.Option(help="These defences [default: all].")] = None,
    budget: Annotated[str, typer.Option(help="quick, standard or thorough.")] = "standard",
    folder: Annotated[Path, typer.Option(help="Holds bases, diagnoses and calibration.json.")] = Path(
        "calibration"
    ),
    markdown: Annotated[Path | None, typer.Option(help="Write the tables as a Markdown page too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print calibration.json, not tables.")] = False,
) -> None:
    """How good is the judge? Builds defences with known answers, judges them; goes on where it stopped."""
    if budget not in BUDGETS:
        raise ReinforcedError(f"no budget {budget!r}{did_you_mean(budget, BUDGETS)}")
    if any(seed < 0 for seed in seeds or []):
        raise ReinforcedError("--seeds: seeds are 0 or more")
    from rich.console import Console

    from reinforced.files import write_text
    from reinforced.studies.calibrate import SEEDS, to_markdown
    from reinforced.studies.calibrate import calibrate as run

    with Console(stderr=True).status("") as status:
        found = run(
            folder,
            seeds=list(dict.fromkeys(seeds or SEEDS)),
            only=only or (),
            budget=budget,  # type: ignore[arg-type]  # checked above
            told=status.update,
        )
    if markdown is not None:
        write_text(markdown, to_markdown(found))
    if as_json:
        say(json.dumps(found.to_json(), indent=2))
    else:
        _print(found, folder)


def _print(found: Calibration, folder: Path) -> None:
    from reinforced.studies.calibrate import matrix_table, summary, table

    for lines in (table(found), matrix_table(found)):
        shown = new_table(*lines[0])
        for line in lines[1:]:
            shown.add_row(*line)
        show(shown)
    say(*summary(found), f"kept in {folder}")
