"""The commands that publish: export, leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reinforced.cli.common import say


def export(
    run: Annotated[Path, typer.Argument(help="Run directory, evaluated.")],
    checkpoint: Annotated[str, typer.Option(help="last, best, or a kept epoch, such as 20.")] = "last",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder to write [default: exports/RUN]."),
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Also as ONNX, with the same logits.")] = False,
    push: Annotated[
        str | None, typer.Option(metavar="ORG/NAME", help="Upload to the Hugging Face Hub; private if new.")
    ] = None,
) -> None:
    """Hand a run's weights to others: safetensors, model card, RobustBench-style record."""
    from reinforced.publish.export import export as exported_from
    from reinforced.publish.hub import check_push
    from reinforced.publish.hub import push as pushed_to

    if push is not None:
        check_push(push)
    found = exported_from(run, out or Path("exports") / run.resolve().name, which=checkpoint, onnx=onnx)
    say(f"{found.folder}: {', '.join(found.files)}", f"evaluations on its card: {found.evaluations}")
    if found.onnx_difference is not None:
        say(f"the ONNX file gives the same logits within {found.onnx_difference:.1e}")
    say("before submitting robustbench.json fill in link, authors and venue")
    if push is not None:
        say(f"pushed: {pushed_to(found.folder, push, found.files)}")


def leaderboard(
    folder: Annotated[Path, typer.Argument(help="Folder that holds the run directories.")] = Path("runs"),
    out: Annotated[
        list[Path] | None,
        typer.Option("--out", "-o", help="FILE.md, .html or .csv, any number [default: Markdown, printed]."),
    ] = None,
) -> None:
    """Rank the evaluated runs of a folder, for each data set and threat, from their records alone."""
    from reinforced.publish.board_files import check_suffix, render, write_board
    from reinforced.publish.leaderboard import leaderboard as gathered

    for path in out or []:
        check_suffix(path)
    board = gathered(folder)
    if not out:
        say(render(board, ".md").rstrip())
    for path in out or []:
        write_board(board, path)
        say(str(path))
