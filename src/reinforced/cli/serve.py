"""The command that shows runs live: serve."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

import typer

from reinforced.cli.common import say


def serve(
    folder: Annotated[Path, typer.Argument(help="Folder that holds the run directories.")] = Path("runs"),
    port: Annotated[int, typer.Option(help="0 for any free one.", min=0, max=65535)] = 8765,
    host: Annotated[str, typer.Option(help="Address to listen on; others than this machine see it too.")] = (
        "127.0.0.1"
    ),
) -> None:
    """Show a folder of runs live in a browser while training goes on; reads only."""
    from reinforced.report.folder import find_runs
    from reinforced.report.serve import LiveServer

    runs = find_runs(folder)
    with LiveServer(folder, host, port) as server:
        say(f"{server.url} shows {folder}, runs: {len(runs)}; Ctrl-C ends it")
        if not _local(host):
            typer.echo(f"note: whoever reaches {host} can read these runs; there is no password", err=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("stopped")


def _local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
