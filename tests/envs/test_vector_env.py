"""The vector environment: the same episodes as the single one, in batches."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from reinforced.data import load, to_float
from reinforced.envs import ID
from reinforced.envs.vector import ClassificationVectorEnv
from reinforced.errors import ReinforcedError

SEVERAL: dict[str, Any] = {"looks": 3, "window": 0.4, "reward": "plus_minus", "split": "test"}


def same_step(**options: Any) -> VectorEnv[Any, Any, Any]:
    """Gymnasium's own loop around the single environment."""
    return gymnasium.make_vec(
        ID,
        num_envs=1,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        **options,
    )


@pytest.mark.parametrize("options", [{}, SEVERAL])
def test_one_of_it_is_gymnasiums_loop_around_the_single_one(options: dict[str, Any]) -> None:
    ours, theirs = gymnasium.make_vec(ID, num_envs=1, **options), same_step(**options)
    assert isinstance(ours, ClassificationVectorEnv)
    assert ours.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    assert data_equivalence(ours.reset(seed=7), theirs.reset(seed=7), exact=True)
    for step in range(30):
        actions = np.array([step % 10])
        assert data_equivalence(ours.step(actions), theirs.step(actions), exact=True)


@pytest.mark.parametrize("options", [{}, SEVERAL])
def test_many_are_each_an_episode(options: dict[str, Any]) -> None:
    looks, count = options.get("looks", 1), 64
    split = getattr(load("digits"), options.get("split", "train"))
    environment = ClassificationVectorEnv(count, **options)
    observations, infos = environment.reset(seed=0)
    assert infos == {}
    for step in range(1, 13):
        assert observations in environment.observation_space
        actions = np.arange(step, step + count) % 10
        following, rewards, terminated, truncated, infos = environment.step(actions)
        over = step % looks == 0
        assert (terminated == over).all()
        assert not truncated.any()
        if not over:
            assert not rewards.any()
            assert infos == {}
        else:
            final = infos["final_info"]
            whole, labels = split.batch(torch.from_numpy(final["row"]))
            np.testing.assert_array_equal(final["label"], labels)
            np.testing.assert_array_equal(final["correct"], final["label"] == actions)
            wrong = -1 if "reward" in options else 0
            np.testing.assert_array_equal(rewards, np.where(final["correct"], 1, wrong))
            last = np.stack(list(infos["final_obs"]))
            np.testing.assert_array_equal(last, observations)
            uncovered = last > 0
            np.testing.assert_array_equal(last[uncovered], to_float(whole).numpy()[uncovered])
            assert looks > 1 or (last == to_float(whole).numpy()).all()
            assert len(set(final["row"].tolist())) > count / 2, "each draws its own image"
        observations = following


def test_every_step_is_answered() -> None:
    """Gymnasium's default autoreset would make every second step of these a reset, worth nothing."""
    environment = RecordEpisodeStatistics(ClassificationVectorEnv(8))
    environment.reset(seed=0)
    for _ in range(5):
        environment.step(np.zeros(8, dtype=np.int64))
    assert environment.episode_count == 40


def test_seeds_and_what_is_returned_stays() -> None:
    one, other = ClassificationVectorEnv(4), ClassificationVectorEnv(4)
    first, _ = one.reset(seed=5)
    np.testing.assert_array_equal(first, other.reset(seed=5)[0])
    kept = first.copy()
    *_, infos = one.step(np.zeros(4, dtype=np.int64))
    infos["final_obs"][0][:] = 0.5
    one.step(np.zeros(4, dtype=np.int64))
    np.testing.assert_array_equal(first, kept)
    assert not np.array_equal(first, one.reset(seed=6)[0])


def test_misuse() -> None:
    with pytest.raises(ReinforcedError, match="num_envs=0"):
        ClassificationVectorEnv(0)
    with pytest.raises(ReinforcedError, match="did you mean 'looks'"):
        gymnasium.make_vec(ID, num_envs=2, lookss=1)
    environment = ClassificationVectorEnv(2)
    with pytest.raises(ResetNeeded):
        environment.step(np.array([0, 0]))
    environment.reset()
    for actions in ([0], [0, 10], [0.5, 0.5]):
        with pytest.raises(InvalidAction, match="one class for each episode"):
            environment.step(np.array(actions))
