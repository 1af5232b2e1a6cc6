"""The commands that evaluate: evaluate, verify."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reinforced.cli.common import (
    DataOption,
    DeviceOption,
    RayOption,
    WorkersOption,
    new_table,
    percent,
    say,
    show,
)
from reinforced.errors import ReinforcedError

if TYPE_CHECKING:
    from reinforced.evaluation.records import Evaluation, ReleasedRecord


def evaluate(
    models: Annotated[list[str], typer.Argument(help="Run directories, or networks by name with --weights.")],
    threat: Annotated[
        list[str] | None, typer.Option(help="linf:8/255, l2:0.5, or a budget: standard, zou2026, digits.")
    ] = None,
    attacks: Annotated[
        list[str] | None, typer.Option(help="quick, standard, full, or names: pgd(steps=100,loss=margin) ...")
    ] = None,
    images: Annotated[
        int | None, typer.Option(help="The first so many test images [default: all].", min=1)
    ] = None,
    skip: Annotated[int, typer.Option(help="Pass over so many test images first.", min=0)] = 0,
    control: Annotated[
        str | None, typer.Option(help="Undefended run that the same attacks must break.")
    ] = None,
    surrogates: Annotated[list[str] | None, typer.Option(help="Runs to transfer examples from.")] = None,
    run_all: Annotated[bool, typer.Option("--all", help="All attacks on all images, broken or not.")] = False,
    chunk: Annotated[
        int | None,
        typer.Option(
            help="Images attacked together, part of the measurement [default: 64, up to 256 on a GPU].", min=1
        ),
    ] = None,
    shards: Annotated[str, typer.Option(help="i/n: the i-th of n shares of the chunks.")] = "1/1",
    ray: RayOption = None,
    workers: WorkersOption = None,
    gallery: Annotated[int, typer.Option(help="Show so many broken images in gallery.png.", min=0)] = 0,
    curve: Annotated[
        list[str] | None, typer.Option(help="Also robust accuracy over: epsilon, steps, models (transfer).")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Data source [default: the run's].")] = None,
    weights: Annotated[Path | None, typer.Option(help="Of a network by name.")] = None,
    normalize: Annotated[str, typer.Option(help="Of a network by name: none, cifar10, ...")] = "none",
    checkpoint: Annotated[
        str, typer.Option(help="Of a run: last, best, or a kept epoch, such as 20.")
    ] = "last",
    seed: Annotated[int, typer.Option(help="Of every draw.", min=0)] = 0,
    out: Annotated[Path, typer.Option(help="Folder for networks by name; runs keep their own.")] = Path(
        "evaluations"
    ),
    root: DataOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Attack models, report the per-image worst case, keep every example; goes on where it stopped."""
    from reinforced.data.places import data_root
    from reinforced.evaluation.suites import choose_attacks
    from reinforced.studies.cluster import starters_device
    from reinforced.studies.evaluations import (
        Plan,
        check_curve,
        draw_curves,
        evaluate_subject,
        remember_subject,
        threats,
        write_gallery,
    )
    from reinforced.studies.shards import Asked, sharing
    from reinforced.studies.subjects import Source, load_lent, load_subject, refuse_unused

    if (workers or ray) and (ray is None or shards != "1/1"):
        raise ReinforcedError("--workers go with --ray ADDRESS, and neither with --shards")
    where = starters_device(device, ray)
    given = Source(source, None, weights, normalize, checkpoint, images, root, skip)
    refuse_unused(models, [*(surrogates or []), *([control] if control else [])], given)
    budgets = threats(threat or ["standard"])
    for budget in budgets:  # before the first is paid for
        choose_attacks(tuple(attacks or ["standard"]), budget)
    for what in curve or []:
        check_curve(what)
    found = {name: load_subject(name, given, where, out) for name in models}
    subjects = list(found.values())
    lent = {name: load_lent(name, given, where, out, subjects) for name in surrogates or []}
    undefended = load_lent(control, given, where, out, subjects) if control else None
    plan = Plan(tuple(attacks or ["standard"]), lent, undefended, seed, run_all, _shard(shards), chunk)
    asked = Asked(
        tuple(models),
        tuple(surrogates or []),
        control,
        replace(given, root=data_root(root).resolve()),  # a node's environment may say another
        plan.attacks,
        seed,
        run_all,
        chunk,
        out,
        device,
        Path.cwd(),
    )
    with sharing(ray, workers, asked) as share_out:
        for budget in budgets:
            for name, subject in found.items():
                with _counter(f"{subject.name} {budget}") as told:
                    share_out(name, budget, len(subject.labels), told)
                    folder, evaluation = evaluate_subject(subject, budget, plan, told)
                remember_subject(folder, name, given, subject.classes)
                if evaluation is None:
                    say(f"{folder}: shard {shards} is done, others are missing")
                    continue
                _print_evaluation(subject.name, evaluation, folder)
                if gallery:
                    picture = write_gallery(folder, subject, gallery)
                    say(f"gallery: {picture or 'no image was broken'}")
            for what in curve or []:
                for title, rows in draw_curves(what, subjects, budget, seed, chunk):
                    table = new_table(*rows[0])
                    for row in rows[1:]:
                        table.add_row(*row)
                    say(title)
                    show(table)


def verify(
    evaluations: Annotated[list[Path], typer.Argument(help="Folders of finished evaluations.")],
    device: DeviceOption = "auto",
) -> None:
    """Check stored adversarial examples again with separate code: ball, box, prediction."""
    from reinforced.studies.evaluations import verify_folder
    from reinforced.training.device import resolve_device

    for folder in evaluations:
        found = verify_folder(folder, resolve_device(device))
        if not found.holds:
            raise ReinforcedError(
                f"{folder}: {len(found.failures)} of {found.examples} examples do not hold; first: "
                f"{found.failures[0]}"
            )
        survival = (
            "" if found.survive_8bit is None else f"; {found.survive_8bit:.1%} survive rounding to 8 bit"
        )
        say(f"{folder}: verified, all {found.examples} adversarial examples hold{survival}")
        for check in found.as_released:
            say(
                f"{check.name} ({check.mark}): all {check.images} images lie in {check.threat} and are "
                f"classified as counted; {percent(check.outside)} of them leave [0,1]"
            )


def _shard(text: str) -> tuple[int, int]:
    first, slash, count = text.partition("/")
    if not (slash and first.isdigit() and count.isdigit()):
        raise ReinforcedError(f"--shards {text}: write i/n, as in 1/4")
    return int(first), int(count)


@contextmanager
def _counter(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """A line on standard error that says which attack is at which chunk."""
    from rich.console import Console

    console = Console(stderr=True)
    with console.status(title) as status:

        def told(attack: str, chunk: int, broken: int) -> None:
            outcome = "CRASHED, chunk lost" if broken < 0 else f"{broken} broken"
            status.update(f"{title}  {attack}, chunk {chunk + 1}: {outcome}")

        yield told


def _print_evaluation(name: str, found: Evaluation, folder: Path) -> None:
    table = new_table(
        "attack", "attacked", "broken", "only by it", "left", "median distance", "passes", "seconds"
    )
    for attack in found.attacks:
        table.add_row(
            attack.name + (f"  ({len(attack.failed_chunks)} chunks crashed)" if attack.failed_chunks else ""),
            str(attack.attacked),
            str(attack.broken),
            str(attack.only),
            percent(attack.accuracy),
            "" if attack.median_distance is None else f"{attack.median_distance:.4f}",
            f"{attack.forwards + attack.gradients:,}",
            f"{attack.seconds:.1f}",
        )
    show(table)
    low, high = found.interval
    own = (
        ""
        if found.autoattack_accuracy is None
        else f"; AutoAttack's own figure {found.autoattack_accuracy:.1%}"
    )
    say(
        f"{name} under {found.threat}, {found.images} images: clean {found.clean_accuracy:.1%}, robust "
        f"{found.robust_accuracy:.1%} [{low:.1%}, {high:.1%}] (per-image worst case){own}"
    )
    if found.as_released:
        _print_released(found.as_released)
    if found.incomplete:
        say("INCOMPLETE: an attack crashed on some chunks; the robust accuracy is an upper bound")
    for attack in found.attacks:
        for flag in attack.flags:
            about = "" if flag.images is None else f" ({flag.images} images)"
            say(f"{attack.name}: {flag.kind}{about}: {flag.message}")
    for note in found.notes:
        say(f"note: {note.message}")
    if found.control is None:
        say("not calibrated: no undefended control was given (--control RUN)")
    elif found.control.broken:
        say(
            f"calibrated: the same attacks leave {found.control.robust_accuracy:.1%} of the undefended "
            "control"
        )
    else:
        say(
            f"PROVES NOTHING: the same attacks leave {found.control.robust_accuracy:.1%} of the undefended "
            "control, more than 10 %"
        )
    say(f"kept in {folder}; check it with `reinforced verify {folder}`")


def _print_released(claims: Sequence[ReleasedRecord]) -> None:
    """A table of their own: in a column with the attacks they would be taken for attacks."""
    say(f"under {claims[0].threat}, over all {claims[0].images} images:")
    table = new_table("attack", "left", "outside [0,1]", "median step", "note")
    for claim in claims:
        left = percent(claim.accuracy)
        if claim.interval is not None:
            left += " [{:.1%}, {:.1%}]".format(*claim.interval)
        crashes = [f"CRASHED on batch {number} ({said})" for number, said in claim.failed_batches.items()]
        note = "; ".join([claim.mark, *crashes])
        table.add_row(claim.name, left, percent(claim.outside), percent(claim.median_step), note)
    show(table)
    if any(claim.median_step is not None and claim.median_step < 0.99 for claim in claims):
        say("median step below 100% of the nominal one: the model's confidence shrinks the steps")
