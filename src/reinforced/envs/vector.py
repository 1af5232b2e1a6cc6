"""The vector form of ``reinforced/Classification-v0``: a batch of images a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from reinforced.envs.episodes import Episodes, Floats, Integers
from reinforced.envs.settings import parse_settings
from reinforced.errors import ReinforcedError

Rewards = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class ClassificationVectorEnv(VectorEnv[Floats, Integers, npt.NDArray[Any]]):
    """``num_envs`` episodes side by side, all drawn from one generator.

    Episodes end together and the next ones begin in the same step (``AutoresetMode.SAME_STEP``): with
    Gymnasium's default mode, every second step of one-step episodes would be a reset without an answer. So
    the observation of a step that ends episodes is already the next images'; ``info`` has the old ones in
    ``final_obs`` and their ``label``, ``correct`` and ``row`` in ``final_info``, as SyncVectorEnv packs them.

    Args:
        num_envs: number of episodes N.
        options: the fields of :class:`~reinforced.envs.settings.ClassificationSettings`.

    Raises:
        ReinforcedError: a bad option, or data that cannot be used.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - as Gymnasium declares it
        "autoreset_mode": AutoresetMode.SAME_STEP,
        "render_modes": [],
    }

    def __init__(self, num_envs: int = 1, **options: Any) -> None:
        if num_envs < 1:
            raise ReinforcedError(f"num_envs={num_envs} is no number of environments: give at least 1")
        self.num_envs = num_envs
        self._episodes = Episodes(parse_settings(options), num_envs)
        self.single_observation_space = self._episodes.observation_space
        self.single_action_space = self._episodes.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._begun = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Draw images ``(N, C, H, W)``; ``options`` are ignored."""
        super().reset(seed=seed, options=options)
        self._begun = True
        return self._episodes.begin(self.np_random), {}

    def step(self, actions: Integers) -> tuple[Floats, Rewards, Flags, Flags, dict[str, Any]]:
        """Name a class in each episode, ``(N,)``.

        Raises:
            ResetNeeded: before the first reset.
            InvalidAction: not one class for each episode.
        """
        if not self._begun:
            raise ResetNeeded("call reset() before the first step()")
        actions = np.asarray(actions)
        if not self.action_space.contains(actions):
            raise InvalidAction(f"actions {actions!r}: give one class for each episode, {self.action_space}")
        observations, rewards, over = self._episodes.answer(actions, self.np_random)
        infos: dict[str, Any] = {}
        if over:
            infos = self._final(observations, actions)
            observations = self._episodes.begin(self.np_random)
        ended = np.full(self.num_envs, over)
        return observations, rewards, ended, np.zeros(self.num_envs, dtype=bool), infos

    def _final(self, observations: Floats, actions: Integers) -> dict[str, Any]:
        episodes = self._episodes
        values = {"label": episodes.labels, "correct": episodes.correct(actions), "row": episodes.rows}
        final = np.empty(self.num_envs, dtype=object)
        for place, observation in enumerate(observations):
            final[place] = observation
        return {
            "final_obs": final,
            "_final_obs": self._everywhere(),
            "final_info": {**values, **{f"_{name}": self._everywhere() for name in values}},
            "_final_info": self._everywhere(),
        }

    def _everywhere(self) -> Flags:
        """Gymnasium's mask of the episodes that an info is about: all of them."""
        return np.ones(self.num_envs, dtype=bool)
