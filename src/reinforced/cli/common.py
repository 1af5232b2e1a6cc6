"""What the commands share: options, and ways to print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of data sets [default: $REINFORCED_DATA, else the user cache]."),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
RayOption = Annotated[
    str | None,
    typer.Option("--ray", help="Address of a Ray cluster, or local to start one [default: no Ray]."),
]
WorkersOption = Annotated[
    int | None, typer.Option(help="With --ray: workers that share the chunks [default: one a core].", min=1)
]
TrackOption = Annotated[
    list[str] | None, typer.Option("--track", help="Also keep a tracker: tensorboard, mlflow; repeatable.")
]
TrackToOption = Annotated[
    Path | None, typer.Option("--track-to", help="Folder of the trackers [default: tracking beside the run].")
]
RunsOption = Annotated[Path, typer.Option("--runs", help="Folder that holds the run directories.")]


def percent(value: float | None) -> str:
    """A share as ``12.3%``; empty for none."""
    return "" if value is None else f"{value:.1%}"


def new_table(*columns: str) -> Table:
    """A table with these column heads."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def show(table: Table) -> None:
    """Print a table on standard output."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        # A pipe has no width: give the table what it needs instead of folding it at 80 columns.
        console = Console(width=240)
    console.print(table, markup=False)


def say(*lines: str) -> None:
    """Print lines on standard output."""
    for line in lines:
        typer.echo(line)
