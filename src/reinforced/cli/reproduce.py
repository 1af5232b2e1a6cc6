"""The command that runs a paper's study again: reproduce."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reinforced.cli.common import DataOption, DeviceOption, RunsOption, new_table, say, show
from reinforced.errors import ReinforcedError

if TYPE_CHECKING:
    from reinforced.studies.reproduce.cost import TableCost


def reproduce(
    study: Annotated[
        str,
        typer.Argument(help="ablation, zou2026, gupta2020, overfitting, reviewers, best, a .yaml; or page."),
    ],
    size: Annotated[str, typer.Option(help="cpu or full; never mixed.")] = "cpu",
    table: Annotated[list[str] | None, typer.Option(help="Only these tables: 2, or 2.1.")] = None,
    runs: RunsOption = Path("runs"),
    records: Annotated[Path, typer.Option(help="Folder of the studies' records.")] = Path(
        "docs/results/study"
    ),
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Of page: the file [default: RECORDS.md].")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print jobs and estimate, and stop.")] = False,
    data: DataOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Run a paper's study, or write the page from its records; goes on where it stopped.

    Started twice, the two share the jobs: start it as often as there are cores.
    """
    if records.suffix or records.is_file():
        raise ReinforcedError(f"--records {records}: give the folder that holds the studies' records")
    if study == "page":
        _page(records, out)
        return
    if out is not None:
        raise ReinforcedError("--out is of `reinforced reproduce page`; a study writes its --records")
    from reinforced.studies.reproduce.paper import choose_size, choose_tables, load_paper

    paper = load_paper(study)
    choose_size(paper, size, study)
    tables = choose_tables(paper, table or [], study)
    from rich.console import Console

    from reinforced.studies.reproduce.cost import estimate
    from reinforced.studies.reproduce.execute import execute
    from reinforced.studies.reproduce.kept import Kept
    from reinforced.studies.reproduce.records import read_record
    from reinforced.studies.reproduce.survey import Place, Survey
    from reinforced.training.device import resolve_device

    name = Path(study).stem
    kept = Kept(read_record(records, name, size))
    survey = Survey(paper, size, Place(runs, resolve_device(device), data), kept)
    costs = estimate(survey, tables)
    if dry_run:
        jobs = [job for job in survey.jobs(tables) if not survey.done(job)]
        say(*map(str, jobs))
    _print_costs(costs)
    if dry_run:
        return
    words = ["reinforced", "reproduce", study, "--size", size, *(["--table", *table] if table else [])]
    again = shlex.join([*words, "--runs", str(runs), "--records", str(records)])
    console = Console(stderr=True)
    with console.status("") as status:
        told = status.update if console.is_terminal else console.out
        outcome = execute(survey, tables, name=name, records=records, again=again, told=told)
    say(f"kept in {outcome.record}; the page: `reinforced reproduce page --records {records}`")
    if outcome.busy:
        say(
            f"{len(outcome.busy)} jobs are done by other processes, or wait for them, the first is "
            f"{outcome.busy[0]}; afterwards `{again}` again"
        )
    if outcome.failed:
        job, error = outcome.failed[0]
        raise ReinforcedError(
            f"{len(outcome.failed)} jobs failed, the first is {job}: {error}; `{again}` tries again"
        )


def _page(records: Path, out: Path | None) -> None:
    from reinforced.files import write_text
    from reinforced.studies.reproduce.drawings import draw
    from reinforced.studies.reproduce.page import write_page
    from reinforced.studies.reproduce.records import read_records

    path = out or Path(f"{records}.md")
    known = read_records(records)
    write_text(path, write_page(Path(f"{records}.md.j2"), known, path, records))
    drawn = draw(known, records)
    say(f"{path}: from {len(known)} records in {records}, with {len(drawn)} drawings")


def _print_costs(costs: list[TableCost]) -> None:
    table = new_table("table", "what", "jobs done", "passes left", "training left", "measuring left")
    for cost in costs:
        waiting = f" + {cost.open} jobs of rows not chosen yet" if cost.open else ""
        table.add_row(
            cost.table.number,
            cost.table.title,
            f"{cost.done} of {cost.jobs}",
            f"{cost.passes:,.0f}",
            f"{cost.training / 3600:.2f} h",
            f"{cost.measuring / 3600:.2f} h{waiting}",
        )
    show(table)
    hours = sum(cost.training + cost.measuring for cost in costs) / 3600
    passes = sum(cost.passes for cost in costs)
    say(
        f"estimate: {passes:,.0f} passes, {hours:.1f} hours on one process (at the speed of a few steps "
        "timed here; attacks by the share of images that the study expects to stand); each job counts for "
        "the first table it is in"
    )
