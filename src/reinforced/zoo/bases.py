"""The networks that the defences are made of: trained once a seed, kept as run directories."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from reinforced.errors import ReinforcedError, did_you_mean
from reinforced.training.loop import train
from reinforced.training.recipe import Recipe
from reinforced.training.recipes import load_recipe
from reinforced.training.run import RunDirectory, load_model

ADVERSARY = "phases.0.adversary"
RECIPES: Mapping[str, tuple[str, ...]] = {
    # Overrides of quickstart/sl. Weights are the last epoch's: validation images choose nothing.
    "sl": (),
    "label-smoothed": ("phases.0.regularisers=[{kind: label_smoothing}]",),
    "pgd-at": (f"{ADVERSARY}={{kind: pgd, epsilon: 0.15, steps: 3}}", "phases.0.epochs=30"),
    "trades": (f"{ADVERSARY}={{kind: trades, epsilon: 0.15, steps: 3, step: 0.075}}", "phases.0.epochs=30"),
    "fgsm-at": (
        f"{ADVERSARY}={{kind: fgsm, epsilon: 0.3, clean_weight: 0}}",
        "phases.0.epochs=30",
    ),
    "k-winners": ("model.name=reinforced.zoo.networks:k_winners",),
    "dropout": ("model.name=reinforced.zoo.networks:dropping",),
    # Without normalisation inside, so that the noise is in pixel units.
    "noisy": (
        "model.name=reinforced.zoo.networks:noisy",
        "model.normalize=none",
        "phases.0.epochs=30",
        f"{ADVERSARY}={{kind: pgd, norm: l2, epsilon: 1.0, steps: 2}}",
    ),
}


def recipe(name: str, seed: int) -> Recipe:
    """How a base is trained.

    Raises:
        ReinforcedError: no such base.
    """
    if name not in RECIPES:
        raise ReinforcedError(f"no base {name!r}{did_you_mean(name, RECIPES)}")
    overrides = [f"name=zoo/{name}", f"seed={seed}", *RECIPES[name]]
    return load_recipe("quickstart/sl", overrides=overrides)


@dataclass
class Bases:
    """Trained networks by name and seed.

    Attributes:
        folder: holds the run directories.
        device: where to train; models come back on the CPU.
        told: hears which network is trained.
        loaded: those already asked for, so that defences on one base share its weights.
    """

    folder: Path
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    told: Callable[[str], None] = field(default=lambda _: None)
    loaded: dict[tuple[str, int], nn.Module] = field(default_factory=dict)

    def get(self, name: str, seed: int) -> nn.Module:
        """A network in eval mode, on the CPU; trained unless that has been done.

        Raises:
            ReinforcedError: no such base.
        """
        if (name, seed) not in self.loaded:
            run = self.folder / f"{name}-seed{seed}"
            chosen = recipe(name, seed)
            if RunDirectory(run).summary() is None:
                self.told(f"training {run.name}")
            train(chosen, run, device=self.device)
            self.loaded[name, seed] = load_model(run).eval().requires_grad_(False)
        return self.loaded[name, seed]
