"""``reinforced/Classification-v0``: an image is the state, the class the action, being right the reward."""

from __future__ import annotations

from typing import Any, Literal

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.error import InvalidAction, ResetNeeded

from reinforced.envs.episodes import Episodes, Floats
from reinforced.envs.settings import parse_settings


class ClassificationEnv(gymnasium.Env[Floats, np.int64]):
    """One image an episode, one answer a look.

    Observations are float32 ``(C, H, W)`` in [0, 1], actions the classes. After the last step ``info`` has
    ``label`` and ``correct``, and ``row``, the image's place in the split.

    Args:
        render_mode: ``rgb_array`` makes :meth:`render` give the observation as a picture.
        options: the fields of :class:`~reinforced.envs.settings.ClassificationSettings`.

    Raises:
        ReinforcedError: a bad option, or data that cannot be used.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - as Gymnasium declares it
        "render_modes": ["rgb_array"],
        "render_fps": 1,
    }

    def __init__(self, *, render_mode: Literal["rgb_array"] | None = None, **options: Any) -> None:
        self.render_mode = render_mode
        self._episode = Episodes(parse_settings(options), 1)
        self.observation_space = self._episode.observation_space
        self.action_space = self._episode.action_space
        self._seen: Floats | None = None
        self._over = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Draw an image; ``options`` are ignored."""
        super().reset(seed=seed, options=options)
        self._over = False
        self._seen = self._episode.begin(self.np_random)[0]
        return self._seen.copy(), {}

    def step(self, action: np.int64) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        """Name a class.

        Raises:
            ResetNeeded: the episode is over.
            InvalidAction: no class has this number.
        """
        if self._over:
            raise ResetNeeded("the episode is over: call reset() before step()")
        if not self.action_space.contains(action):
            raise InvalidAction(f"action {action} is no class: give a number in {self.action_space}")
        actions = np.array([action], dtype=np.int64)
        observations, rewards, self._over = self._episode.answer(actions, self.np_random)
        self._seen = observations[0]
        info: dict[str, Any] = {}
        if self._over:
            info = {
                "label": int(self._episode.labels[0]),
                "correct": bool(self._episode.correct(actions)[0]),
                "row": int(self._episode.rows[0]),
            }
        return self._seen.copy(), float(rewards[0]), self._over, False, info

    def render(self) -> npt.NDArray[np.uint8] | None:
        """The observation as ``(H, W, 3)`` uint8 in ``rgb_array`` mode; images without colours are grey."""
        if self.render_mode is None or self._seen is None:
            return None
        picture = self._seen if len(self._seen) == 3 else np.repeat(self._seen[:1], 3, axis=0)
        return (picture.transpose(1, 2, 0) * 255).round().astype(np.uint8)
