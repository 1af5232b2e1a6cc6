"""From what a user names (a run directory, a network with weights) to a model with its test images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from reinforced.data import load, to_float
from reinforced.errors import ReinforcedError
from reinforced.models import build, channels_last
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

    ``checkpoint`` is which of a run's weights these are, and ``skip`` how many test images come before these.
    """

    name: str
    model: nn.Module
    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    folder: Path
    checkpoint: str = "last"
    skip: int = 0


def load_subject(named: str, source: Source, device: torch.device, out: Path) -> Subject:
    """A run directory, or a network by name with its weights, and its test images.

    Raises:
        ReinforcedError: neither a run nor a network, no data named for a network, or no test image left.
    """
    path = Path(named)
    is_run = (path / "recipe.yaml").is_file()
    if path.is_dir() and not is_run:
        raise ReinforcedError(f"{named} is no run directory (it has no recipe.yaml)")
    data, size = source.data, source.size
    if is_run:
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
    if is_run:
        model = load_model(path, which=source.checkpoint)
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
    folder = path / "evaluations" if is_run else out / named.replace(":", "-").replace("/", "-")
    name = path.name if is_run else named
    return Subject(
        name, model.eval().to(device), images, labels, dataset.classes, folder, source.checkpoint, source.skip
    )
