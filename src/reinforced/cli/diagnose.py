"""The command that judges: diagnose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reinforced.cli.common import DataOption, DeviceOption, RayOption, WorkersOption, new_table, say, show
from reinforced.errors import ReinforcedError, did_you_mean

if TYPE_CHECKING:
    from reinforced.diagnostics.diagnose import Diagnosis

BUDGETS = ("quick", "standard", "thorough")


def diagnose(
    model: Annotated[str, typer.Argument(help="A run directory, or a network by name with --weights.")],
    claim: Annotated[str, typer.Option(help="ATTACK@THREAT, as in pgd@l2:1.0; =55% if it states accuracy.")],
    budget: Annotated[str, typer.Option(help="quick, standard or thorough.")] = "standard",
    control: Annotated[
        str | None, typer.Option(help="Undefended model [default: a run's own recipe without defence].")
    ] = None,
    surrogates: Annotated[list[str] | None, typer.Option(help="Runs to transfer examples from.")] = None,
    smoothed: Annotated[
        str | None, typer.Option(help="The network behind a claim that ends in 'certified smoothing:SIGMA'.")
    ] = None,
    images: Annotated[
        int | None, typer.Option(help="The first so many test images [default: all].", min=1)
    ] = None,
    source: Annotated[str | None, typer.Option(help="Data source [default: the run's].")] = None,
    weights: Annotated[Path | None, typer.Option(help="Of a network by name.")] = None,
    normalize: Annotated[str, typer.Option(help="Of a network by name: none, cifar10, ...")] = "none",
    checkpoint: Annotated[str, typer.Option(help="Of a run: last, best, or a kept epoch.")] = "last",
    seed: Annotated[int, typer.Option(help="Of every draw.", min=0)] = 0,
    ray: RayOption = None,
    workers: WorkersOption = None,
    out: Annotated[Path, typer.Option(help="Folder for networks by name; runs keep their own.")] = Path(
        "evaluations"
    ),
    root: DataOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Is this robustness real? Runs the claim, looks for what it missed, judges; goes on where it stopped."""
    if budget not in BUDGETS:
        raise ReinforcedError(f"no budget {budget!r}{did_you_mean(budget, BUDGETS)}")
    from rich.console import Console

    from reinforced.diagnostics.diagnose import check_claim
    from reinforced.studies.cluster import starters_device
    from reinforced.studies.diagnosis import diagnose_subject, load_control, load_surrogates
    from reinforced.studies.shards import sharing_attacks
    from reinforced.studies.subjects import Source, load_lent, load_subject, refuse_unused

    where, stated = starters_device(device, ray), check_claim(claim)
    given = Source(source, None, weights, normalize, checkpoint, images, root)
    others = [name for name in (*(surrogates or []), control, smoothed) if name is not None]
    refuse_unused([model], others, given)
    subject = load_subject(model, given, where, out)
    # All that can be refused comes before the control, which may have to be trained.
    lent = load_surrogates(surrogates or [], given, where, out, [subject])
    behind = None if smoothed is None else load_lent(smoothed, given, where, out, [subject])
    undefended = load_control(model, control, given, where, out, [subject])
    with (
        sharing_attacks(ray, workers, device) as run,
        Console(stderr=True).status(f"{subject.name}  {stated}") as status,
    ):
        folder, found = diagnose_subject(
            subject,
            stated,
            budget=budget,  # type: ignore[arg-type]  # checked above
            control=undefended,
            surrogates=lent,
            smoothed=behind,
            seed=seed,
            told=lambda part: status.update(f"{subject.name}  {stated}  {part}"),
            run=run,
        )
    _print(found, folder)


def _print(found: Diagnosis, folder: Path) -> None:
    verdict = found.verdict
    say(verdict.paragraph)
    table = new_table("grade", "check", "what it found", "witnesses", "passes")
    for finding in (*verdict.evidence, *(one for one in found.findings if one.fired is False)):
        table.add_row(
            finding.grade or "-",
            finding.check,
            finding.message,
            str(len(finding.witnesses)) if finding.witnesses else "",
            f"{finding.passes:,}",
        )
    show(table)
    for line in verdict.not_tested:
        say(f"not tested: {line}")
    against = "" if verdict.control is None else f"; the undefended control keeps {verdict.control}"
    say(f"{verdict.images} images, {verdict.passes:,} passes, budget {verdict.budget}{against}")
    say(f"kept in {folder}")
