"""Diagnoses as the command line asks for them: a run with its control, kept in the run's own folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from reinforced.attacks.base import run_attack
from reinforced.diagnostics.case import Budget, Runner
from reinforced.diagnostics.diagnose import Diagnosis, Told, diagnose
from reinforced.diagnostics.findings import Claim
from reinforced.errors import ReinforcedError
from reinforced.evaluation.job import folder_name
from reinforced.files import write_json
from reinforced.objectives import CrossEntropy
from reinforced.studies.subjects import Source, Subject, is_run, load_lent
from reinforced.training.adversaries import NoAdversary
from reinforced.training.loop import train
from reinforced.training.progress import progress_bar
from reinforced.training.recipe import Recipe
from reinforced.training.recipes import recipe_yaml
from reinforced.training.run import RunDirectory, load_model


def undefended(recipe: Recipe) -> Recipe:
    """The same recipe without any defence: every phase clean cross-entropy without regularisers.

    Its phases keep their lengths and rates; what only a defence needs (probe, budget) is left out. So are
    weights that it began with: they may be a defended model's.
    """
    plain = [
        phase.model_copy(update={"objective": CrossEntropy(), "adversary": NoAdversary(), "regularisers": ()})
        for phase in recipe.phases
    ]
    name = f"{recipe.name}-undefended"
    return recipe.model_copy(
        update={
            "name": name,
            "model": recipe.model.model_copy(update={"weights": None}),
            "phases": tuple(plain),
            "probe": None,
            "budget": None,
        }
    )


def control_folder(run: Path) -> Path:
    """Where the control of a run is trained; apart from one that another version's recipe has made."""
    folder, recipe = run / "diagnostics" / "control", undefended(RunDirectory(run).recipe)
    if not RunDirectory(folder).other(recipe):
        return folder
    return folder.with_name(f"control-{hashlib.sha256(recipe_yaml(recipe).encode()).hexdigest()[:8]}")


def find_control(run: Path, device: torch.device, root: Path | None) -> nn.Module:
    """The control of a run: its recipe without defence, trained beside it unless that has been done."""
    recipe = undefended(RunDirectory(run).recipe)
    folder = control_folder(run)
    with progress_bar(f"control of {run.name}", lines=False) as bar:
        train(recipe, folder, device=device, data_root=root, reporter=bar)
    return load_model(folder).eval().to(device)


def diagnose_subject(
    subject: Subject,
    claim: Claim,
    *,
    budget: Budget,
    control: nn.Module | None,
    surrogates: dict[str, nn.Module],
    smoothed: nn.Module | None,
    seed: int,
    told: Told,
    run: Runner = run_attack,
) -> tuple[Path, Diagnosis]:
    """Judge a claim; the folder's name holds the claim, the budget and the number of images."""
    label = folder_name(str(claim))
    if len(label) > 60:
        label = hashlib.sha256(label.encode()).hexdigest()[:12]
    folder = subject.home / "diagnostics" / f"{label}-{budget}-{len(subject.labels)}-{subject.checkpoint}"
    found = diagnose(
        subject.model,
        subject.images,
        subject.labels,
        claim=claim,
        control=control,
        surrogates=surrogates,
        smoothed=smoothed,
        budget=budget,
        seed=seed,
        out=folder,
        told=told,
        run=run,
    )
    write_json(subject.home / "verdict.json", {**found.to_json(), "folder": folder.name})
    return folder, found


def load_control(
    named: str,
    given: str | None,
    source: Source,
    device: torch.device,
    out: Path,
    beside: Sequence[Subject] = (),
) -> nn.Module | None:
    """The control that was given; for a run without one, the one trained from its recipe; else none.

    Raises:
        ReinforcedError: what was given is the diagnosed model itself, or no model.
    """
    if given is not None:
        if given == named or (is_run(given) and Path(given).resolve() == Path(named).resolve()):
            raise ReinforcedError(f"--control {given} is the diagnosed model itself; give an undefended one")
        return load_lent(given, source, device, out, beside)
    if is_run(named):
        return find_control(Path(named), device, source.root)
    return None


def load_surrogates(
    names: Sequence[str], source: Source, device: torch.device, out: Path, beside: Sequence[Subject] = ()
) -> dict[str, nn.Module]:
    """Models to transfer from, by name."""
    return {name: load_lent(name, source, device, out, beside) for name in names}
