"""Policies trained elsewhere, made into run directories that every command takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from reinforced.data import Dataset, load
from reinforced.errors import ReinforcedError
from reinforced.models import build
from reinforced.models.stable_baselines import Policy, read_policy
from reinforced.training.checkpoint import save_checkpoint
from reinforced.training.environment import environment
from reinforced.training.loader import count_correct
from reinforced.training.recipe import Recipe
from reinforced.training.recipes import validate_recipe
from reinforced.training.run import RunDirectory


@dataclass(frozen=True)
class Imported:
    """An imported policy: what it is, and the share of clean test images it classifies right."""

    policy: Policy
    network: str
    test_accuracy: float
    test_images: int


def import_policy(
    file: Path,
    run: Path,
    source: str,
    *,
    size: int | None = None,
    activation: str | None = None,
    root: Path | None = None,
) -> Imported:
    """Make a policy that stable-baselines3 saved into a finished run.

    Args:
        file: the ``.zip`` of PPO, A2C or DQN with an ``MlpPolicy``; never unpickled.
        run: the run directory to make.
        source: the data source it was trained on.
        size: side of the images, px; the source's own if left out.
        activation: of the hidden layers; by default what the file says, else stable-baselines3's own default.
        root: folder of data sets.

    Raises:
        ReinforcedError: a file that is no such policy, images that it was not trained on, or a folder that
            holds something else.
    """
    policy = read_policy(file, activation)
    dataset = load(source, size=size, root=root)
    _check_fit(file, policy, dataset)
    recipe = _recipe(file, policy, source, size)
    model = build(policy.network, shape=dataset.test.shape, classes=policy.classes).eval()
    model.network.load_state_dict(policy.state())  # type: ignore[union-attr]
    device = torch.device("cpu")
    right = {
        name: count_correct(model, split, device) / len(split)
        for name, split in (("validation", dataset.validation), ("test", dataset.test))
    }
    directory = RunDirectory(run)
    with directory.locked():
        directory.prepare(recipe)
        values = {"shape": list(dataset.test.shape), "classes": list(dataset.classes), "epoch": 0}
        for which in ("last", "best"):  # there is but one; --checkpoint takes either
            save_checkpoint(directory.weights(which), dict(model.state_dict()), values)
        record = environment(device, "float32", dataset.sha256)
        imported = {"file": file.name, "kind": policy.kind, "stable_baselines3": policy.version}
        directory.write_environment({**record, "imported": imported})
        directory.write_summary(
            {
                "epochs": 0,
                "stopped_early": False,
                "validation_accuracy": right["validation"],
                "best_validation_accuracy": right["validation"],
                "best_epoch": 0,
                "test_accuracy": right["test"],
                "test_images": len(dataset.test),
                "passes": 0.0,
                "seconds": 0.0,
            }
        )
    return Imported(policy, policy.network, right["test"], len(dataset.test))


def _check_fit(file: Path, policy: Policy, dataset: Dataset) -> None:
    shape = dataset.test.shape
    if not policy.fits(shape):
        given = "x".join(map(str, policy.observation or (policy.inputs,)))
        raise ReinforcedError(
            f"{file} takes observations of {given}, the images of {dataset.name} are "
            f"{'x'.join(map(str, shape))}; name the source and size it was trained on"
        )
    if policy.classes != len(dataset.classes):
        raise ReinforcedError(
            f"{file} has {policy.classes} actions, {dataset.name} has {len(dataset.classes)} classes; name "
            "the source it was trained on"
        )


def _recipe(file: Path, policy: Policy, source: str, size: int | None) -> Recipe:
    """What a run directory needs to say of a classifier that was not trained in it."""
    values = {
        "name": f"imported/{file.stem}",
        "source": (
            f"The {policy.kind} of stable-baselines3 {policy.version} in {file.name}, sha256 of its weights "
            f"{policy.sha256()}. Nothing was trained here: the phase is how training would go on from "
            "checkpoints/last.safetensors."
        ),
        "data": {"source": source, "size": size},
        "model": {"name": policy.network},
        "phases": [{"epochs": 1, "objective": {"kind": "reinforce"}}],
    }
    return validate_recipe(values, str(file))
