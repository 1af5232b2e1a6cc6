"""From stable-baselines3 to a classifier: equal logits, equal answers, and what is refused."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from torch import Tensor, nn

import reinforced
from reinforced.data import load, to_float
from reinforced.envs import ID
from reinforced.errors import ReinforcedError
from reinforced.models import build
from reinforced.models.stable_baselines import read_policy
from reinforced.studies.policies import import_policy
from reinforced.studies.subjects import Source, load_subject
from tests.typed import Typed, TypedIn

CPU = torch.device("cpu")
TINY: dict[str, Any] = {"gamma": 0.0, "seed": 0, "device": "cpu"}
# Constructor, options, the classifier's network.
AGENTS: dict[str, tuple[Callable[..., BaseAlgorithm], dict[str, Any], str]] = {
    "ppo": (PPO, {"n_steps": 64, "batch_size": 32}, "mlp:tanh-64-64"),
    "a2c": (A2C, {}, "mlp:tanh-64-64"),
    "dqn": (DQN, {"buffer_size": 1000, "learning_starts": 50}, "mlp:relu-64-64"),
    "relu": (
        PPO,
        {"n_steps": 64, "policy_kwargs": {"activation_fn": nn.ReLU, "net_arch": [24]}},
        "mlp:relu-24",
    ),
    "apart": (A2C, {"policy_kwargs": {"net_arch": {"pi": [9, 8, 7], "vf": [5]}}}, "mlp:tanh-9-8-7"),
    "linear": (A2C, {"policy_kwargs": {"net_arch": []}}, "mlp:tanh"),
    "deep": (DQN, {"policy_kwargs": {"activation_fn": nn.ELU, "net_arch": [8, 8, 8]}}, "mlp:elu-8-8-8"),
}


def digits() -> tuple[Tensor, Tensor]:
    test = load("digits").test
    stored, labels = test.batch(torch.arange(len(test)))
    return to_float(stored).contiguous(), labels


def values(agent: BaseAlgorithm, images: Tensor) -> Tensor:
    """What the agent itself computes: logits (PPO, A2C) or action values (DQN)."""
    policy: Any = agent.policy
    with torch.no_grad():
        if isinstance(agent, DQN):
            return Tensor(policy.q_net(images))
        return Tensor(policy.action_net(policy.mlp_extractor.forward_actor(policy.extract_features(images))))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with PPO's policy after some seconds of training, ``ppo.zip``, imported as ``ppo``."""
    folder = tmp_path_factory.mktemp("policies")
    environments = make_vec_env(ID, n_envs=16, seed=0)
    faster: dict[str, Any] = {"n_steps": 32, "batch_size": 128, "learning_rate": 3e-3}
    agent = PPO("MlpPolicy", environments, **TINY, **faster)
    agent.learn(5_000).save(folder / "ppo.zip")
    import_policy(folder / "ppo.zip", folder / "ppo", "digits")
    return folder


def test_ppo_learns_digits_and_autoattack_takes_its_policy(trained: Path) -> None:
    subject = load_subject(str(trained / "ppo"), Source(), CPU, trained)
    summary = json.loads((trained / "ppo" / "summary.json").read_text())
    assert summary["test_accuracy"] >= 0.9
    found = reinforced.evaluate(
        subject.model,
        subject.images[:8],
        subject.labels[:8],
        reinforced.ThreatModel("linf", 0.3),
        attacks="autoattack",
    )
    assert found is not None
    assert found.clean_accuracy >= 0.75
    assert found.robust_accuracy < found.clean_accuracy


@pytest.mark.parametrize("name", AGENTS)
def test_the_classifier_computes_what_the_policy_does(name: str, tmp_path: Path) -> None:
    kind, options, network = AGENTS[name]
    agent = kind("MlpPolicy", ID, **TINY, **options)
    if name in ("ppo", "a2c", "dqn"):
        agent.learn(200)
    agent.save(tmp_path / "agent.zip")
    imported = import_policy(tmp_path / "agent.zip", tmp_path / "run", "digits")
    assert imported.network == network
    images, labels = digits()
    model = reinforced.load_model(tmp_path / "run", which="best")
    with torch.no_grad():
        assert torch.equal(model(images), values(agent, images))
    answers, _ = agent.predict(images.numpy(), deterministic=True)
    assert imported.test_accuracy == pytest.approx((answers == labels.numpy()).mean())


def test_pixels_as_bytes_are_divided_as_stable_baselines3_divides_them(tmp_path: Path) -> None:
    class Bytes(gymnasium.ObservationWrapper[Any, Any, Any]):
        def __init__(self) -> None:
            super().__init__(gymnasium.make(ID))
            self.observation_space = Box(0, 255, (1, 8, 8), np.uint8)

        def observation(self, observation: Any) -> Any:
            return (observation * 255).astype(np.uint8)

    agent = A2C("MlpPolicy", Bytes(), **TINY)
    agent.save(tmp_path / "bytes.zip")
    import_policy(tmp_path / "bytes.zip", tmp_path / "run", "digits")
    images, _ = digits()
    expected = values(agent, (images * 255).round().to(torch.uint8))
    with torch.no_grad():
        torch.testing.assert_close(reinforced.load_model(tmp_path / "run")(images), expected)


@pytest.fixture
def typed(trained: Path, typed_at: TypedIn) -> Typed:
    return typed_at(trained)


def test_import_evaluate_and_list(typed: Typed) -> None:
    code, out, err = typed("import-policy ppo.zip --source digits")
    assert (code, err) == (0, "")
    assert "runs/ppo: mlp:tanh-64-64 from the actor-critic of stable-baselines3 2." in out
    assert typed("import-policy ppo.zip --source digits")[0] == 0, "the same again changes nothing"
    code, out, _ = typed("evaluate runs/ppo --threat linf:0.1 --attacks fgsm rays(queries=20) --images 20")
    assert code == 0
    assert "per-image worst case" in out
    assert "imported/ppo" in typed("runs runs")[1]
    assert "0 epochs" in typed("train --resume runs/ppo --device cpu")[1]
    code, _, err = typed("import-policy ppo.zip --source digits --run runs/ppo --activation relu")
    assert code == 2
    assert "runs/ppo holds another run" in err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import-policy ppo.zip", "Missing option '--source'"),
        ("import-policy pp.zip --source digits", "no policy pp.zip; did you mean 'ppo.zip'?"),
        ("import-policy ppo.zip --source digts", "unknown source 'digts'"),
        ("import-policy ppo.zip --source digits --activation tahn", "did you mean 'tanh'?"),
        ("import-policy ppo.zip --source synthetic:10x8", "observations of 1x8x8, the images of"),
        ("import-policy ppo/recipe.yaml --source digits", "is no readable zip file"),
        ("import-policy ppo.zip --source digits --size 16", "is not resized"),
    ],
)
def test_errors_are_one_line(typed: Typed, trained: Path, line: str, said: str) -> None:
    code, out, err = typed(f"{line} --run new")
    assert (code, out) == (2, "")
    (told,) = err.splitlines()
    assert said in told
    assert not (trained / "new").exists()


class Bomb:
    """Says so if it is ever unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (pytest.fail, ("unpickled",))


def saved(path: Path, weights: Any, **files: str) -> Path:
    """A zip as stable-baselines3 writes it."""
    with zipfile.ZipFile(path, "w") as archive:
        buffer = io.BytesIO()
        torch.save(weights, buffer)
        archive.writestr("policy.pth", buffer.getvalue())
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def linear(inputs: int = 64, outputs: int = 10) -> dict[str, Tensor]:
    return {"action_net.weight": torch.zeros(outputs, inputs), "action_net.bias": torch.zeros(outputs)}


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    import base64

    code = base64.b64encode(pickle.dumps(Bomb())).decode()
    serialized = {":type:": "<class 'dict'>", ":serialized:": code}
    data = json.dumps(
        {"policy_kwargs": serialized, "observation_space": serialized, "policy_class": serialized}
    )
    policy = read_policy(saved(tmp_path / "a.zip", linear(), data=data))
    assert (policy.network, policy.observation, policy.version) == ("mlp:tanh", None, "")
    with pytest.raises(ReinforcedError, match="pickled code, which is never run"):
        read_policy(saved(tmp_path / "b.zip", {"action_net.weight": Bomb()}))


def test_other_files_are_refused(tmp_path: Path) -> None:
    torch.save(linear(), tmp_path / "weights.zip")  # torch's own files are zips too
    with pytest.raises(ReinforcedError, match=r"holds no policy\.pth"):
        read_policy(tmp_path / "weights.zip")
    whole = saved(tmp_path / "whole.zip", linear()).read_bytes()
    (tmp_path / "half.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ReinforcedError, match="no readable zip file"):
        read_policy(tmp_path / "half.zip")
    with pytest.raises(ReinforcedError, match="more than weights by name"):
        read_policy(saved(tmp_path / "list.zip", [torch.zeros(2)]))


TRUNK = "mlp_extractor.policy_net."


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"features_extractor.cnn.0.weight": torch.zeros(1)}, "CnnPolicy"),
        ({"log_std": torch.zeros(1)}, "continuous actions"),
        ({"lstm_actor.weight_ih_l0": torch.zeros(1)}, "no PPO, A2C or DQN with an MlpPolicy"),
        ({f"{TRUNK}0.weight": torch.zeros(64, 64)}, "no plain MlpPolicy"),
        ({f"{TRUNK}1.weight": torch.zeros(64, 64), f"{TRUNK}1.bias": torch.zeros(64)}, "no plain MlpPolicy"),
        ({f"{TRUNK}0.weight": torch.zeros(9, 64), f"{TRUNK}0.bias": torch.zeros(9)}, "fits no other layer"),
        ({"action_net.bias": torch.full((10,), float("nan"))}, "action_net holds NaN"),
    ],
)
def test_other_policies_are_refused(tmp_path: Path, more: dict[str, Tensor], said: str) -> None:
    with pytest.raises(ReinforcedError, match=said):
        read_policy(saved(tmp_path / "policy.zip", linear() | more))


def test_policies_of_another_library_version_or_algorithm_are_named(tmp_path: Path) -> None:
    with pytest.raises(ReinforcedError, match=r"it has 'quantile_net\.0\.weight'"):
        read_policy(saved(tmp_path / "a.zip", {"quantile_net.0.weight": torch.zeros(3, 3)}))
    with pytest.raises(ReinforcedError, match="it has 'no weights'"):
        read_policy(saved(tmp_path / "b.zip", {}))


@pytest.mark.parametrize(
    ("space", "options", "said"),
    [
        (Box(-1, 1, (1, 8, 8), np.float32), {}, "observations from -1 to 1, but classifiers take images in"),
        (Box(0, 255, (64,), np.uint8), {}, "observations from 0 to 255"),
        (Box(0, 255, (1, 8, 8), np.uint8), {"policy_kwargs": {"normalize_images": False}}, "from 0 to 255"),
        (Box(0, 1, (8, 1, 8), np.float32), {}, "observations of 8x1x8, the images of digits are 1x8x8"),
        (Box(0, 1, (1, 9, 9), np.float32), {}, "observations of 1x9x9"),
        (Box(0, 1, (1, 8, 8), np.float32), {"actions": 4}, "has 4 actions, digits has 10 classes"),
        (
            Box(0, 1, (64,), np.float32),
            {"policy_kwargs": {"activation_fn": nn.Softplus}},
            "activation Softplus",
        ),
    ],
)
def test_what_it_was_trained_on_must_be_these_images(
    tmp_path: Path, space: Box, options: dict[str, Any], said: str
) -> None:
    class Other(gymnasium.Env[Any, Any]):
        observation_space = space
        action_space = Discrete(options.get("actions", 10))

    kwargs = options.get("policy_kwargs", {})
    A2C("MlpPolicy", Other(), policy_kwargs=kwargs, device="cpu").save(tmp_path / "other.zip")
    with pytest.raises(ReinforcedError) as caught:
        import_policy(tmp_path / "other.zip", tmp_path / "run", "digits")
    assert said in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("shape", [(1, 8, 8), (8, 8, 1), (8, 8), (64,)])
def test_grey_images_in_any_order_of_axes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    space = {"_shape": list(shape), "low": "[0. 0. ... 0.]", "high": "[1. 1. ... 1.]", "dtype": "float32"}
    path = saved(tmp_path / "a.zip", linear(), data=json.dumps({"observation_space": space}))
    assert read_policy(path).fits((1, 8, 8))
    assert not read_policy(path).fits((1, 4, 8))


def test_the_network_by_name() -> None:
    network = build("mlp:relu-5", shape=(3, 4, 4), classes=7).eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == 49 * 5 + 6 * 7
    images = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)
    assert torch.equal(network(images), network(images.contiguous()))
    for name, said in (
        ("mlp:tahn-5", "unknown activation 'tahn'; did you mean 'tanh'"),
        ("mlp:relu-x", "write the widths as in mlp:tanh-64-64"),
        ("mlp:relu-0", "write the widths as in mlp:tanh-64-64"),
    ):
        with pytest.raises(ReinforcedError, match=said):
            build(name, shape=(3, 4, 4), classes=7)
