"""From what a user names (a run directory, a network with weights) to a model with its test images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from reinforced.data import load, to_float
from reinforced.errors import ReinforcedError
from reinforced.models import build, channels_last
from reinforced.training.checkpoint import load_checkpoint
from reinforced.training.run import RunDirectory, load_model


@dataclass(frozen=True)
class Source:
    """How to find a model and its images where a run directory does not say.

    Attributes:
        data: data source; a run's own if left out.
        size: side of the images, px.
        weights: for a network by name: file of weights.
        normalize: for a network by name: its normalisation.
        checkpoint: of a run: ``last``, ``best``, or the number of a kept epoch.
        images: the first so many test images; all if left out.
        root: folder of data sets.
        skip: test images that are passed over before those.
    """

    data: str | None = None
    size: int | None = None
    weights: Path | None = None
    normalize: str = "none"
    checkpoint: str = "last"
    images: int | None = None
    root: Path | None = None
    skip: int = 0


@dataclass(frozen=True)
class Subject:
    """A model in eval mode on its device, its test images (float32 in [0,1]) and where its results go.

    Attributes:
        home: the run, or the folder of a network by name.
        folder: of evaluations.
        checkpoint: which of a run's weights these are.
        skip: how many test images come before these.
        other: of a run, the data set and size where they are not its own.
    """

    name: str
    model: nn.Module
    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    home: Path
    folder: Path
    checkpoint: str = "last"
    skip: int = 0
    other: str = ""

    def variant(self, seed: int = 0) -> list[str]:
        """What sets results apart from those of last weights on the first images of the run's own data."""
        epoch = [f"epoch-{self.checkpoint}"] if self.checkpoint.isdecimal() else []
        return [
            *epoch,
            *(["best"] if self.checkpoint == "best" else []),
            *([f"after-{self.skip}"] if self.skip else []),
            *([f"of-{hashlib.sha256(self.other.encode()).hexdigest()[:8]}"] if self.other else []),
            *([f"seed-{seed}"] if seed else []),
        ]


def is_run(named: str) -> bool:
    """Whether this is a run directory, and no network by name."""
    return (Path(named) / "recipe.yaml").is_file()


def refuse_unused(models: Sequence[str], lent: Sequence[str], source: Source) -> None:
    """Refuse options that none of the models takes: whoever gives them believes otherwise.

    Args:
        models: run directories or networks by name.
        lent: surrogates and controls, likewise; of a run always the last weights.
        source: what was asked for.

    Raises:
        ReinforcedError: weights or a normalisation where all are runs, a checkpoint where no model is one.
    """
    if all(map(is_run, [*models, *lent])) and (source.weights is not None or source.normalize != "none"):
        option = "--weights" if source.weights is not None else "--normalize"
        raise ReinforcedError(f"{option} is for networks by name; {models[0]} is a run and has its own")
    if source.checkpoint != "last" and not any(map(is_run, models)):
        raise ReinforcedError(f"--checkpoint is for runs; {models[0]} is a network by name")


def load_lent(
    named: str, source: Source, device: torch.device, out: Path, beside: Sequence[Subject] = ()
) -> nn.Module:
    """A model to compare with or to transfer from: of a run its last weights, else those of ``source``.

    Raises:
        ReinforcedError: neither a run nor a network, or one on images of another shape.
    """
    if is_run(named):
        for subject in beside:
            _require_shape(f"{subject.name}: its images", subject.images.shape[1:], named, "last")
        return load_model(Path(named)).eval().to(device)
    return load_subject(named, replace(source, checkpoint="last"), device, out).model


def load_subject(named: str, source: Source, device: torch.device, out: Path) -> Subject:
    """A run directory, or a network by name with its weights, and its test images.

    Raises:
        ReinforcedError: neither a run nor a network, no data named for a network, or no test image left.
    """
    path = Path(named)
    run = is_run(named)
    if path.is_dir() and not run:
        raise ReinforcedError(f"{named} is no run directory (it has no recipe.yaml)")
    data, size = source.data, source.size
    if run:
        recipe = RunDirectory(path).recipe
        data, size = data or recipe.data.source, size or recipe.data.size
    if data is None:
        raise ReinforcedError(
            f"{named} is no run directory; for a network by name give --source and --weights"
        )
    # Test images only: no split of the training images, which could be impossible, is asked for.
    dataset = load(data, size=size, root=source.root, validation=0.0)
    if source.skip >= len(dataset.test):
        raise ReinforcedError(
            f"{data}: has {len(dataset.test)} test images; none is left after the first {source.skip}"
        )
    rows = torch.arange(
        source.skip, min(source.skip + (source.images or len(dataset.test)), len(dataset.test))
    )
    stored, labels = dataset.test.batch(rows)
    images = to_float(stored).contiguous()
    if run:
        model = load_model(path, which=source.checkpoint)
        _require_shape(f"{data}: its images", dataset.test.shape, named, source.checkpoint)
    else:
        if source.weights is None:
            raise ReinforcedError(f"{named}: an untrained network proves nothing; give --weights FILE")
        model = build(
            named,
            shape=dataset.test.shape,
            classes=len(dataset.classes),
            weights=source.weights,
            normalize=source.normalize,
        )
        model = channels_last(model, dataset.test.shape, len(dataset.classes))
    home = path if run else out / named.replace(":", "-").replace("/", "-")
    own = run and data == recipe.data.source and size == recipe.data.size
    return Subject(
        path.name if run else named,
        model.eval().to(device),
        images,
        labels,
        dataset.classes,
        home,
        home / "evaluations" if run else home,
        source.checkpoint,
        source.skip,
        "" if own or not run else f"{data} {size}",
    )


def _require_shape(what: str, shape: Sequence[int], named: str, checkpoint: str) -> None:
    known = tuple(load_checkpoint(RunDirectory(Path(named)).weights(checkpoint))[1]["shape"])
    if tuple(shape) != known:
        there, here = ("x".join(map(str, each)) for each in (shape, known))
        raise ReinforcedError(f"{what} are {there}, those that {named} was trained on {here}")
