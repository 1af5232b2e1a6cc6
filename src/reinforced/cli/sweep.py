"""The command that runs many: sweep."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reinforced.cli.common import DataOption, RayOption, new_table, percent, say, show
from reinforced.errors import ReinforcedError

if TYPE_CHECKING:
    from rich.table import Table

    from reinforced.studies.sweep.cost import Cost
    from reinforced.studies.sweep.shares import Share
    from reinforced.studies.sweep.study import Entry, Study
    from reinforced.studies.sweep.sweep import Told

SHOWN = 20
"""Entries that the live table shows at most."""


def sweep(
    study: Annotated[Path, typer.Argument(help="The study file, see docs/sweeps.md.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the sweep [default: sweeps/NAME].")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print entries and estimate, and stop.")] = False,
    ray: RayOption = None,
    workers: Annotated[
        int | None, typer.Option(help="Entries at a time [default: as cores and GPUs allow].", min=1)
    ] = None,
    data: DataOption = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda; the GPUs are divided.")] = "auto",
) -> None:
    """Train, evaluate and diagnose recipes x overrides x seeds; the same command goes on where it stopped."""
    if device not in ("auto", "cpu", "cuda", "mps"):
        raise ReinforcedError(f"--device {device}: a sweep divides the GPUs itself; give auto, cpu or cuda")
    from reinforced.studies.cluster import connected, nodes_of, starters_device
    from reinforced.studies.sweep.cost import estimate
    from reinforced.studies.sweep.pools import LocalPool, Pool, RayPool
    from reinforced.studies.sweep.records import to_do
    from reinforced.studies.sweep.shares import Node, divide, own_cores, own_gpus
    from reinforced.studies.sweep.study import check_runs, entries_of, load_study
    from reinforced.studies.sweep.sweep import TABLE, Place, Sweep

    chosen = load_study(study)
    folder = out or Path("sweeps") / chosen.name
    options = {"--out": folder, "--ray": ray, "--workers": workers, "--data": data}
    options["--device"] = None if device == "auto" else device
    given = [(name, value) for name, value in options.items() if value is not None]
    again = shlex.join(["reinforced", "sweep", str(study), *(str(word) for pair in given for word in pair)])
    entries = entries_of(chosen, study.parent, folder)
    check_runs(entries)
    device = "cpu" if chosen.resources.gpus == 0 else device
    with ExitStack() as stack:
        gpus = own_gpus() if device in ("auto", "cuda") else []
        nodes = [Node(own_cores(), len(gpus))]
        cluster: Any = None
        if ray is not None:
            cluster = stack.enter_context(connected(ray, own_cores()))
            nodes = nodes_of(cluster, device)
        share = divide(chosen.resources, nodes, entries=len(entries), workers=workers)
        left = [entry for entry in entries if to_do(chosen, entry)]
        own = starters_device(device, ray)
        costs = estimate(chosen, left, device=own, threads=share.threads, root=data)
        _print_costs(chosen, entries, costs, share, own.type, whole=dry_run)
        if dry_run:
            return
        pool: Pool = RayPool(cluster, share) if cluster is not None else LocalPool(share, gpus)
        with _board(folder) as told:
            rows = Sweep(chosen, entries, Place(folder, device, data, again), told).run(pool)
    _print_rows(chosen, rows)
    say(f"kept in {folder / TABLE}; the runs are in {folder / 'runs'}")
    failed = [row for row in rows if row["state"] != "finished"]
    if failed:
        raise ReinforcedError(
            f"{len(failed)} of {len(rows)} entries failed, the first is {failed[0]['entry']}: "
            f"{failed[0]['error']}; `{again}` tries again, the logs are in {folder / 'logs'}"
        )


def _print_costs(
    study: Study, entries: Sequence[Entry], costs: Sequence[Cost], share: Share, where: str, *, whole: bool
) -> None:
    if whole:
        table = new_table("entry", "training", "evaluation", "diagnosis", "passes/s", "minutes")
        of = {cost.entry.name: cost for cost in costs}
        for entry in entries:
            cost = of.get(entry.name)
            passes = (cost.training, cost.evaluation, cost.control + cost.diagnosis) if cost else (0, 0, 0)
            shown = [f"{count / 1e6:.2f} M" if count else "" for count in passes]
            speed = [f"{cost.speed:,.0f}", f"{cost.seconds / 60:.1f}"] if cost else ["", "finished"]
            table.add_row(entry.name, *shown, *speed)
        show(table)
    alone = sum(cost.seconds for cost in costs)
    longest = max((cost.seconds for cost in costs), default=0.0)
    total = max(alone / share.workers, longest)
    say(
        f"{study.name}: {len(entries)} entries, {len(costs)} of them not finished; at a time "
        f"{share.workers}, threads each {share.threads}"
        + (f", GPUs each {share.gpus:g}" if share.gpus else ""),
        f"estimate: {total / 60:.1f} minutes (passes over the speed of a few steps timed here on {where}; "
        "attacks count as if nothing broke early, a diagnosis without its checks)",
    )


def _print_rows(study: Study, rows: Sequence[Mapping[str, Any]]) -> None:
    threats = [str(threat) for threat in study.evaluate.budgets()] if study.evaluate else []
    judged = ("verdict",) if study.diagnose else ()
    table = new_table("entry", "validation", "test", *(f"robust {t}" for t in threats), *judged, "state")
    for row in rows:
        robust = []
        for threat in threats:
            low, high = row[f"{threat} low"], row[f"{threat} high"]
            interval = "" if low is None else f" [{low:.1%}, {high:.1%}]"
            robust.append(percent(row[f"{threat} robust"]) + interval)
        verdict = [row["verdict"] or ""] if judged else []
        state = row["state"] + (f": {row['error']}" if row["error"] else "")
        accuracies = percent(row["validation_accuracy"]), percent(row["test_accuracy"])
        table.add_row(row["entry"], *accuracies, *robust, *verdict, state)
    show(table)


@contextmanager
def _board(folder: Path) -> Iterator[Told]:
    """A live table on a terminal; elsewhere a line for each change."""
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    before: dict[str, str] = {}

    def changes(states: Mapping[str, str]) -> None:
        for name, state in states.items():
            if before.get(name, "waiting") != state:
                typer.echo(f"{name}: {state}", err=True)
        before.update(states)

    if not console.is_terminal:
        yield changes
        return
    with Live(console=console, refresh_per_second=2, transient=True) as live:
        yield lambda states: live.update(_state_table(states, folder))


def _state_table(states: Mapping[str, str], folder: Path) -> Table:
    from rich.markup import escape

    counts = Counter(state.partition(":")[0] for state in states.values())
    table = new_table("entry", "state", "last said")
    table.caption = ", ".join(f"{count} {state}" for state, count in counts.items())
    busy = [(name, state) for name, state in states.items() if state not in ("waiting", "finished")]
    for name, state in busy[:SHOWN]:
        table.add_row(escape(name), escape(state), _last_line(folder / "logs" / f"{name}.log"))
    return table


def _last_line(log: Path) -> str:
    """Of a worker's log, as much as a screen shows."""
    from rich.markup import escape

    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - 400))
        lines = file.read().decode(errors="replace").splitlines()
    return escape(lines[-1][:100]) if lines else ""
