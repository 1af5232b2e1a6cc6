"""Classification episodes in a batch: what the single environment and the vector one both run on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium.spaces import Box, Discrete

from reinforced.data import to_float
from reinforced.envs.settings import ClassificationSettings, open_dataset, split_of

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


class Episodes:
    """``count`` episodes that begin and end together; each shows one image, drawn with replacement.

    With one look the observation is the image. With more, each look uncovers another random window of it,
    the rest is 0, and what is uncovered stays so. Only the answer to the last look counts.

    Args:
        settings: the images, the reward and the looks.
        count: number of episodes N.

    Attributes:
        rows: ``(N,)`` int64, which images of the split the episodes show.
        labels: ``(N,)`` int64, their classes.
    """

    rows: Integers
    labels: Integers

    def __init__(self, settings: ClassificationSettings, count: int) -> None:
        self.settings = settings
        self.count = count
        self._dataset = open_dataset(settings)  # held, so that other environments find it loaded
        self._split = split_of(self._dataset, settings)
        channels, height, width = self._split.shape
        self.observation_space = Box(0.0, 1.0, (channels, height, width), np.float32)
        self.action_space = Discrete(len(self._dataset.classes))
        self._window = tuple(max(1, round(settings.window * side)) for side in (height, width))
        self._looks = 0

    def begin(self, random: np.random.Generator) -> Floats:
        """Draw new images; the first observations ``(N, C, H, W)`` in [0, 1]."""
        self.rows = random.integers(len(self._split), size=self.count)
        images, labels = self._split.batch(torch.from_numpy(self.rows))
        self.labels = labels.numpy()
        self._images: Floats = to_float(images).contiguous().numpy()
        self._uncovered = np.zeros((self.count, 1, *self._images.shape[2:]), dtype=bool)
        self._looks = 0
        return self._look(random)

    def answer(self, actions: Integers, random: np.random.Generator) -> tuple[Floats, npt.NDArray[Any], bool]:
        """Answer the current look.

        Args:
            actions: ``(N,)`` classes.
            random: where the next window comes from.

        Returns:
            The next observations, or the last ones again where there is no next; rewards ``(N,)`` float64,
            all 0 before the last look; and whether the episodes are over.
        """
        if self._looks < self.settings.looks:
            return self._look(random), np.zeros(self.count), False
        right, wrong = self.settings.reward
        return self._observe(), np.where(self.correct(actions), right, wrong), True

    def correct(self, actions: Integers) -> npt.NDArray[np.bool_]:
        """Which actions ``(N,)`` name the right class."""
        return np.equal(actions, self.labels)

    def _look(self, random: np.random.Generator) -> Floats:
        self._looks += 1
        if self.settings.looks > 1:
            inside = []
            for axis, side in enumerate(self._window):
                length = self._images.shape[2 + axis]
                start = random.integers(length - side + 1, size=(self.count, 1))
                inside.append((np.arange(length) >= start) & (np.arange(length) < start + side))
            rows, columns = inside
            self._uncovered |= (rows[:, :, None] & columns[:, None, :])[:, None]
        return self._observe()

    def _observe(self) -> Floats:
        """A copy, for callers keep what they are given."""
        return self._images * self._uncovered if self.settings.looks > 1 else self._images.copy()
