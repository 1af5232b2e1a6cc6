"""The classifying part of a policy that stable-baselines3 saved, read without unpickling anything.

The archive's ``data`` is JSON in which whatever is not plain lies pickled under ``:serialized:``, beside the
text of its attributes. Only that text is looked at; the weights are read by torch's weights-only reader.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reinforced.errors import ReinforcedError, did_you_mean
from reinforced.models.layers import Shape
from reinforced.models.mlp import ACTIVATIONS

# Of each kind: where its hidden layers lie, where its last one lies if elsewhere, and what lies beside them.
_LAYOUTS = {
    "actor-critic": ("mlp_extractor.policy_net.", "action_net.", ("mlp_extractor.value_net.", "value_net.")),
    "q-network": ("q_net.q_net.", "", ("q_net_target.",)),
}
_DEFAULT_ACTIVATION = {"actor-critic": "tanh", "q-network": "relu"}
_NUMBER = re.compile(r"-?(?:inf|nan|\d+\.?\d*(?:e[-+]?\d+)?)")


@dataclass(frozen=True)
class Policy:
    """What a policy computes: the logits of PPO and A2C, the action values of DQN.

    Attributes:
        kind: ``actor-critic`` or ``q-network``.
        activation: a key of :data:`~reinforced.models.mlp.ACTIVATIONS`.
        layers: weight ``(out, in)`` and bias ``(out,)`` of each linear layer, float32.
        observation: shape of the observations it was trained on; None where the file does not tell.
        version: of stable-baselines3; empty where the file does not tell.
    """

    kind: str
    activation: str
    layers: tuple[tuple[Tensor, Tensor], ...]
    observation: tuple[int, ...] | None
    version: str

    @property
    def network(self) -> str:
        """The network's name for :func:`reinforced.models.build`, such as ``mlp:tanh-64-64``."""
        return "-".join([f"mlp:{self.activation}", *(str(len(bias)) for _, bias in self.layers[:-1])])

    @property
    def inputs(self) -> int:
        """Numbers in one observation."""
        return self.layers[0][0].shape[1]

    @property
    def classes(self) -> int:
        """Number of actions K."""
        return len(self.layers[-1][1])

    def state(self) -> dict[str, Tensor]:
        """The weights under the names they have in :attr:`network`, where layer i is module 1 + 2 i."""
        return {
            f"{1 + 2 * place}.{name}": tensor
            for place, layer in enumerate(self.layers)
            for name, tensor in zip(("weight", "bias"), layer, strict=True)
        }

    def sha256(self) -> str:
        """Of the weights: the same policy saved twice makes two files, whose dates differ."""
        digest = hashlib.sha256()
        for tensor in self.state().values():
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()

    def fits(self, shape: Shape) -> bool:
        """Whether images of ``shape`` (C, H, W), flattened in that order, are what it was trained on."""
        channels, height, width = shape
        if self.inputs != channels * height * width:
            return False
        # Without colours, one order of the axes is like another.
        alike = [(height, width), (height, width, 1)] if channels == 1 else []
        flat = self.observation is None or len(self.observation) == 1
        return flat or self.observation in [shape, *alike]


def read_policy(path: Path, activation: str | None = None) -> Policy:
    """The policy that ``model.save(path)`` of PPO, A2C or DQN with an ``MlpPolicy`` wrote.

    Args:
        path: the ``.zip``.
        activation: of the hidden layers; by default what the file says, else stable-baselines3's own default.

    Raises:
        ReinforcedError: no such file, another kind of file or of policy, pickled code, NaN weights, or
            observations that are no images in [0, 1].
    """
    weights, data, version = _read(path)
    kind, layers = _layers(weights, path)
    options = data.get("policy_kwargs")
    options = options if isinstance(options, dict) else {}
    space = data.get("observation_space")
    observation = _observation(space, options, path) if isinstance(space, dict) else None
    return Policy(kind, _activation(activation, options, kind, path), layers, observation, version)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """Weights by name, the plain data (empty where there are none), and the version."""
    if not path.is_file():
        beside = path.parent.glob("*.zip") if path.parent.is_dir() else ()
        raise ReinforcedError(f"no policy {path}{did_you_mean(path.name, [file.name for file in beside])}")
    try:
        with zipfile.ZipFile(path) as archive:
            files = {
                name: archive.read(name)
                for name in ("policy.pth", "data", "_stable_baselines3_version")
                if name in archive.namelist()
            }
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError, zlib.error) as error:
        raise ReinforcedError(
            f"{path} is no readable zip file ({error}); give what stable-baselines3's model.save() wrote"
        ) from None
    if "policy.pth" not in files:
        raise ReinforcedError(f"{path} holds no policy.pth; give what stable-baselines3's model.save() wrote")
    try:
        weights = torch.load(io.BytesIO(files["policy.pth"]), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise nearly anything
        raise ReinforcedError(
            f"{path}: policy.pth is damaged, or holds pickled code, which is never run; save the model again"
        ) from error
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ReinforcedError(f"{path}: policy.pth holds more than weights by name; save the model again")
    try:
        data = json.loads(files.get("data", b"{}"))
    except ValueError:
        data = {}
    version = files.get("_stable_baselines3_version", b"").decode(errors="replace").strip()
    return weights, data if isinstance(data, dict) else {}, version


def _layers(weights: dict[str, Tensor], path: Path) -> tuple[str, tuple[tuple[Tensor, Tensor], ...]]:
    """The kind of policy, and its linear layers from the image to the actions."""
    if any("features_extractor." in name for name in weights):
        raise ReinforcedError(
            f"{path} is no MlpPolicy, it has a features extractor of its own (CnnPolicy?): write that "
            "network as module:function and give its state_dict with --weights"
        )
    if "log_std" in weights:
        raise ReinforcedError(f"{path} has continuous actions; a classifier's are Discrete, one a class")
    for kind, (trunk, head, beside) in _LAYOUTS.items():
        prefixes = (trunk, head) if head else (trunk,)
        ours = {name: value for name, value in weights.items() if name.startswith(prefixes)}
        if ours and all(name in ours or name.startswith(beside) for name in weights):
            return kind, _chain(ours, trunk, head, path)
    raise ReinforcedError(
        f"{path} is no PPO, A2C or DQN with an MlpPolicy (it has {next(iter(weights), 'no weights')!r}); "
        "only these can be imported"
    )


def _chain(ours: dict[str, Tensor], trunk: str, head: str, path: Path) -> tuple[tuple[Tensor, Tensor], ...]:
    """Linear layers in order; an activation, which has no weights, stands between each two in the trunk."""
    names = [f"{trunk}{2 * place}." for place in range(len(ours))]
    names = [name for name in names if f"{name}weight" in ours] + [head] * bool(head)
    if {f"{name}{part}" for name in names for part in ("weight", "bias")} != set(ours):
        raise ReinforcedError(f"{path} is no plain MlpPolicy: its layers are {', '.join(sorted(ours))}")
    layers = tuple((ours[f"{name}weight"].float(), ours[f"{name}bias"].float()) for name in names)
    width: int | None = None
    for name, (weight, bias) in zip(names, layers, strict=True):
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or width not in (None, weight.shape[1]):
            raise ReinforcedError(f"{path}: {name}weight is {tuple(weight.shape)}, which fits no other layer")
        width = len(bias)
        if not (weight.isfinite().all() and bias.isfinite().all()):
            raise ReinforcedError(f"{path}: {name[:-1]} holds NaN or infinite weights; use an earlier save")
    return layers


def _activation(asked: str | None, options: dict[str, Any], kind: str, path: Path) -> str:
    if asked is not None:
        if asked not in ACTIVATIONS:
            raise ReinforcedError(f"unknown activation {asked!r}{did_you_mean(asked, ACTIVATIONS)}")
        return asked
    if "activation_fn" not in options:
        return _DEFAULT_ACTIVATION[kind]
    # The text of a class: "<class 'torch.nn.modules.activation.ReLU'>".
    found = str(options["activation_fn"]).removesuffix("'>").rpartition(".")[2]
    named = {cls.__name__: name for name, cls in ACTIVATIONS.items()}
    if found not in named:
        raise ReinforcedError(f"{path} uses the activation {found}; known: {', '.join(sorted(named))}")
    return named[found]


def _observation(space: dict[str, Any], options: dict[str, Any], path: Path) -> tuple[int, ...] | None:
    """The shape of the observations; they must be images in [0, 1], or be divided by 255 by the policy."""
    shape = space.get("_shape")
    if not isinstance(shape, list) or not all(isinstance(side, int) for side in shape):
        return None
    low, high = ({float(number) for number in _NUMBER.findall(str(space.get(k)))} for k in ("low", "high"))
    # stable-baselines3 divides uint8 images by 255, unless told not to.
    divided = str(space.get("dtype")) == "uint8" and len(shape) == 3 and options.get("normalize_images", True)
    if (low, high) != ({0.0}, {255.0 if divided else 1.0}):
        raise ReinforcedError(
            f"{path} was trained on observations from {_span(low)} to {_span(high)}, but classifiers take "
            "images in [0, 1]; train on reinforced/Classification-v0"
        )
    return tuple(shape)


def _span(numbers: set[float]) -> str:
    return "/".join(f"{number:g}" for number in sorted(numbers)[:3]) or "?"
