"""The commands that look into a model: indicators, landscape."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reinforced.cli.common import DataOption, DeviceOption, new_table, say, show
from reinforced.errors import ReinforcedError, did_you_mean

if TYPE_CHECKING:
    from reinforced.attacks.losses import Loss


def indicators(
    models: Annotated[list[str], typer.Argument(help="Run directories, or networks by name with --weights.")],
    threat: Annotated[
        list[str] | None, typer.Option(help="linf:8/255, l2:0.5, or a budget [default: linf:8/255].")
    ] = None,
    images: Annotated[int, typer.Option(help="The first so many test images.", min=1)] = 128,
    steps: Annotated[int, typer.Option(help="Of the PGD path.", min=1)] = 20,
    batch: Annotated[int, typer.Option(help="Images at a time: memory only.", min=1)] = 128,
    source: Annotated[str | None, typer.Option(help="Data source [default: the run's].")] = None,
    weights: Annotated[Path | None, typer.Option(help="Of a network by name.")] = None,
    normalize: Annotated[str, typer.Option(help="Of a network by name: none, cifar10, ...")] = "none",
    checkpoint: Annotated[str, typer.Option(help="Of a run: last, or best by validation.")] = "last",
    seed: Annotated[int, typer.Option(help="Of every draw.", min=0)] = 0,
    out: Annotated[Path, typer.Option(help="Folder for networks by name; runs keep their own.")] = Path(
        "diagnostics"
    ),
    root: DataOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Gradients, curvature, logits, the PGD path, entropy and calibration of models, side by side."""
    from rich.console import Console

    from reinforced.studies.evaluations import threats
    from reinforced.studies.mechanism import measure_subject, table_rows
    from reinforced.studies.subjects import Source, is_run, load_subject, refuse_unused
    from reinforced.training.device import resolve_device

    given = Source(source, None, weights, normalize, checkpoint, images, root)
    refuse_unused(models, [], given)
    subjects = [load_subject(name, given, resolve_device(device), out) for name in models]
    for budget in threats(threat or ["linf:8/255"]):
        found, paths = [], []
        for name, subject in zip(models, subjects, strict=True):
            folder = (subject.home / "diagnostics" if is_run(name) else subject.folder) / "indicators"
            with Console(stderr=True).status(f"{subject.name} {budget}") as status:

                def told(what: str, of: str = f"{subject.name} {budget}") -> None:
                    status.update(f"{of}: {what}")

                mechanism, path = measure_subject(
                    subject, budget, folder, steps=steps, seed=seed, batch=batch, told=told
                )
            found.append(mechanism)
            paths.append(path)
        counts = sorted({len(subject.labels) for subject in subjects})
        say(f"under {budget}, first {' or '.join(map(str, counts))} test images: mean [5 %, 95 % quantile]")
        table = new_table("indicator", *(subject.name for subject in subjects))
        for row in table_rows(found):
            table.add_row(*row)
        show(table)
        say(*(f"kept in {path}, each image's values in {path.with_suffix('.npz')}" for path in paths))


def landscape(
    model: Annotated[str, typer.Argument(help="Run directory, or network by name with --weights.")],
    image: Annotated[int, typer.Option(help="Which test image, from 0.", min=0)] = 0,
    threat: Annotated[str, typer.Option(help="linf:8/255 or l2:0.5; the axes' unit.")] = "linf:8/255",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the files [default: in the run; ./landscape without]."),
    ] = None,
    loss: Annotated[str, typer.Option(help="ce, margin, dlr or gap; PGD ascends the same.")] = "ce",
    adaptive: Annotated[
        bool, typer.Option("--adaptive", help="Evaluate at most 15 % of the points, interpolate the rest.")
    ] = False,
    clip: Annotated[bool, typer.Option("--clip", help="Move points into [0,1]; the paper does not.")] = False,
    size: Annotated[int, typer.Option(help="Points a side.", min=2)] = 300,
    span: Annotated[float, typer.Option(help="Axes reach so many epsilons each way.", min=0.01)] = 3.0,
    steps: Annotated[int, typer.Option(help="Of PGD.", min=1)] = 20,
    batch: Annotated[
        int | None, typer.Option(help="Points at a time [default: what suits the device].", min=1)
    ] = None,
    source: Annotated[str | None, typer.Option(help="Data source [default: the run's].")] = None,
    weights: Annotated[Path | None, typer.Option(help="Of a network by name.")] = None,
    normalize: Annotated[str, typer.Option(help="Of a network by name: none, cifar10, ...")] = "none",
    checkpoint: Annotated[str, typer.Option(help="Of a run: last, or best by validation.")] = "last",
    seed: Annotated[int, typer.Option(help="Of every draw.", min=0)] = 0,
    root: DataOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Draw loss and decision in the plane of an image's adversarial and a random direction."""
    from reinforced.attacks.threat import ThreatModel
    from reinforced.studies.mechanism import draw_landscape, landscape_folder
    from reinforced.studies.subjects import Source, is_run, load_subject, refuse_unused
    from reinforced.training.device import resolve_device

    given = Source(source, None, weights, normalize, checkpoint, image + 1, root)
    refuse_unused([model], [], given)
    ball = ThreatModel.parse(threat)
    subject = load_subject(model, given, resolve_device(device), out or Path("landscape"))
    kept = landscape_folder(Path(model), ball, image, subject.variant(seed))
    out = out or (kept if is_run(model) else Path("landscape"))
    drawn = draw_landscape(
        subject,
        image,
        ball,
        out,
        loss=_loss(loss),
        seed=seed,
        size=size,
        span=span,
        steps=steps,
        clip=clip,
        adaptive=adaptive,
        batch=batch,
    )
    say(drawn.line, f"kept in {out}: landscape.npz, landscape.json, loss.png, decision.png, slices.csv")


def _loss(name: str) -> Loss:
    from reinforced.attacks.losses import CLASSES_NEEDED

    if name not in CLASSES_NEEDED:
        raise ReinforcedError(f"no loss {name!r}{did_you_mean(name, CLASSES_NEEDED)}")
    return name  # type: ignore[return-value]  # one of them
