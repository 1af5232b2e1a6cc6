"""The command that shows: report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reinforced.cli.common import TrackOption, TrackToOption, say


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The page; figures and tables go to a folder of its name.")
    ] = Path("report.html"),
    show: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
    track: TrackOption = None,
    track_to: TrackToOption = None,
) -> None:
    """One HTML page on runs, from their records: verdicts, tables, figures, images, provenance."""
    from reinforced.publish.tracked import track_report
    from reinforced.report.write import write_report
    from reinforced.training.trackers import Tracking

    tracking = Tracking(track or (), track_to)
    written = write_report(runs, out)
    size = written.html.stat().st_size / 1e6
    say(f"{written.html}: {len(runs)} runs, {written.figures} figures, {size:.1f} MB")
    say(f"{written.folder}/: figures as SVG and PNG, tables as CSV and JSON")
    if written.gaps:
        say(f"{len(written.gaps)} records are missing or damaged, as it lists; first: {written.gaps[0]}")
    if track:
        track_report(runs, written, tracking)
        say(f"kept in {', '.join(track)}")
    if show:
        typer.launch(str(written.html.resolve()))
