"""Clean accuracy on the first test images, or on all images that a run was trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from reinforced.component import setting
from reinforced.data import load, to_float
from reinforced.errors import ReinforcedError
from reinforced.evaluation.identity import data_sha256, model_sha256
from reinforced.studies.reproduce.measures.base import (
    HERE,
    Bench,
    Reading,
    Tested,
    digest,
    keep_outcomes,
    read_outcomes,
)
from reinforced.training.run import RunDirectory, load_model

BATCH = 256


class Clean(Tested):
    """Accuracy without any attack, in eval mode and without augmentation."""

    measure: Literal["clean"]
    split: Literal["test", "train"] = setting("test", "train: all images trained on")
    checkpoint: str = setting("last", "last, best, or a kept epoch")

    @property
    def epoch(self) -> str:
        """See :class:`Column`."""
        return self.checkpoint

    def check(self) -> None:
        """See :class:`Column`."""
        super().check()
        if self.fresh and self.split == "train":
            raise ReinforcedError(f"column {self.id}: only test images are fresh")

    def read(self, bench: Bench) -> Reading | None:
        """See :class:`Column`."""
        model = digest(bench.run, self.checkpoint)
        if self.split == "test":
            return read_outcomes(self._file(bench), self.count(bench), model=model, source=bench.data)
        found = read_outcomes(self._file(bench), None, model=model)
        return None if found is None else replace(found, outcomes=None)  # thousands, and paired with nothing

    def make(self, bench: Bench, told: Callable[[str], None]) -> None:
        """See :class:`Column`."""
        told(f"{self.split} accuracy")
        if self.split == "test":
            count = self.count(bench)
            subject = bench.subject(self.checkpoint, count, skip=self.skip(count))
            model, images, labels = subject.model, subject.images, subject.labels
        else:
            model = load_model(bench.run, which=self.checkpoint).to(bench.device)
            images, labels = _trained_on(bench)
        keep_outcomes(
            self._file(bench),
            _right(model, images, labels, bench.device),
            model=model_sha256(model),
            source=bench.data,
            data=data_sha256(images, labels),
        )

    def _file(self, bench: Bench) -> Path:
        count = self.count(bench)
        which = f"-{count}" + (f"-after-{self.skip(count)}" if self.fresh else "")
        return (
            bench.run / HERE / f"{self.split}{which if self.split == 'test' else ''}-{self.checkpoint}.json"
        )


def _trained_on(bench: Bench) -> tuple[Tensor, Tensor]:
    data = RunDirectory(bench.run).recipe.data
    split = load(
        data.source, size=data.size, root=bench.root, validation=data.validation, limit=data.limit
    ).train
    stored, labels = split.batch(torch.arange(len(split)))
    return to_float(stored).contiguous(), labels


@torch.no_grad()
def _right(model: nn.Module, images: Tensor, labels: Tensor, device: torch.device) -> Tensor:
    parts = [
        model(images[start : start + BATCH].to(device)).argmax(1).cpu() == labels[start : start + BATCH].cpu()
        for start in range(0, len(labels), BATCH)
    ]
    return torch.cat(parts)
