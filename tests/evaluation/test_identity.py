"""What hashes of a model tell apart."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from reinforced.evaluation.identity import model_sha256


def network() -> nn.BatchNorm1d:
    """Weights, buffers, and a scalar of int64 among them; nothing drawn."""
    return nn.BatchNorm1d(5)


def test_the_hash_of_float32_weights_is_of_their_names_and_bytes() -> None:
    digest = hashlib.sha256()
    for name, tensor in network().state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    assert model_sha256(network()) == digest.hexdigest()


def test_half_precision_has_one_too() -> None:
    half = network().to(torch.bfloat16)
    before = model_sha256(half)
    assert before != model_sha256(network())
    with torch.no_grad():
        half.weight[0] += 1
    assert model_sha256(half) != before
