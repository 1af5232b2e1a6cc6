"""The single environment: what an episode shows and earns, seeding, and the checkers of both libraries."""

from __future__ import annotations

import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import pytest
import torch
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from reinforced.data import to_float
from reinforced.envs import ID
from reinforced.envs.classification import ClassificationEnv
from reinforced.envs.settings import ClassificationSettings, open_dataset
from reinforced.errors import ReinforcedError

OPTIONS: list[dict[str, Any]] = [{}, {"looks": 3, "reward": "plus_minus", "split": "test"}]


DIGITS = open_dataset(ClassificationSettings())


def picture(row: int, split: str = "train") -> npt.NDArray[np.float32]:
    images, _ = getattr(DIGITS, split).batch(torch.tensor([row]))
    return to_float(images)[0].contiguous().numpy()


@pytest.mark.parametrize("options", OPTIONS)
def test_gymnasiums_checker_and_that_of_stable_baselines3(options: dict[str, Any]) -> None:
    environment = gymnasium.make(ID, **options).unwrapped
    check_env(environment)
    check_env_sb3(environment, warn=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env_sb3(environment)
    # CnnPolicy would want uint8 pixels and 36 of them a side; MlpPolicy takes these as they are.
    assert all("image" in str(warning.message) for warning in caught)


def test_registering_costs_no_torch() -> None:
    code = "import sys, reinforced.envs; assert not {'torch', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_gymnasium_finds_it_by_its_module() -> None:
    environment = gymnasium.make(f"reinforced.envs:{ID}", split="validation")
    assert environment.observation_space == gymnasium.spaces.Box(0, 1, (1, 8, 8), np.float32)
    assert environment.action_space == gymnasium.spaces.Discrete(10)


@pytest.mark.parametrize("reward", ["zero_one", "plus_minus", (2.0, -0.5)])
def test_one_look_is_the_image_and_the_reward_says_right_or_wrong(reward: Any) -> None:
    right, wrong = {"zero_one": (1.0, 0.0), "plus_minus": (1.0, -1.0)}.get(str(reward), reward)
    environment = ClassificationEnv(reward=reward)
    observation, info = environment.reset(seed=1)
    assert info == {}
    for action in range(20):
        last, earned, terminated, truncated, info = environment.step(np.int64(action % 10))
        assert (terminated, truncated) == (True, False)
        assert info["correct"] == (info["label"] == action % 10)
        assert earned == (right if info["correct"] else wrong)
        np.testing.assert_array_equal(observation, picture(info["row"]))
        np.testing.assert_array_equal(last, observation)
        observation, _ = environment.reset()


def test_looks_uncover_windows_and_only_the_last_answer_counts() -> None:
    environment = ClassificationEnv(looks=4, window=0.25, reward="plus_minus", split="test")
    for seed in range(10):
        shown = [environment.reset(seed=seed)[0]]
        for look in range(4):
            observation, earned, terminated, _, info = environment.step(np.int64(3))
            assert terminated == (look == 3)
            assert bool(info) == terminated
            assert terminated or earned == 0
            shown.append(observation)
        assert earned == (1 if info["label"] == 3 else -1)
        whole = picture(info["row"], "test")
        for look, (before, after) in enumerate(pairwise(shown)):
            assert ((after == whole) | (after == 0)).all()
            assert (after[before > 0] == before[before > 0]).all(), "what was uncovered stays"
            assert (before > 0).sum() <= 4 * (look + 1), "a window is 2 x 2"
        np.testing.assert_array_equal(shown[-1], shown[-2])
        # A window is contiguous: of the first look nothing lies outside a 2 x 2 square.
        _, rows, columns = np.nonzero(shown[0])
        assert all(np.ptp(places) <= 1 for places in (rows, columns) if len(places))


def test_windows_reach_every_pixel() -> None:
    environment = ClassificationEnv(looks=2, window=0.5)
    seen = sum(environment.reset(seed=seed)[0] for seed in range(300))
    whole = to_float(DIGITS.train.batch(torch.arange(1197))[0]).sum(0).numpy()
    assert ((seen > 0) | (whole < 300)).all()


def test_seeds() -> None:
    def episodes(seed: int) -> list[npt.NDArray[np.float32]]:
        environment = ClassificationEnv(looks=2)
        first = environment.reset(seed=seed)[0]
        return [first, environment.step(np.int64(0))[0], environment.reset()[0]]

    for one, again, other in zip(episodes(3), episodes(3), episodes(4), strict=True):
        np.testing.assert_array_equal(one, again)
        assert not np.array_equal(one, other)


def test_limit_and_drawing_with_replacement() -> None:
    environment = ClassificationEnv(limit=20)
    rows = []
    for seed in range(200):
        environment.reset(seed=seed)
        rows.append(environment.step(np.int64(0))[4]["row"])
    assert set(rows) == set(range(20))


def test_misuse() -> None:
    environment = ClassificationEnv()
    with pytest.raises(ResetNeeded):
        environment.step(np.int64(0))
    environment.reset()
    with pytest.raises(InvalidAction, match="action 10 is no class"):
        environment.step(np.int64(10))
    environment.step(np.int64(9))
    with pytest.raises(ResetNeeded, match=r"call reset\(\)"):
        environment.step(np.int64(0))


def test_pictures() -> None:
    grey = ClassificationEnv(render_mode="rgb_array")
    assert grey.render() is None
    observation, _ = grey.reset(seed=0)
    shown = grey.render()
    assert shown is not None
    assert shown.shape == (8, 8, 3)
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(
        shown, np.repeat((observation * 255).astype(np.uint8).transpose(1, 2, 0), 3, axis=2)
    )
    coloured = ClassificationEnv(source="synthetic:3x12", render_mode="rgb_array")
    observation, _ = coloured.reset(seed=0)
    shown = coloured.render()
    assert shown is not None
    assert np.abs(shown - observation.transpose(1, 2, 0) * 255).max() < 1e-4
    assert ClassificationEnv().render() is None


def test_environments_share_one_copy_of_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ClassificationSettings()
    kept = open_dataset(settings)
    assert open_dataset(ClassificationSettings(split="test", looks=2)) is kept
    assert open_dataset(ClassificationSettings(limit=20)) is not kept
    monkeypatch.chdir(tmp_path)
    assert open_dataset(settings) is not kept, "a relative path would now name another file"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"look": 2}, "the environment has no option 'look'; did you mean 'looks'?"),
        ({"looks": 0}, "environment option looks=0: Input should be greater than or equal to 1"),
        ({"window": 0}, "environment option window=0: "),
        ({"split": "tests"}, "environment option split='tests': Input should be 'train', 'validation' or"),
        ({"reward": "one_zero"}, "reward='one_zero': reward is a pair of numbers or one of zero_one"),
        ({"reward": (0, 1)}, "the right class must earn more than a wrong one, got [0.0, 1.0]"),
        ({"source": "digts"}, "unknown source 'digts'; did you mean 'digits'?"),
    ],
)
def test_bad_options_are_told_in_a_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ReinforcedError) as caught:
        gymnasium.make(ID, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
