"""The commands that train: quickstart, train, data, recipe, runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reinforced.cli.common import (
    DataOption,
    DeviceOption,
    RunsOption,
    TrackOption,
    TrackToOption,
    new_table,
    percent,
    say,
    show,
)
from reinforced.errors import ReinforcedError

if TYPE_CHECKING:
    from reinforced.data import Summary


def quickstart(runs: RunsOption = Path("runs"), device: DeviceOption = "auto", seed: int = 0) -> None:
    """Train SL, RL, SL-adv and RL-adv classifiers on digits, attack and judge them, write a report."""
    from rich.console import Console

    from reinforced.studies.quickstart import run_quickstart
    from reinforced.training.device import resolve_device

    console = Console(stderr=True)
    with console.status("") as status:
        status.stop()  # until a model is trained: its own bar is on the screen

        def told(text: str) -> None:
            status.start()
            status.update(text)

        result = run_quickstart(runs, device=resolve_device(device), seed=seed, told=told)
    columns = (
        "model",
        "clean",
        "PGD",
        "AutoAttack",
        "worst case",
        "95 % interval",
        "verdict",
        "seconds",
        "passes",
        "run",
    )
    table = new_table(*columns)
    for row in result.rows:
        table.add_row(
            row.label,
            percent(row.clean),
            percent(row.pgd),
            percent(row.autoattack),
            percent(row.robust),
            f"[{row.interval[0]:.1%}, {row.interval[1]:.1%}]",
            row.verdict,
            f"{row.seconds:.1f}",
            f"{row.passes / 1e6:.2f} M",
            str(row.run),
        )
    show(table)
    say(
        f"The first {result.images} test images of digits, {result.threat}: {', '.join(result.attacks)}. "
        "Seconds and passes (network passes over one image: forward 1, full backward 2) are training's.",
        f"Verdicts are of the quick budget, which cannot say genuine. The whole story: {result.report}",
        "",
        "Next:",
        f"  reinforced runs {runs}",
        f"  reinforced verify {result.rows[0].run}/evaluations/*/*    # check the examples again",
        "  reinforced recipe                          # all recipes",
        "  reinforced train quickstart/rl phases.0.objective.exploration=0.3 --run runs/explorer",
        "  reinforced train zou2026/cifar10-rl-expected --size cpu data.source=cifar10 data.limit=4577",
    )


def train(
    recipe: Annotated[str | None, typer.Argument(help="A recipe's name, or a YAML file.")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(help="key.path=value, any number.")] = None,
    size: Annotated[str, typer.Option(help="The recipe's size: full, cpu.")] = "full",
    seed: Annotated[int | None, typer.Option(help="Seed of every random stream.", min=0)] = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="Run directory [default: named after the recipe, in --runs].")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run directory.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Initial weights, .safetensors or .pth (model.weights).")
    ] = None,
    normalize: Annotated[
        str | None, typer.Option(help="Normalisation inside the model: cifar10, ... (model.normalize).")
    ] = None,
    runs: RunsOption = Path("runs"),
    data: DataOption = None,
    device: DeviceOption = "auto",
    track: TrackOption = None,
    track_to: TrackToOption = None,
) -> None:
    """Train a recipe into a run directory; the same command again goes on where it stopped.

    Data parallel: torchrun --nproc-per-node N -m -- reinforced train RECIPE.
    """
    from reinforced.training.recipes import load_recipe
    from reinforced.training.run import RunDirectory, default_run

    if resume is not None:
        if any((recipe, overrides, run, seed is not None, weights, normalize, size != "full")):
            raise ReinforcedError("--resume RUN goes on with what the run directory says; give it alone")
        chosen, path = RunDirectory(resume).recipe, resume
    elif recipe is None:
        raise ReinforcedError("which recipe? `reinforced recipe` lists them; or --resume RUN")
    else:
        options = {"seed": seed, "model.weights": weights, "model.normalize": normalize}
        given = [f"{key}={_quoted(value)}" for key, value in options.items() if value is not None]
        chosen = load_recipe(recipe, size=size, overrides=[*(overrides or []), *given])
        path = run or default_run(chosen, runs)

    from reinforced.training.device import resolve_device
    from reinforced.training.loop import train as fit
    from reinforced.training.progress import progress_bar
    from reinforced.training.trackers import Tracking

    tracking = Tracking(track or (), track_to)
    with progress_bar(str(path)) as bar:
        summary = fit(
            chosen, path, device=resolve_device(device), data_root=data, reporter=bar, tracking=tracking
        )
    if os.environ.get("RANK", "0") != "0":
        return  # under torchrun one process speaks for all
    say(
        f"{path}: {summary['epochs']} epochs, test accuracy {summary['test_accuracy']:.1%} on "
        f"{summary['test_images']} images, validation {summary['validation_accuracy']:.1%} (best "
        f"{summary['best_validation_accuracy']:.1%} in epoch {summary['best_epoch']}), "
        f"{summary['passes'] / 1e6:.1f} M passes, {summary['seconds']:.0f} s"
    )


def data(
    source: Annotated[
        str,
        typer.Argument(
            help="digits, cifar10, cifar100, imagenet100, parquet:DIR, npz:FILE, folder:DIR, "
            "synthetic:CLASSESxSIZE."
        ),
    ],
    size: Annotated[int | None, typer.Option(help="Side of the square images, px.", min=4)] = None,
    save: Annotated[Path | None, typer.Option(help="Write a compressed .npz.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Contact sheet [default: SOURCE.png here].")] = None,
    root: DataOption = None,
) -> None:
    """Fetch a data set, show what is in it, draw a contact sheet."""
    from reinforced.data import contact_sheet, load, save_npz, summarise

    dataset = load(source, size=size, root=root, progress=True)
    summary = summarise(dataset)
    _print_summary(summary)
    sheet = sheet or Path(f"{source.replace(':', '-').replace('/', '-').strip('-.')}.png")
    contact_sheet(dataset, sheet)
    say(f"contact sheet: {sheet}")
    if save is not None:
        save_npz(dataset, save)
        say(f"saved: {save}  (use it as npz:{save})")


def recipe(
    name: Annotated[str | None, typer.Argument(help="Print this recipe, resolved; none: list them.")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(help="key.path=value, any number.")] = None,
    size: Annotated[str, typer.Option(help="The recipe's size: full, cpu.")] = "full",
    fields: Annotated[
        bool, typer.Option("--fields", help="Every field: type, unit, default, source.")
    ] = False,
) -> None:
    """List recipes, print one resolved, or show every field a recipe can have."""
    from reinforced.training.recipes import load_recipe, recipe_fields, recipe_names, recipe_yaml

    if fields:
        table = new_table("field", "type [unit]", "default", "meaning", "source")
        for row in recipe_fields():
            table.add_row(*row)
        show(table)
    elif name is None:
        say(*recipe_names())
    else:
        say(recipe_yaml(load_recipe(name, size=size, overrides=overrides or [])).rstrip())


def list_runs(
    folder: Annotated[Path, typer.Argument(help="Folder that holds the run directories.")] = Path("runs"),
) -> None:
    """List runs with their headline figures."""
    from reinforced.training.run import overview

    columns = ("run", "recipe", "size", "seed", "epochs", "validation", "test", "passes", "seconds", "state")
    table = new_table(*columns)
    for row in overview(folder):
        table.add_row(
            row.name,
            row.recipe,
            row.size,
            str(row.seed),
            f"{row.epoch}/{row.epochs}",
            percent(row.validation),
            percent(row.test),
            f"{row.passes / 1e6:.1f} M",
            f"{row.seconds:.0f}",
            row.state,
        )
    show(table)


def _print_summary(summary: Summary) -> None:
    channels, height, width = summary.shape
    table = new_table("class", *summary.counts)
    for label, counts in zip(summary.classes, zip(*summary.per_class.values(), strict=True), strict=True):
        table.add_row(label, *map(str, counts))
    table.add_section()
    table.add_row("all", *map(str, summary.counts.values()))
    show(table)
    figures = (summary.minimum, summary.maximum, summary.mean, summary.std)
    named = zip(("minimum", "maximum", "mean", "std"), figures, strict=True)
    values = "; ".join(f"{name} {', '.join(f'{value:.4f}' for value in each)}" for name, each in named)
    say(
        f"{summary.name}: {len(summary.classes)} classes, {height} x {width} px, {channels} channels, uint8",
        f"training pixels of [0,1], a figure a channel: {values}",
        f"sha256 {summary.sha256}",
    )


def _quoted(value: object) -> str:
    """A value as YAML, so that a path is never read as anything but text."""
    return str(value) if isinstance(value, int) else json.dumps(str(value))
