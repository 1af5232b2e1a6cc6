"""Defensive distillation at T = 100 (Papernot et al. 2016): logits 100 times too large at test time."""

from __future__ import annotations

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from reinforced.data import load, to_float
from reinforced.files import atomic
from reinforced.models import build as build_network
from reinforced.streams import Stream
from reinforced.zoo.bases import Bases
from reinforced.zoo.defence import Defence
from reinforced.zoo.scaled import Scaled

TEMPERATURE = 100.0
EPOCHS, BATCH, RATE = 20, 64, 3e-3  # quickstart/sl's


def build(bases: Bases, seed: int) -> nn.Module:
    """A student of plain training's network, asked at T = 1 after learning at T = 100.

    The temperature is folded into the last layers: teacher and student are trained as ``z / T``, which is
    what a network with logits ``z`` learns at temperature T, and the student answers with ``z``.
    """
    file = bases.folder / f"distilled-seed{seed}.safetensors"
    if not file.is_file():
        bases.told(f"training {file.stem}")
        trained = _student(bases.get("sl", seed), seed).state_dict()
        with atomic(file) as temporary:
            save_file(trained, temporary)
    student = _network(seed)
    student.load_state_dict(load_file(file))
    return Scaled(student.requires_grad_(False), TEMPERATURE).eval()


def _network(seed: int) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return build_network("tiny", shape=(1, 8, 8), classes=10, normalize="digits")


def _student(teacher: nn.Module, seed: int) -> nn.Module:
    split = load("digits").train
    stored, _ = split.batch(torch.arange(len(split)))
    images = to_float(stored)
    with torch.no_grad():
        soft: Tensor = teacher(images).softmax(1)
    student = _network(seed)
    optimizer = torch.optim.AdamW(student.parameters(), RATE)
    order = Stream(seed, "order")
    with torch.enable_grad():
        for _ in range(EPOCHS):
            shuffled = order.permutation(len(images))
            for start in range(0, len(images), BATCH):
                rows = shuffled[start : start + BATCH]
                optimizer.zero_grad()
                F.cross_entropy(student(images[rows]), soft[rows]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return student


DISTILLED = Defence(
    "distilled", "defensive distillation at T = 100", "pgd", frozenset({"masked"}), "held out", build
)
