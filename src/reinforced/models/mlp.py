"""A multi-layer perceptron of given widths, named ``mlp:ACTIVATION-WIDTH-...``."""

from __future__ import annotations

import math

from torch import nn

from reinforced.errors import ReinforcedError, did_you_mean
from reinforced.models.layers import Shape

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def mlp(argument: str, shape: Shape, classes: int) -> nn.Module:
    """The image flattened, then linear layers of these widths with the activation, then one to the classes.

    Args:
        argument: ``tanh-64-64`` for two hidden layers of 64 units with tanh; ``tanh`` alone has none.
        shape: (C, H, W) of the images.
        classes: number of classes K.

    Raises:
        ReinforcedError: no such activation, or a width that is no number of units.
    """
    activation, *words = argument.split("-")
    if activation not in ACTIVATIONS:
        hint = did_you_mean(activation, ACTIVATIONS)
        raise ReinforcedError(
            f"mlp:{argument}: unknown activation {activation!r}{hint}; as in mlp:tanh-64-64"
        )
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise ReinforcedError(f"mlp:{argument}: write the widths as in mlp:tanh-64-64")
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = math.prod(shape)
    for width in map(int, words):
        layers += [nn.Linear(inputs, width), ACTIVATIONS[activation]()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, classes))
